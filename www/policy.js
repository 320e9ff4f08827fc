// What the Content-Security-Policy of this page or worker refused. To the code that asks, a refused file looks like a network that is
// down; the browser says what it was in an event beside that.

import { NoiseballError } from './errors.js';

/** How long after a failure the browser may still tell what it refused, in milliseconds: Firefox is late when it has much to do. */
export const PATIENCE = 1000;

const refused = []; // {uri, directive}
let watching = false;

/** Begins to listen. Call it before anything is loaded that a policy may refuse. */
export function watchPolicy() {
  if (watching || !globalThis.addEventListener) return;
  watching = true;
  globalThis.addEventListener('securitypolicyviolation', ({ blockedURI, effectiveDirective, disposition }) => {
    if (disposition !== 'report') refused.push({ uri: blockedURI, directive: effectiveDirective });
  });
}

/** The error for a worker that was refused, at whatever address; null where that was not the reason. */
export async function workerPolicyError() {
  const found = await told(({ directive }) => directive === 'worker-src');
  return found ? refusal(found.uri === 'blob' ? 'blob:' : found.uri, found.directive) : null;
}

/**
 * The error for an address that could not be loaded because the policy refused it; null where that was not the reason.
 * @param {string | URL} address
 */
export async function policyError(address) {
  const { href, origin } = new URL(address);
  // Of another origin's address browsers may tell the origin alone.
  const found = await told(({ uri }) => uri === href.split('#')[0] || uri === origin);
  return found ? refusal(href, found.directive) : null;
}

/** @param {string} address @param {string} directive the one that must allow it */
export function refusal(address, directive) {
  const { origin, protocol } = new URL(address, globalThis.location?.href);
  const source = protocol === 'blob:' ? 'blob:' : origin === globalThis.location?.origin ? "'self'" : origin;
  return new NoiseballError(
    'content-security-policy',
    `the Content-Security-Policy of this page refuses ${address}. Add ${source} to its ${directive}`,
  );
}

/** The refusal that is looked for. Firefox tells of a worker's to its page first, and to the worker some time after the failure. */
async function told(sought) {
  const end = Date.now() + (watching ? PATIENCE : 0);
  while (Date.now() < end && !refused.some(sought)) await new Promise((resolve) => setTimeout(resolve, 20));
  return refused.find(sought);
}
