// How a worker starts its wasm module, over a network that fails.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeError } from '../../www/errors.js';
import { starter } from '../../www/module.js';

const WASM = new URL('https://a.example/pkg/noiseball_bg.wasm');
const progress = { report() {} };

/** Answers with these chunks, and then breaks off where an error is among them. */
function answers(chunks) {
  const body = new ReadableStream({
    pull(controller) {
      const next = chunks.shift();
      if (next instanceof Error) controller.error(next);
      else if (next) controller.enqueue(next);
      else controller.close();
    },
  });
  globalThis.fetch = async () => new Response(body, { headers: { 'content-length': '8' } });
}

/** As browsers' streaming compilers: it reads to the end, and takes no other bytes than these. */
async function init({ module_or_path }) {
  const bytes = new Uint8Array(await (await module_or_path).arrayBuffer());
  if (bytes[0] !== 0) throw Object.assign(new Error('expected magic word'), { name: 'CompileError' });
}

test('a module that was cut off is a failed download, and the next try takes it', async () => {
  const start = starter(WASM, init, { made: true });
  answers([Uint8Array.of(0, 1), new TypeError('network error')]);
  await assert.rejects(start(progress), { type: 'fetch', message: /pkg\/noiseball_bg.wasm was cut/ });
  answers([Uint8Array.of(0, 1)]);
  assert.deepEqual(await start(progress), { made: true });
});

test('what is no module is said to be none', async () => {
  answers([Uint8Array.of(60, 104)]);
  const error = await starter(WASM, init, {})(progress).catch((error) => error);
  assert.equal(error.name, 'CompileError');
  assert.deepEqual([describeError(error).type, describeError(error).fatal], ['fetch', true]);
});
