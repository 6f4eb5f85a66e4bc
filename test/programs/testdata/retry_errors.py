# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# A client that connects again after the usual errors: retry_errors.py ADDRESS PORT
#
# It sends a line, reads it back and prints "ready". When a line comes it sends again, and connects again if the server
# has gone. It prints "ok" or the error.
import socket
import sys

address = (sys.argv[1], int(sys.argv[2]))
connection = socket.create_connection(address)


def ask():
    connection.sendall(b"ping\n")
    if not connection.recv(100):
        raise ConnectionResetError("the server has closed")


ask()
print("ready", flush=True)
sys.stdin.readline()
try:
    try:
        ask()
    except (BrokenPipeError, ConnectionResetError):
        connection.close()
        connection = socket.create_connection(address)
        ask()
    print("ok")
except OSError as e:
    print(repr(e))
