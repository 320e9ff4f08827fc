// What the Content-Security-Policy of this page or worker refused. To the code that asks, a refused file looks like a network that is
// down; the browser says what it was in an event beside that.

import { NoiseballError } from './errors.js';

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

/**
 * The error for an address that could not be loaded because the policy refused it; null where that was not the reason.
 * @param {string | URL} address
 */
export async function policyError(address) {
  if (!watching) return null;
  await new Promise((resolve) => setTimeout(resolve)); // the event is a task of its own, and may come after the failure
  const { href, origin, protocol } = new URL(address);
  // Of another origin's address browsers may tell the origin alone, and of a blob's the scheme.
  const names = protocol === 'blob:' ? [href, 'blob', 'blob:'] : [href.split('#')[0], origin];
  const found = refused.find(({ uri }) => names.includes(uri));
  if (!found) return null;
  const source = protocol === 'blob:' ? 'blob:' : origin === globalThis.location?.origin ? "'self'" : origin;
  return new NoiseballError(
    'content-security-policy',
    `the Content-Security-Policy of this page refuses ${href}. Add ${source} to its ${found.directive}`,
  );
}
