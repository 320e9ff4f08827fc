// The worker of the larger wasm module, which opens pipelines of several networks and weights in PyTorch's own format. It starts when
// somebody opens such.
//
// What it uses of ../pkg-text/noiseball_text.js, beside what ../worker.js uses but Formula (src/web/text.rs):
//   new Folder(place, paths?, variant?)     a pipeline's small files: .wanted() -> [{path, limit}], .give(path, bytes), .absent(path)
//   await Pipeline.open(folder, 'gpu'|'cpu', bring, memory)    takes the folder over; `bring(opening)` gives a promise of the opening, filled
//   pipeline.info(), .lost(), .tokens(prompt), .sample(options, told) -> run, .free()
//   await run.next() -> step, or undefined at the end; run.free()

import init, * as engine from '../pkg-text/noiseball_text.js';
import { Host } from '../host.js';
import { starter } from '../module.js';
import { watchPolicy } from '../policy.js';
import { readLarger } from './pipeline.js';

const WASM = new URL('../pkg-text/noiseball_text_bg.wasm', import.meta.url);

watchPolicy();

const host = new Host({
  start: starter(WASM, init, engine),
  scope: self,
  read: readLarger,
  post: (message, transfer = []) => /** @type {any} */ (self).postMessage(message, transfer),
});
self.addEventListener('message', ({ data }) => host.handle(data));
self.postMessage({ ready: true });
