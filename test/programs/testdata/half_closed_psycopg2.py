# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# A query on a connection whose direction is shut after it: half_closed_psycopg2.py ADDRESS PORT
#
# It prints "ok" when the row comes, or the error.
import socket
import sys

import psycopg2
import psycopg2.extensions
import psycopg2.extras

connection = psycopg2.connect(host=sys.argv[1], port=sys.argv[2], user="user", dbname="db", async_=True)
psycopg2.extras.wait_select(connection)
cursor = connection.cursor()
cursor.execute("SELECT 'row'")
with socket.socket(fileno=connection.fileno()) as duplicate:
    duplicate.shutdown(socket.SHUT_WR)
    duplicate.detach()
try:
    psycopg2.extras.wait_select(connection)
    row = cursor.fetchone()
    print("ok" if row == ("row",) else f"the row is {row}")
except psycopg2.Error as e:
    print(repr(e))
