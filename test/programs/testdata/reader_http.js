// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0
//
// A reader that asks, prints "ready" when the answer begins, keeps its loop busy until a line comes, and copies the
// answer to stdout: reader_http.js ADDRESS PORT
'use strict';
const fs = require('fs');
const http = require('http');

http.get({ host: process.argv[2], port: process.argv[3] }, (answer) => {
  process.stdout.write('ready\n');
  fs.readSync(0, Buffer.alloc(100)); // nothing else runs until the line is there
  answer.pipe(process.stdout);
});
