# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# An application whose answer to /busy takes a while.
import time


def app(environ, start_response):
    if environ["PATH_INFO"] == "/busy":
        time.sleep(8)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"the answer\n"]
