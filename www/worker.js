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
import { Host } from './host.js';
import { starter } from './module.js';
import { watchPolicy } from './policy.js';

const WASM = new URL('./pkg/noiseball_bg.wasm', import.meta.url);

watchPolicy();

const host = new Host({
  start: starter(WASM, init, engine),
  scope: self,
  post: (message, transfer = []) => /** @type {any} */ (self).postMessage(message, transfer),
});
self.addEventListener('message', ({ data }) => host.handle(data));
self.postMessage({ ready: true });
