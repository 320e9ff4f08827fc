// The worker for training, which has a wasm module of its own: the engine and burn, some ten times larger than the
// sampling module. It starts when someone trains.
//
// What it uses of ../pkg-train/noiseball_train.js is in src/web/train.rs.

import { NoiseballError } from '../errors.js';
import { cutError } from '../module.js';
import { policyError, watchPolicy } from '../policy.js';
import { TrainingHost } from './host.js';
import { RunStore } from './store.js';
import { unpacked } from './unpack.js';

const WASM = new URL('../pkg-train/noiseball_train_bg.wasm.gz', import.meta.url);

watchPolicy();

let started = null;

/** Starts the module once; a failed start may be tried again. `report` is called with the bytes of it that have come, and all or null. */
function start(report = (_done, _total) => {}) {
  started ??= load(report).catch((error) => {
    started = null;
    throw error;
  });
  return started;
}

async function load(report) {
  let response;
  try {
    response = await fetch(WASM);
  } catch (cause) {
    const refused = await policyError(WASM);
    if (refused) throw refused;
    throw new NoiseballError('fetch', `could not reach ${WASM}. Check the network and try again`, { cause });
  }
  if (!response.ok) {
    throw new NoiseballError(
      'fetch',
      `the training module is missing: ${WASM} answered with HTTP status ${response.status}. Build it, or wait until its build is done`,
    );
  }
  // Imported only now: browsers remember an import that failed, and the module may be built a little later.
  const { default: init, ...engine } = await import('../pkg-train/noiseball_train.js').catch((cause) => {
    throw new NoiseballError('fetch', `could not load the training module's script beside ${WASM}. Check the network and try again`, {
      cause,
    });
  });
  const total = Number(response.headers.get('content-length')) || null;
  const transfer = { whole: false };
  const module = unpacked(
    response,
    (bytes) => report(bytes, total && Math.max(total, bytes)),
    () => (transfer.whole = true),
  );
  const { memory } = await init({ module_or_path: await module }).catch((cause) => {
    throw transfer.whole ? cause : cutError(WASM, cause);
  });
  return { ...engine, heap: () => memory.buffer.byteLength };
}

const host = new TrainingHost({
  start,
  scope: self,
  openStore: () => RunStore.open(),
  locks: navigator.locks,
  post: (message, transfer = []) => /** @type {any} */ (self).postMessage(message, transfer),
});
self.addEventListener('message', ({ data }) => host.handle(data));
self.postMessage({ ready: true });
