// How a worker starts its wasm module: once, and again where that failed or was not wanted any more.

import { NoiseballError } from './errors.js';
import { policyError } from './policy.js';

/**
 * What starts a module.
 * @param {URL} wasm
 * @param {(options: {module_or_path: Promise<Response>}) => Promise<any>} init wasm-bindgen's
 * @param {object} engine what the module gives
 * @returns {(progress: {report(file: string, loaded: number, total: number | null): void}, signal?: AbortSignal) => Promise<object>}
 *          The download ends where the signal of everyone who wants the module has fired.
 */
export function starter(wasm, init, engine) {
  /** @type {{module: Promise<object>, wanted: number, controller: AbortController, ready: boolean} | null} */
  let started = null;
  return (progress, signal) => {
    started ??= start(progress);
    const mine = started;
    mine.wanted++;
    signal?.addEventListener('abort', () => leave(mine), { once: true });
    return mine.module;
  };

  function start(progress) {
    const [controller, transfer] = [new AbortController(), { whole: true }];
    const mine = { module: Promise.resolve(engine), wanted: 0, controller, ready: false };
    mine.module = init({ module_or_path: fetchModule(wasm, progress, transfer, controller.signal) }).then(
      () => {
        mine.ready = true;
        return engine;
      },
      (cause) => {
        forget(mine);
        throw transfer.whole ? cause : cutError(wasm, cause);
      },
    );
    return mine;
  }

  function leave(mine) {
    mine.wanted--;
    if (mine.wanted > 0 || mine.ready) return;
    forget(mine);
    mine.controller.abort();
  }

  /** The next who wants it starts it again. */
  function forget(mine) {
    if (started === mine) started = null;
  }
}

/** A module that did not come to its end. What is no module is something else. */
export function cutError(wasm, cause) {
  if (cause instanceof NoiseballError || cause?.name === 'CompileError') return cause;
  return new NoiseballError('fetch', `the connection to ${wasm} was cut. Check the network and try again`, { cause });
}

/** `transfer.whole` is false while there is more to come. */
async function fetchModule(wasm, progress, transfer, signal) {
  const connecting = new AbortController();
  let end = () => connecting.abort();
  signal.addEventListener('abort', () => end(), { once: true });
  let response;
  try {
    response = await fetch(wasm, { signal: connecting.signal });
    connecting.signal.throwIfAborted();
  } catch (cause) {
    if (signal.aborted) throw cause;
    const refused = await policyError(wasm);
    if (refused) throw refused;
    throw new NoiseballError('fetch', `could not reach ${wasm}. Check the network and load the model again`, { cause });
  }
  if (!response.ok) {
    throw new NoiseballError(
      'fetch',
      `the engine is missing: ${wasm} answered with HTTP status ${response.status}. Build it, or check the address`,
    );
  }
  const length = Number(response.headers.get('content-length'));
  const total = length > 0 && !response.headers.has('content-encoding') ? length : null;
  const name = wasm.pathname.split('/').at(-1);
  let loaded = 0;
  transfer.whole = false;
  const counter = new TransformStream({
    start(controller) {
      // An end, not an abort: Firefox writes the error of a body that it compiles on the console, as if it were one of the page.
      end = () => controller.terminate();
    },
    transform(chunk, controller) {
      progress.report(name, (loaded += chunk.length), total);
      controller.enqueue(chunk);
    },
    flush() {
      transfer.whole = true;
      progress.report(name, loaded, loaded);
    },
  });
  return new Response(response.body.pipeThrough(counter), { headers: { 'content-type': 'application/wasm' } });
}
