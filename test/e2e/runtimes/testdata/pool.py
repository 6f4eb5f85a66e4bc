# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# A client with a pool of connections: pool.py requests|urllib3 URL
#
# It asks, and leaves the connection in the pool, where nothing notices that the server closes it. Beside that it
# reads a long answer slowly. On a line on stdin it asks again, and prints the status code.
import sys
import threading
import time

library, url = sys.argv[1], sys.argv[2]

if library == "requests":
    import requests

    pool = requests.Session()
    get = lambda path: pool.get(url + path).status_code
    stream = lambda path: requests.get(url + path, stream=True).raw
else:
    import urllib3

    pool = urllib3.PoolManager()
    get = lambda path: pool.request("GET", url + path).status
    stream = lambda path: urllib3.PoolManager().request("GET", url + path, preload_content=False)

print(get("/"), flush=True)


def read_slowly():
    answer, total = stream("/long"), 0
    while chunk := answer.read(2000):
        total += len(chunk)
        time.sleep(0.2)
    print(total, flush=True)


slow = threading.Thread(target=read_slowly)
slow.start()
sys.stdin.readline()
print(get("/"), flush=True)
slow.join()
