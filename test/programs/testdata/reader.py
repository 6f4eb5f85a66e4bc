# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# A reader that prints "ready", stands still until a line comes, and copies what it receives to stdout:
# reader.py ADDRESS PORT
import socket
import sys

connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
sys.stdin.readline()
while received := connection.recv(4096):
    sys.stdout.buffer.write(received)
