// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0
//
// A client of axios with axios-retry: retry_axios.js URL
//
// It makes three requests at the same time, prints "ready", and keeps its loop busy until a line comes. Then it makes
// three uploads at the same time, and prints "ok" or the error of each.
'use strict';
const fs = require('fs');
const http = require('http');
const axios = require('axios');
const axiosRetry = require('axios-retry').default;

const [url] = process.argv.slice(2);
const held = 3;
const body = Buffer.alloc(20_000_000, 'x');
const agent = new http.Agent({ keepAlive: true, maxSockets: held });
const client = axios.create({ baseURL: url, httpAgent: agent, maxBodyLength: Infinity, maxRedirects: 0, proxy: false });
axiosRetry(client, { retries: 5, retryCondition: axiosRetry.isNetworkError });

async function main() {
  const each = Array.from({ length: held });
  await Promise.all(each.map(() => client.get('/together')));
  while (Object.values(agent.freeSockets).flat().length < held) {
    await new Promise((resolve) => setImmediate(resolve)); // the agent takes the connections back
  }
  process.stdout.write('ready\n');
  fs.readSync(0, Buffer.alloc(100)); // nothing else runs until the line is there
  const uploads = await Promise.allSettled(each.map(() => client.post('/upload', body)));
  for (const upload of uploads) {
    process.stdout.write(upload.status === 'fulfilled' ? 'ok\n' : `${upload.reason.code || upload.reason.message}\n`);
  }
  agent.destroy();
}

main();
