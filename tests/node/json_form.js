'use strict';

// Reads bodies from standard input and answers each with its JSON form, or with "refused" where JSON.parse throws.
// With the argument `canonical` the form is that of RFC 8785 instead.
//
// Both directions: a length of four bytes, big-endian, then that many bytes. The length 0xFFFFFFFF says "refused".

const { readFileSync, writeSync } = require('node:fs');

const REFUSED = Buffer.from([0xff, 0xff, 0xff, 0xff]);
const BYTE_ORDER_MARK = '\ufeff';

function canonical(value) {
  if (Array.isArray(value)) {
    return `[${value.map(canonical).join(',')}]`;
  }
  if (value !== null && typeof value === 'object') {
    // Array.prototype.sort compares UTF-16 code units, as RFC 8785 asks.
    const members = Object.keys(value).sort();
    return `{${members.map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(',')}}`;
  }
  return JSON.stringify(value);
}

function answer(body, form) {
  const text = body.toString('utf8');
  let value;
  try {
    value = JSON.parse(text.startsWith(BYTE_ORDER_MARK) ? text.slice(1) : text);
  } catch {
    return REFUSED;
  }
  const written = Buffer.from(form(value), 'utf8');
  const length = Buffer.alloc(4);
  length.writeUInt32BE(written.length);
  return Buffer.concat([length, written]);
}

const form = process.argv[2] === 'canonical' ? canonical : JSON.stringify;
const input = readFileSync(0);
const answers = [];
for (let at = 0; at < input.length; ) {
  const end = at + 4 + input.readUInt32BE(at);
  answers.push(answer(input.subarray(at + 4, end), form));
  at = end;
}
const output = Buffer.concat(answers);
for (let at = 0; at < output.length; ) {
  at += writeSync(1, output, at);
}
