// The page without a network. A build puts the site's own files here, each with its hash, and they are one version: a page that began
// with one gets nothing of another, whatever the server has by then. Models are kept by www/cache.js.
//
// As it stands in the source tree it has no files, and clears away what a build left on this address.

const FILES = {}; // path: [SHA-256, whether it is kept at once rather than when it is first used]
const VERSION = '';
const PREFIX = `noiseball-site ${self.registration.scope} `; // other folders of this origin may have a site of their own

self.addEventListener('install', (event) => {
  if (!VERSION) return event.waitUntil(self.skipWaiting());
  const now = Object.entries(FILES).filter(([, [, atOnce]]) => atOnce);
  event.waitUntil(Promise.all(now.map(([path]) => keep(path))));
});

self.addEventListener('activate', (event) => event.waitUntil(VERSION ? forget(PREFIX + VERSION) : leave()));

self.addEventListener('message', ({ data }) => data === 'take over' && self.skipWaiting());

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const path = pathOf(request);
  if (request.method !== 'GET' || !(path in FILES)) return;
  event.respondWith(answer(path, request.mode === 'navigate'));
});

function pathOf({ url }) {
  const { origin, pathname } = new URL(url);
  const scope = new URL(self.registration.scope);
  if (origin !== scope.origin || !pathname.startsWith(scope.pathname)) return '';
  return pathname.slice(scope.pathname.length) || 'index.html';
}

async function answer(path, navigates) {
  // Where no other page is open, a newer version that waits takes over before this one begins.
  const waiting = navigates && self.registration.waiting;
  if (waiting && (await self.clients.matchAll({ includeUncontrolled: true })).length < 2) {
    waiting.postMessage('take over');
    // Not by a Refresh header: to an address with a # that would be no load.
    return new Response('<script>location.reload()</script>', { headers: { 'content-type': 'text/html' } });
  }
  const cache = await caches.open(PREFIX + VERSION);
  const kept = await cache.match(path);
  if (kept) return kept;
  try {
    return await keep(path);
  } catch (error) {
    if (error instanceof Outdated) {
      self.registration.update();
      return new Response(error.message, { status: 409 });
    }
    return Response.error();
  }
}

class Outdated extends Error {}

/** Gets a file of this version, and keeps it. */
async function keep(path) {
  const response = await fetch(new URL(path, self.registration.scope), { cache: 'no-cache' });
  if (!response.ok) throw new Error(`${path}: HTTP status ${response.status}`);
  const bytes = await response.arrayBuffer();
  const hash = Array.from(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)), (byte) => byte.toString(16).padStart(2, '0')).join(
    '',
  );
  if (hash !== FILES[path][0]) throw new Outdated('The site has a newer version. Reload the page.');
  const kept = new Response(bytes, { headers: { 'content-type': response.headers.get('content-type') ?? 'application/octet-stream' } });
  await (await caches.open(PREFIX + VERSION)).put(path, kept.clone());
  return kept;
}

/** Deletes the versions of this site but that one. */
async function forget(except) {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith(PREFIX) && name !== except).map((name) => caches.delete(name)));
}

async function leave() {
  await forget('');
  await self.registration.unregister();
  for (const client of await self.clients.matchAll({ type: 'window' })) client.navigate(client.url);
}
