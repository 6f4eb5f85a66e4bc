// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0
//
// A pool of Node's http.Agent: pool_agent.js busy|awake URL [CA]
//
// It makes three requests at the same time, prints "ready", and waits for a line: busy, its loop runs nothing else until
// then. Then it makes three uploads at the same time, and prints "ok" or the error of each.
'use strict';
const fs = require('fs');

const [mode, url, ca] = process.argv.slice(2);
const held = 3;
const body = Buffer.alloc(20_000_000, 'x');
const library = require(url.startsWith('https:') ? 'https' : 'http');
const agent = new library.Agent({ keepAlive: true, maxSockets: held });
const options = { agent, ca: ca ? fs.readFileSync(ca) : undefined };

function ask(path, method, content) {
  return new Promise((resolve, reject) => {
    const request = library.request(url + path, { ...options, method }, (answer) => {
      answer.resume();
      answer.on('end', () => (answer.statusCode === 200 ? resolve() : reject(new Error(`status ${answer.statusCode}`))));
      answer.on('error', reject);
    });
    request.on('error', reject);
    request.end(content);
  });
}

async function main() {
  const each = Array.from({ length: held });
  await Promise.all(each.map(() => ask('/together', 'GET')));
  while (Object.values(agent.freeSockets).flat().length < held) {
    await new Promise((resolve) => setImmediate(resolve)); // the agent takes the connections back
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
  agent.destroy();
}

main();
