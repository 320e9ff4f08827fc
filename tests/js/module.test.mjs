// How a worker starts its wasm module, over a network that fails, and leaves it where nobody wants it any more.

import assert from 'node:assert/strict';
import test from 'node:test';
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

/** A starter whose download goes on until it is told to end. */
function slow() {
  const downloads = [];
  globalThis.fetch = (_, { signal }) =>
    new Promise((resolve, reject) => {
      downloads.push({ signal, finish: () => resolve(new Response('wasm')) });
      signal.addEventListener('abort', () => reject(signal.reason));
    });
  const init = async ({ module_or_path }) => (await module_or_path).arrayBuffer();
  const engine = { Model: class {} };
  return { start: starter(new URL('https://a.example/noiseball_bg.wasm'), init, engine), downloads, engine };
}

test('a module that nobody wants any more is not downloaded on, and the next who wants it starts it again', async () => {
  const { start, downloads, engine } = slow();
  const pipeline = new AbortController();
  const first = start(progress, pipeline.signal);
  pipeline.abort();
  const second = start(progress);
  await assert.rejects(first, { name: 'AbortError' });
  assert.equal(downloads.length, 2);
  assert.ok(downloads[0].signal.aborted);
  downloads[1].finish();
  assert.equal(await second, engine);
  assert.equal(await start(progress), engine);
  assert.equal(downloads.length, 2);
});

test('what is arriving ends where nobody wants it any more, without an error that a browser would tell the page of', async () => {
  let cancelled = false;
  const arriving = new ReadableStream({
    start: (controller) => controller.enqueue(Uint8Array.of(60)),
    cancel: () => void (cancelled = true),
  });
  globalThis.fetch = async () => new Response(arriving);
  const pipeline = new AbortController();
  let opened;
  const begun = new Promise((report) => void (opened = starter(WASM, init, {})({ report }, pipeline.signal)));
  await begun;
  pipeline.abort();
  await assert.rejects(opened, { name: 'CompileError' });
  assert.ok(cancelled);
});

test('who leaves does not take it from another, nor what is there', async () => {
  const { start, downloads, engine } = slow();
  const pipeline = new AbortController();
  const [mine, other] = [start(progress, pipeline.signal), start(progress, new AbortController().signal)];
  pipeline.abort();
  downloads[0].finish();
  assert.deepEqual(await Promise.all([mine, other]), [engine, engine]);
  const late = new AbortController();
  await start(progress, late.signal);
  late.abort();
  assert.equal(await start(progress), engine);
  assert.equal(downloads.length, 1);
});
