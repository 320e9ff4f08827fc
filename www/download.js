// One file from one address, chunk by chunk, through the cache.

import { abortError, NoiseballError } from './errors.js';
import { policyError } from './policy.js';
import { evict, isFresh, lookUp, lookUpContent, startStoring, storeAbsence } from './cache.js';

// Statuses that mean 'no such file'. Storage servers answer 403 where listing is forbidden.
const ABSENT = new Set([403, 404, 410]);

/**
 * Downloads a file into a sink made by `open(length)`, which has `push(chunk)`; the file is never held here.
 * A connection that breaks half way is tried once more, with a new sink.
 *
 * @param {string} url
 * @param {{signal?: AbortSignal, open: (length: number | undefined) => {push(chunk: Uint8Array): void, free?(): void},
 *          onProgress?: (loaded: number, total: number | null) => void, optional?: boolean, again?: boolean,
 *          onStored?: () => void, onAbsent?: (status: number) => void, integrity?: string}} options
 *        `optional`: a file that does not exist gives null instead of an error; `again`: a stored one is taken unchecked;
 *        `integrity`: a hash as in HTML, which the browser holds the file to; such a file is not kept in the cache;
 *        `onStored`: the cache has something new for this address; `onAbsent`: there is no such file, by this HTTP status
 * @returns {Promise<any>} the sink, full; or null
 */
export async function download(url, options) {
  try {
    return await attempt(url, options, true);
  } catch (error) {
    if (!(error instanceof CutError)) throw error;
    options.signal?.throwIfAborted();
  }
  return attempt(url, options, false);
}

/** Downloads a small file whole. Of one that has more bytes than `limit`, one more than that come, and it is not stored. */
export async function downloadBytes(url, { limit = Infinity, ...options }) {
  let bytes;
  try {
    const sink = await download(url, { ...options, open: (length) => (bytes = new Bytes(limit, length)) });
    return sink && bytes.join();
  } catch (error) {
    if (error instanceof TooLong) return new Uint8Array(limit + 1);
    throw error;
  }
}

/** A connection that ended before its file did: worth a second try. */
class CutError extends NoiseballError {
  constructor(url, loaded, total, cause) {
    const part = total ? `${loaded} of ${total} bytes` : `${loaded} bytes`;
    super('fetch', `the connection to ${url} was cut after ${part}. Check the network and load the model again`, { cause });
  }
}

/** Ends a download whose file has more bytes than it may. */
class TooLong extends Error {}

class Bytes {
  #limit;
  #length = 0;
  #chunks = [];

  constructor(limit, announced = 0) {
    this.#limit = limit;
    if (announced > limit) throw new TooLong();
  }

  push(chunk) {
    this.#length += chunk.length;
    if (this.#length > this.#limit) throw new TooLong();
    this.#chunks.push(chunk);
  }

  join() {
    const bytes = new Uint8Array(this.#length);
    let at = 0;
    for (const chunk of this.#chunks) {
      bytes.set(chunk, at);
      at += chunk.length;
    }
    return bytes;
  }
}

/**
 * @param {string} url
 * @param {{signal?: AbortSignal, open: (length: number | undefined) => any, optional?: boolean, again?: boolean,
 *          onProgress?: (loaded: number, total: number | null) => void, onStored?: () => void,
 *          onAbsent?: (status: number) => void, integrity?: string}} options
 */
async function attempt(url, { signal, open, onProgress, optional, again, onStored, onAbsent, integrity }, mayUseCache) {
  if (signal?.aborted) throw abortError(signal);
  const stored = mayUseCache && !integrity ? await lookUp(url) : null;
  let useStored = stored && (again || (await checked(signal, isFresh(url, stored, signal))));
  let response = stored && useStored ? stored : await request(url, signal, integrity);
  const same = mayUseCache && !useStored && !integrity && response.ok ? await lookUpContent(url, response) : null;
  if (same) {
    response.body?.cancel().catch(() => {});
    [response, useStored] = [same, true];
  }
  if (ABSENT.has(response.status) || isErrorPage(url, response)) {
    onAbsent?.(response.status);
    if (!useStored && !integrity) {
      await storeAbsence(url);
      onStored?.();
    }
    if (optional) return null;
    throw new NoiseballError('fetch', `no such file: ${url} (HTTP status ${response.status}). Check the address`);
  }
  if (!response.ok) throw new NoiseballError('fetch', statusMessage(url, response.status));
  const total = announcedLength(response);
  const exact = isExact(response) ? total : undefined;
  let sink;
  try {
    sink = open(exact);
  } catch (error) {
    response.body?.cancel().catch(() => {});
    throw error;
  }
  const storing = useStored || integrity ? null : await startStoring(url, response, exact);
  try {
    const push = (chunk) => (sink.push(chunk), storing?.write(chunk));
    await pour(url, response, { signal, total, exact, onProgress, push });
    await storing?.finish();
    if (storing) onStored?.();
    return sink;
  } catch (error) {
    await (storing ? storing.abandon() : evict(url));
    sink.free?.();
    throw error;
  }
}

async function request(url, signal, integrity = '') {
  try {
    // 'no-cache' asks the server whether the browser's own copy is still the file.
    return await fetch(url, { signal, cache: 'no-cache', integrity });
  } catch (cause) {
    if (signal?.aborted) throw abortError(signal);
    const refused = await policyError(url);
    if (refused) throw refused;
    throw new NoiseballError(
      'fetch',
      `could not reach ${url}: there is no network, no such server, or the server does not let other sites read ` +
        "its files. It must answer with the header 'Access-Control-Allow-Origin'" +
        (integrity && `. Or the file is not the one that \`integrity\` names: ${integrity}`),
      { cause },
    );
  }
}

async function pour(url, response, { signal, total, exact, onProgress, push }) {
  let loaded = 0;
  onProgress?.(loaded, total ?? null);
  const reader = response.body?.getReader();
  try {
    while (reader) {
      const { done, value } = await readChunk(reader, (cause) => new CutError(url, loaded, total, cause), signal);
      if (done) break;
      await push(value);
      loaded += value.length;
      onProgress?.(loaded, total ?? null);
    }
  } finally {
    reader?.cancel().catch(() => {});
  }
  if (exact !== undefined && loaded !== exact) throw new CutError(url, loaded, total);
}

async function readChunk(reader, cutError, signal) {
  let result;
  try {
    result = await reader.read();
  } catch (cause) {
    throw signal?.aborted ? abortError(signal) : cutError(cause);
  }
  if (signal?.aborted) throw abortError(signal);
  return result;
}

async function checked(signal, promise) {
  try {
    return await promise;
  } catch (error) {
    throw signal?.aborted ? abortError(signal) : error;
  }
}

/** Some servers answer a missing file with their front page and status 200. */
function isErrorPage(url, response) {
  return response.ok && /^text\/html\b/.test(response.headers.get('content-type') ?? '') && !/\.html?$/.test(url);
}

function announcedLength(response) {
  const length = Number(response.headers.get('content-length') ?? NaN);
  return Number.isSafeInteger(length) && length > 0 ? length : undefined;
}

/**
 * Whether Content-Length counts the bytes that arrive: compressed transfers count others, and another
 * origin's Content-Encoding is hidden from scripts.
 */
function isExact(response) {
  return response.type !== 'cors' && !response.headers.has('content-encoding');
}

function statusMessage(url, status) {
  if (status === 401) return `${url} asks for a login (HTTP status 401): there is no public model at this address. Check its spelling`;
  if (status === 429) return `${url} refuses further requests for now (HTTP status 429). Try again in a few minutes`;
  return `${url} answered with HTTP status ${status}. Try again later, or check the address`;
}
