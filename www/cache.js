// Checkpoint files kept between visits, in the browser's Cache API, keyed by address.
// Only whole files are ever stored, and nothing here may fail a download: where storage is
// refused (private windows, plain http, a full disk) the files simply stay in memory.

import { Sha256 } from './sha256.js';

const CACHE_NAME = 'noiseball-1';
const NOTES = 'https://notes.invalid/';

// Models share files, such as an autoencoder. Of large files notes are kept: which hash an address has, and which address has a hash. Another
// address of the same bytes has an entry that only names hash and address, and counts while that address has that hash.
const ELSEWHERE = 'noiseball-elsewhere';
/** Bytes from which a file is looked for among others: hashing takes a second for 70 MB, and a first picture waits for it. */
const LARGE = 2 ** 24;

async function openCache() {
  try {
    return (await globalThis.caches?.open(CACHE_NAME)) ?? null;
  } catch {
    return null;
  }
}

/** The stored response for an address (a stored 404 says 'there is no such file'), or null. */
export async function lookUp(url) {
  try {
    const cache = await openCache();
    const stored = await cache?.match(url);
    const elsewhere = stored?.headers.get(ELSEWHERE);
    if (!stored || !elsewhere) return stored ?? null;
    const body = (await holder(elsewhere))?.body;
    return body ? new Response(body, { headers: stored.headers }) : null;
  } catch {
    return null;
  }
}

/** The stored response with a hash's bytes, given as the hash and the address that has, or had, it. */
async function holder(elsewhere) {
  const [hash, url] = elsewhere.split(' ');
  if ((await recall(noteOfAddress(url))) !== hash) return null;
  const stored = await (await openCache())?.match(url);
  return stored && !stored.headers.has(ELSEWHERE) ? stored : null;
}

/**
 * What is stored of the same bytes as a response brings, where its server says which those are, as the hub does of large files; null for
 * nothing. It is then stored for this address too.
 */
export async function lookUpContent(url, response) {
  const [, hash] = /^(?:W\/)?"?([0-9a-f]{64})"?$/.exec(response.headers.get('x-linked-etag') ?? response.headers.get('etag') ?? '') ?? [];
  return hash && (await share(url, response, hash)) ? lookUp(url) : null;
}

/** Has an address share the bytes of another with this hash, where there is one; whether there is. */
async function share(url, response, hash) {
  try {
    const elsewhere = `${hash} ${await recall(noteOfContent(hash))}`;
    const body = elsewhere === `${hash} ${url}` ? null : await holder(elsewhere);
    if (!body) return false;
    const length = Number(body.headers.get('content-length') ?? NaN);
    const headers = keptHeaders(response, Number.isFinite(length) ? length : undefined);
    headers.set(ELSEWHERE, elsewhere);
    await (await openCache())?.put(url, new Response(null, { headers }));
    return true;
  } catch {
    return false; // storage is refused: the file has its own bytes, or none
  }
}

const noteOfContent = (hash) => `sha256-${hash}`;
const noteOfAddress = (url) => `sha256 of ${url}`;

/**
 * Whether a stored response may be used: the server, asked with a HEAD, still has the same file, or the
 * server cannot be reached at all. A file without ETag or date cannot be checked and counts as changed.
 */
export async function isFresh(url, stored, signal) {
  let head;
  try {
    head = await fetch(url, { method: 'HEAD', cache: 'no-store', signal });
    await head.arrayBuffer(); // empty, but a response that nobody reads counts as a failed request
  } catch (error) {
    if (signal?.aborted) throw error;
    return true; // offline
  }
  if (stored.status === 404) return head.status === 404;
  if (!head.ok) return false;
  const same = (name) => {
    const [then, now] = [stored.headers.get(name), head.headers.get(name)].map((value) => value?.replace(/^W\//, ''));
    return then ? then === now : undefined;
  };
  return same('etag') ?? (same('last-modified') === true && same('content-length') !== false);
}

/** Bytes of a file that may wait for the disk. Where a network is faster, a tab would hold a whole model otherwise. */
const AHEAD = 2 ** 23;

/**
 * Starts to store a file of `length` bytes (if known) that is still arriving: hand it every chunk, and wait, then `finish` or `abandon` it.
 * Nothing is in the cache until `finish` was called and the browser has written all of it.
 */
export async function startStoring(url, response, length) {
  const cache = await openCache();
  if (!cache) return { async write() {}, async finish() {}, async abandon() {} };
  let controller;
  let goOn = () => {};
  let open = true;
  const refused = () => {
    open = false;
    goOn();
  };
  const source = { start: (c) => void (controller = c), pull: () => goOn(), cancel: refused };
  const body = new ReadableStream(source, new ByteLengthQueuingStrategy({ highWaterMark: AHEAD }));
  const close = (how) => {
    if (open) how();
    open = false;
  };
  const content = (length ?? Infinity) >= LARGE ? new Sha256() : null;
  // It is refused where the quota is used up.
  const stored = cache.put(url, new Response(body, { headers: keptHeaders(response, length) })).catch(refused);
  return {
    // The cache keeps the chunk until it is on disk, and the engine only reads it: no copy is needed.
    async write(chunk) {
      if (!open) return;
      content?.push(chunk);
      controller.enqueue(chunk);
      if (controller.desiredSize <= 0) await new Promise((resolve) => (goOn = () => resolve(undefined)));
    },
    async finish() {
      const whole = open;
      close(() => controller.close());
      await stored;
      if (!content || !whole) return;
      const hash = content.end();
      if (await share(url, response, hash)) return;
      await remember(noteOfContent(hash), url);
      await remember(noteOfAddress(url), hash);
    },
    async abandon() {
      // Firefox writes this line on the console, as if it were an error of the page.
      close(() => controller.error(new DOMException('the download ended early and is not kept', 'AbortError')));
      await stored;
    },
  };
}

/** Remembers that an optional file does not exist, so that a visit without network knows it too. */
export async function storeAbsence(url) {
  try {
    await (await openCache())?.put(url, new Response(null, { status: 404 }));
  } catch {
    // Storage is refused: the next visit asks the server again.
  }
}

/** Forgets one address: its file turned out not to be readable. */
export async function evict(url) {
  try {
    await (await openCache())?.delete(url);
  } catch {
    // Nothing was stored.
  }
}

/** A short text kept under a name, or null. */
export async function recall(name) {
  return (await (await lookUp(noteOf(name)))?.text()) ?? null;
}

/** Keeps a short text under a name, where storage allows it. */
export async function remember(name, text) {
  try {
    await (await openCache())?.put(noteOf(name), new Response(text));
  } catch {
    // Storage is refused: it is found out again.
  }
}

/** The cache has addresses for names: one that no file can have. */
function noteOf(name) {
  return `${NOTES}${encodeURIComponent(name)}`;
}

/** How many files are stored, and how many bytes they have. */
export async function storedFiles() {
  const found = { files: 0, bytes: 0 };
  try {
    // Looking makes no cache where there is none.
    const cache = (await globalThis.caches?.has(CACHE_NAME)) ? await openCache() : null;
    for (const request of (await cache?.keys()) ?? []) {
      const response = request.url.startsWith(NOTES) ? null : await cache?.match(request);
      if (!response?.ok) continue; // a note, or that there is no such file
      found.files++;
      if (response.headers.has(ELSEWHERE)) continue; // its bytes are another's
      found.bytes += Number(response.headers.get('content-length')) || (await response.blob()).size;
    }
  } catch {
    // Storage is refused: nothing is stored.
  }
  return found;
}

/** Forgets everything that Noiseball stored. */
export async function purge() {
  try {
    await globalThis.caches?.delete(CACHE_NAME);
  } catch {
    // Nothing was stored.
  }
}

/** What says, on a later visit, whether the file is still the same. */
function keptHeaders(response, length) {
  const headers = new Headers();
  for (const name of ['etag', 'last-modified']) {
    const value = response.headers.get(name);
    if (value) headers.set(name, value);
  }
  if (length !== undefined) headers.set('content-length', String(length));
  return headers;
}
