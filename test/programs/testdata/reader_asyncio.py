# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# A reader that prints "ready", keeps its loop busy until a line comes, and copies what it receives to
# stdout: reader_asyncio.py ADDRESS PORT
import asyncio
import sys


async def main():
    reader, _ = await asyncio.open_connection(sys.argv[1], int(sys.argv[2]), limit=1024)
    print("ready", flush=True)
    sys.stdin.readline()
    while received := await reader.read(4096):
        sys.stdout.buffer.write(received)


asyncio.run(main())
