# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# A pool of connections: pool.py requests|urllib3|httpx|pycurl URL CA
#
# It makes three requests at the same time, prints "ready", and leaves the connections in the pool until a line comes.
# Then it makes three uploads of $UPLOAD bytes at the same time, and prints "ok" or the error of each.
import concurrent.futures
import io
import os
import sys

library, url, ca = sys.argv[1], sys.argv[2], sys.argv[3]
held = 3
body = b"x" * int(os.environ["UPLOAD"])

if library == "requests":
    import requests

    session = requests.Session()
    session.verify = ca

    def get(i):
        session.get(url + "/together").raise_for_status()

    def upload(i):
        session.post(url + "/upload", data=body).raise_for_status()

elif library == "urllib3":
    import urllib3

    pool = urllib3.PoolManager(maxsize=held, ca_certs=ca or None)

    def check(answer):
        if answer.status != 200:
            raise RuntimeError(answer.data.decode())

    def get(i):
        check(pool.request("GET", url + "/together"))

    def upload(i):
        check(pool.request("POST", url + "/upload", body=body))

elif library == "httpx":
    import httpx

    limits = httpx.Limits(keepalive_expiry=600)
    client = httpx.Client(verify=ca or True, limits=limits, timeout=60)

    def get(i):
        client.get(url + "/together").raise_for_status()

    def upload(i):
        client.post(url + "/upload", content=body).raise_for_status()

else:
    import pycurl

    handles = [pycurl.Curl() for _ in range(held)]

    def perform(curl):
        answer = io.BytesIO()
        curl.setopt(curl.WRITEDATA, answer)
        curl.setopt(curl.FAILONERROR, True)
        if ca:
            curl.setopt(curl.CAINFO, ca)
        curl.perform()

    def get(i):
        curl = handles[i]
        curl.setopt(curl.URL, url + "/together")
        perform(curl)

    def upload(i):
        curl = handles[i]
        curl.setopt(curl.URL, url + "/upload")
        curl.setopt(curl.POST, True)
        curl.setopt(curl.POSTFIELDSIZE, len(body))
        curl.setopt(curl.READDATA, io.BytesIO(body))
        perform(curl)


def attempt(i):
    try:
        upload(i)
        return "ok"
    except Exception as e:
        return f"{type(e).__name__}: {e}".replace("\n", " ")


with concurrent.futures.ThreadPoolExecutor(held) as threads:
    list(threads.map(get, range(held)))
    print("ready", flush=True)
    sys.stdin.readline()
    for result in threads.map(attempt, range(held)):
        print(result, flush=True)
