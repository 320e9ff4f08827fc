// The training module as hosts send it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { unpacked } from '../../www/train/unpack.js';

const module = Uint8Array.from({ length: 100_000 }, (_, i) => [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0][i] ?? i % 7);
const bytesOf = async (response) => new Uint8Array(await response.arrayBuffer());

test('a compressed module is unpacked, and one that the browser has unpacked already is passed on', async () => {
  for (const body of [gzipSync(module), module]) {
    const response = await unpacked(new Response(body));
    assert.equal(response.headers.get('content-type'), 'application/wasm');
    assert.deepEqual(await bytesOf(response), module);
  }
});

test('a file that is cut off or empty does not pass for a module', async () => {
  // Browsers reject here; Node.js gives what there is.
  const cut = await unpacked(new Response(gzipSync(module).subarray(0, 60)))
    .then(bytesOf)
    .catch(() => new Uint8Array(0));
  assert.ok(cut.length < module.length);
  assert.equal((await bytesOf(await unpacked(new Response(new Uint8Array(0))))).length, 0);
});
