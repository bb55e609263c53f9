'use strict';

// Signs bodies as the sender may: over the body as JavaScript writes it again after reading it (which is what the
// vendor's page documents) and over the very bytes. Arguments: the signing key, the time to write as `t`.
//
// In: bodies, each behind a length of four bytes, big-endian. Out: two headers for each, one a line, the documented
// one first.

const { createHmac } = require('node:crypto');
const { readFileSync, writeSync } = require('node:fs');

const [key, time] = process.argv.slice(2);

function header(payload) {
  const digest = createHmac('sha256', key).update(`${time}.`, 'utf8').update(payload).digest('hex');
  return `t=${time},v1=${digest}\n`;
}

const input = readFileSync(0);
for (let at = 0; at < input.length; ) {
  const end = at + 4 + input.readUInt32BE(at);
  const body = input.subarray(at + 4, end);
  writeSync(1, header(Buffer.from(JSON.stringify(JSON.parse(body.toString('utf8'))), 'utf8')));
  writeSync(1, header(body));
  at = end;
}
