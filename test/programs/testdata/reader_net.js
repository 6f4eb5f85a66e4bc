// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0
//
// A reader that prints "ready", keeps its loop busy until a line comes, and copies what it receives to stdout:
// reader_net.js ADDRESS PORT
'use strict';
const fs = require('fs');
const net = require('net');

const socket = net.connect(Number(process.argv[3]), process.argv[2], () => {
  process.stdout.write('ready\n');
  fs.readSync(0, Buffer.alloc(100)); // nothing else runs until the line is there
  socket.pipe(process.stdout);
});
