# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# A client of pymemcache that asks again: retry_pymemcache.py documented|all ADDRESS PORT
#
# It stores a value and prints "ready". When a line comes it reads the value, and prints "ok" or the error. It retries
# for the errors that pymemcache's documentation retries for, or for all.
import sys

from pymemcache.client.base import Client
from pymemcache.client.retrying import RetryingClient
from pymemcache.exceptions import MemcacheUnexpectedCloseError

retry_for = [MemcacheUnexpectedCloseError] if sys.argv[1] == "documented" else None
base = Client((sys.argv[2], int(sys.argv[3])))
client = RetryingClient(base, attempts=3, retry_delay=0.01, retry_for=retry_for)

client.set("key", "value", noreply=False)
print("ready", flush=True)
sys.stdin.readline()
try:
    value = client.get("key")
    print("ok" if value == b"value" else f"the value is {value}")
except Exception as e:
    print(repr(e))
