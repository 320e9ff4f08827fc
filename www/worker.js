// The page's one worker: everything heavy happens here, so the page never freezes.
//
// What it uses of ./pkg/noiseball.js, which wasm-bindgen makes from src/web/ (thrown values are Errors with a `type`):
//   default(options)                              starts the module
//   new Opening(place, paths?, variant?)          a checkpoint: which files it wants, and what they must say
//     .wanted() -> [{path, weights, limit}]       none at the end
//     .give(path, bytes), .absent(path, refused)  a small file, or none
//     .begin(path, length?), .push(bytes), .end() a weights file in pieces, in order
//   await Model.build(opening, 'gpu'|'cpu')       takes the opening over
//   model.info(), model.lost(), model.noise(seed), model.sample(options, told, init?, mask?, noise?, watch?) -> Run, model.free(); `watch` gives a promise of numbers or of nothing
//   model.measure(picture, kind, amount)
//   model.likelihood(pictures, label, steps, probes, timesteps, seed) -> Run
//   new Formula(scheduler, shape)                 no network: .info(), .noise(seed), .free(), and .sample(…, denoise), `denoise` as `watch`
//   await run.next() -> step, or undefined at the end; run.free()

import init, * as engine from './pkg/noiseball.js';
import { NoiseballError } from './errors.js';
import { policyError, watchPolicy } from './policy.js';
import { Host } from './host.js';

const WASM = new URL('./pkg/noiseball_bg.wasm', import.meta.url);

watchPolicy();

/** @type {Promise<object> | null} */
let started = null;

/** Starts the engine once; a failed start may be tried again. */
function start(progress) {
  started ??= init({ module_or_path: fetchEngine(progress) })
    .then(() => engine)
    .catch((error) => {
      started = null;
      throw error;
    });
  return started;
}

async function fetchEngine(progress) {
  let response;
  try {
    response = await fetch(WASM);
  } catch (cause) {
    const refused = await policyError(WASM);
    if (refused) throw refused;
    throw new NoiseballError('fetch', `could not reach ${WASM}. Check the network and load the model again`, { cause });
  }
  if (!response.ok) {
    throw new NoiseballError(
      'fetch',
      `the engine is missing: ${WASM} answered with HTTP status ${response.status}. Build it, or check the address`,
    );
  }
  const length = Number(response.headers.get('content-length'));
  const total = length > 0 && !response.headers.has('content-encoding') ? length : null;
  let loaded = 0;
  const counter = new TransformStream({
    transform(chunk, controller) {
      progress.report('noiseball_bg.wasm', (loaded += chunk.length), total);
      controller.enqueue(chunk);
    },
    flush: () => progress.report('noiseball_bg.wasm', loaded, loaded),
  });
  return new Response(response.body.pipeThrough(counter), { headers: { 'content-type': 'application/wasm' } });
}

const host = new Host({ start, scope: self, post: (message, transfer = []) => /** @type {any} */ (self).postMessage(message, transfer) });
self.addEventListener('message', ({ data }) => host.handle(data));
self.postMessage({ ready: true });
