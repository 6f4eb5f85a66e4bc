// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0
//
// A pool of undici: pool_undici.js busy|awake URL [CA]
//
// It makes three requests at the same time, prints "ready", and waits for a line: busy, its loop runs nothing else until
// then. Then it makes three uploads at the same time, and prints "ok" or the error of each.
'use strict';
const fs = require('fs');
const { Pool } = require('undici');

const [mode, url, ca] = process.argv.slice(2);
const held = 3;
const body = Buffer.alloc(20_000_000, 'x');
const connect = ca ? { ca: fs.readFileSync(ca) } : undefined;
const pool = new Pool(url, { connections: held, keepAliveTimeout: 600_000, keepAliveMaxTimeout: 600_000, connect });

async function ask(path, method, content) {
  const answer = await pool.request({ path, method, body: content });
  await answer.body.text();
  if (answer.statusCode !== 200) {
    throw new Error(`status ${answer.statusCode}`);
  }
}

async function main() {
  const each = Array.from({ length: held });
  await Promise.all(each.map(() => ask('/together', 'GET')));
  while (pool.stats.running > 0) {
    await new Promise((resolve) => setImmediate(resolve)); // the pool takes the connections back
  }
  process.stdout.write('ready\n');
  if (mode === 'busy') {
    fs.readSync(0, Buffer.alloc(100)); // nothing else runs until the line is there
  } else {
    await new Promise((resolve) => process.stdin.once('data', resolve));
    process.stdin.destroy();
  }
  const uploads = await Promise.allSettled(each.map(() => ask('/upload', 'POST', body)));
  for (const upload of uploads) {
    process.stdout.write(upload.status === 'fulfilled' ? 'ok\n' : `${upload.reason.code || upload.reason.message}\n`);
  }
  await pool.destroy();
}

main();
