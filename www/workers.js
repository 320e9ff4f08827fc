// How the two workers are started, wherever the page has the package's files from.

import { NoiseballError } from './errors.js';
import { PATIENCE, refusal, watchPolicy, workerPolicyError } from './policy.js';

/**
 * A kind of worker. Each is told by the entry that uses it, so that the other one's bundle has nothing of it.
 * @typedef {{scripts: string[], bundled: () => Worker}} Kind
 *          `scripts` are the worker's own and what it imports that may be missing, in the package's folder `www/`
 */

const HERE = import.meta.url; // in a bundle the bundle's address, or that of this file where the bundle was made
const UNBUNDLED = HERE.endsWith('/workers.js') && !HERE.startsWith('file:');

/** @type {URL | null} */
let folder = null;

/**
 * Loads the workers and wasm modules from a copy of the package's folder `www/`, for bundlers that do not carry them along. Workers
 * that run already are not concerned.
 *
 * @param {string | URL} address the copy's, absolute or relative to the page
 */
export function loadFilesFrom(address) {
  folder = new URL(String(address).replace(/\/?$/, '/'), globalThis.document?.baseURI ?? HERE);
}

/**
 * Starts a worker.
 * @param {Kind} kind
 * @returns {{worker: Worker, scripts: URL[]}} with the files that it needs, as far as they are known: in a bundle they are not
 */
export function startWorker({ scripts, bundled }) {
  if (typeof Worker === 'undefined') {
    throw new NoiseballError(
      'no-browser',
      'there are no web workers here: Noiseball runs in a browser. Call it in the page, not on the server',
    );
  }
  watchPolicy();
  const base = folder ?? (UNBUNDLED ? HERE : null);
  if (!base) return { worker: bundled(), scripts: [] };
  const urls = scripts.map((path) => new URL(path, base));
  const [script] = urls;
  // A page may not run another site's script as its worker, but its own worker may import it. (Chromium would throw
  // at once and Firefox report it later, so the origins are compared instead of trying.)
  const own = globalThis.origin ?? globalThis.location?.origin;
  const address = script.origin === own ? script : importing(script);
  // In a sandboxed frame, which has no origin of its own, Chromium starts no module from a blob.
  return { worker: new Worker(address, { type: globalThis.origin === 'null' ? 'classic' : 'module' }), scripts: urls };
}

/** The address of a script that imports another site's, keeps what the page says meanwhile, and tells where that fails. */
function importing(script) {
  const source = `
const early = [];
const keep = ({ data }) => early.push(data);
addEventListener('message', keep);
const refused = new Promise((tell) =>
  addEventListener('securitypolicyviolation', ({ effectiveDirective }) => tell(effectiveDirective)));
import(${JSON.stringify(script.href)}).then(
  () => {
    removeEventListener('message', keep);
    for (const data of early) dispatchEvent(new MessageEvent('message', { data }));
  },
  async (error) => {
    const late = new Promise((give) => setTimeout(give, ${PATIENCE}));
    postMessage({ failed: String(error), refused: await Promise.race([refused, late]) });
  },
);`;
  return URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
}

/**
 * Why a worker did not start.
 * @param {{scripts: URL[], cause?: string, refused?: string}} found what is known of it; `refused` is the
 *        directive that its own policy named
 */
export async function notStarted({ scripts, cause, refused }) {
  if (refused) return refusal(scripts[0].href, refused);
  const policy = await workerPolicyError();
  if (policy) return policy;
  const why = cause ? ` (${cause})` : '';
  const check =
    scripts.length > 0
      ? 'Check that worker.js and pkg/ are served beside noiseball.js'
      : 'Where the bundler does not carry them along, copy the folder www/ of the package and tell its address to loadFilesFrom';
  return new NoiseballError('fetch', `the worker's scripts could not be loaded${why}. ${check}`);
}
