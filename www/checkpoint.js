// A checkpoint's files, brought to the engine in the worker. Which files they are and what they must say, the engine knows
// (src/checkpoint/opening.rs): here they are only got, the small ones side by side, the weights chunk by chunk.

import { abortError, describeError, NoiseballError } from './errors.js';
import { evict } from './cache.js';
import { download, downloadBytes } from './download.js';
import { Weights } from './memory.js';
import { isZip, readZip } from './zip.js';

/** Failures that say nothing against the files. */
const NOT_THE_FILES = new Set(['aborted', 'disposed', 'device-lost', 'limit', 'no-adapter', 'out-of-memory', 'wrong-results']);
/** Failures that a file stored before is not to blame for. */
const NOT_STORED_FILES = new Set(['fetch', 'invalid-option']);

/**
 * What the engine builds a model from, with `opening` wanting nothing any more. `forget(error)` drops its files from the cache
 * as far as that error speaks against them.
 * @typedef {{opening: any, forget(error: unknown): Promise<void>}} Checkpoint
 */

/**
 * Reads a checkpoint. `engine` resolves to the wasm module, which may still be starting.
 *
 * @param {import('./source.js').Source} source
 * @param {{engine: Promise<any>, signal: AbortSignal, progress: Progress, again?: boolean, variant?: string,
 *         integrity?: Record<string, string>, weights?: import('./memory.js').Weights, small?: boolean}} given
 *        `again`: take what the cache has, without asking the server whether that is its newest; `small`: give null for what only the
 *        larger module opens, pipelines of several networks and weights in PyTorch's own format
 * @returns {Promise<Checkpoint | null>}
 */
export async function readCheckpoint(source, given) {
  const context = { weights: new Weights(), ...given };
  const files = await filesOf(source, context);
  if (context.small && (await isPipeline(files))) return null;
  return readOne(files, source, context);
}

/** Reads a checkpoint of one network from its files; null as above. */
export async function readOne(files, source, context) {
  const { Opening } = await context.engine;
  try {
    return await opened(files, () => new Opening(placeOf(source), files.paths, context.variant), context);
  } catch (error) {
    if (error instanceof Larger) return null;
    throw error;
  }
}

/** Ends the reading of what the larger module opens. */
class Larger extends Error {}

/** In place of an opening, for a file that is there and that the smaller module cannot read. */
const UNREAD = {
  begin() {
    throw new Larger();
  },
};

/** Opens what `make` makes and gets what it wants, until it wants nothing any more. */
export async function opened(files, make, context) {
  const forget = (error) => files.forget(describeError(error).type);
  let opening;
  try {
    opening = make();
    return { opening: await fill(opening, files, context), forget };
  } catch (error) {
    opening?.free();
    if (!(error instanceof Larger)) await forget(error);
    throw error;
  }
}

/** The files of a source. */
export async function filesOf(source, context) {
  return source.kind === 'files' ? new Files(await unpacked(source.files), context) : siteOf(source, context);
}

/** What a source is called in messages. */
export function placeOf(source) {
  return source.kind === 'url' ? source.url : source.name;
}

/** Gets what an opening wants, until it wants nothing any more. */
export async function fill(opening, files, context) {
  for (;;) {
    const wanted = opening.wanted();
    if (wanted.length === 0) return opening;
    const needs = opening.needs?.();
    if (needs) context.weights.needs(needs);
    await bring(opening, wanted, files, context);
  }
}

/** The parts beside a network and a scheduler that pipelines of several networks have. */
const OTHERS = ['text_encoder', 'text_encoder_2', 'transformer', 'vae', 'vqvae'];
const INDEX = 'model_index.json';

/** Whether files are those of a pipeline of several networks. What is wrong with its index, whoever opens the files will say. */
export async function isPipeline(files) {
  const found = (files.paths ?? [INDEX]).filter((path) => path === INDEX || path.endsWith(`/${INDEX}`));
  const [path] = found.sort((a, b) => a.length - b.length);
  try {
    const { bytes } = path ? await files.read(path, MOST_OF_INDEX) : {};
    const index = JSON.parse(new TextDecoder().decode(bytes));
    return OTHERS.some((name) => typeof index[name]?.[1] === 'string');
  } catch {
    return false;
  }
}

const MOST_OF_INDEX = 1 << 22;

/** Gets files and hands them over in the order of asking, so that of two faults the same one is told whatever came first. */
async function bring(opening, wanted, files, { weights, small: isSmall }) {
  const small = wanted.filter(({ weights }) => !weights);
  // Waits for all of them, also where one fails: one that came later would still be stored.
  const answers = await Promise.allSettled(small.map(({ path, limit }) => files.read(path, limit)));
  answers.forEach((answer, i) => {
    if (answer.status === 'rejected') throw answer.reason;
    const { bytes, refused } = answer.value;
    if (bytes) {
      opening.give(small[i].path, bytes);
      if (small[i].path.endsWith('.index.json')) weights.index(bytes);
    } else opening.absent(small[i].path, refused);
  });
  for (const { path } of wanted.filter(({ weights }) => weights)) {
    const { found, refused } = await files.stream(path, isSmall && path.endsWith('.bin') ? UNREAD : opening);
    if (found) opening.end();
    else opening.absent(path, refused);
  }
}

/** The files of an address, or of a map of addresses. */
function siteOf(source, context) {
  if (source.kind === 'urls') {
    const urls = new Map(Object.entries(source.urls));
    return new Site({ get: (path) => urls.get(path) ?? '', paths: [...urls.keys()] }, context);
  }
  const { search } = new URL(source.url);
  return new Site({ get: (path) => Object.assign(new URL(path, source.url), { search }).href }, context);
}

/** Files on a server: a folder's, which cannot be listed, or those of a map, which are all that there are. */
class Site {
  #addresses;
  #context;
  #asked = new Set();
  #stored = new Set();
  /** @type {Promise<any> | null} */
  #index = null;

  /** @param {{get(path: string): string, paths?: string[]}} addresses */
  constructor(addresses, context) {
    this.#addresses = addresses;
    this.#context = context;
  }

  /** Undefined where they are unknown. */
  get paths() {
    return this.#addresses.paths;
  }

  /** Resolves to the file's `bytes`, or to whether it was `refused`. Of one with too many bytes just more than the limit come. */
  read(path, limit) {
    // The index is looked at before anything else, and read again by whoever opens the files.
    if (path === INDEX) return (this.#index ??= this.#read(path, limit));
    return this.#read(path, limit);
  }

  async #read(path, limit) {
    if (this.#unnamed(path)) return { refused: false };
    const inlined = await this.#inlined(path);
    if (inlined) return { bytes: inlined };
    const { url, options, answer } = this.#ask(path);
    const bytes = await downloadBytes(url, { ...options, limit });
    return bytes ? { bytes } : answer;
  }

  /** Resolves to whether the file was `found`, or else `refused`. */
  async stream(path, opening) {
    if (this.#unnamed(path)) return { found: false, refused: false };
    const inlined = await this.#inlined(path);
    if (inlined) {
      this.#context.weights.file(path, inlined.length);
      opening.begin(path, inlined.length);
      opening.push(inlined);
      return { found: true, refused: false };
    }
    const { weights } = this.#context;
    const { url, options, answer } = this.#ask(path);
    // Another site's server may hide how many bytes come: then they are counted.
    const onProgress = (loaded, total) => {
      weights.file(path, Math.max(loaded, total ?? 0));
      options.onProgress(loaded, total);
    };
    const open = (length) => {
      opening.begin(path, length);
      return { push: (chunk) => opening.push(chunk) };
    };
    const sink = await download(url, { ...options, onProgress, open });
    return { ...answer, found: sink !== null };
  }

  /** The bytes of an address that holds its file, as bundlers write small ones. A policy need not allow to fetch such. */
  async #inlined(path) {
    const [, base64, data] = /^data:[^,]*?(;base64)?,(.*)$/s.exec(this.#addresses.get(path)) ?? [];
    if (data === undefined) return null;
    let bytes;
    try {
      bytes = base64 ? Uint8Array.from(atob(data), (byte) => byte.charCodeAt(0)) : new TextEncoder().encode(decodeURIComponent(data));
    } catch (cause) {
      throw new NoiseballError('fetch', `the data: address of ${path} is damaged. Build the page's bundle again`, { cause });
    }
    const hashes = this.#context.integrity?.[path];
    if (hashes === undefined || (await isOneOf(bytes, hashes))) return bytes;
    throw new NoiseballError('fetch', `${path} is not the file that \`integrity\` names: ${hashes}`);
  }

  /** Where hashes are given, a file without one is as good as absent: nobody has looked at it. */
  #unnamed(path) {
    const { integrity } = this.#context;
    return integrity !== undefined && !Object.hasOwn(integrity, path);
  }

  #ask(path) {
    const { signal, progress, again } = this.#context;
    const url = this.#addresses.get(path);
    this.#asked.add(url);
    const answer = { refused: false };
    const options = {
      signal,
      again,
      integrity: this.#context.integrity?.[path],
      optional: true,
      onProgress: (loaded, total) => progress.report(path, loaded, total),
      onStored: () => this.#stored.add(url),
      onAbsent: (status) => (answer.refused = status === 403),
    };
    return { url, options, answer };
  }

  async forget(type) {
    if (NOT_THE_FILES.has(type)) return;
    await Promise.all([...(NOT_STORED_FILES.has(type) ? this.#stored : this.#asked)].map(evict));
  }
}

/** Whether bytes have one of these hashes, of which the strongest kind counts, as in HTML: what the browser does where it fetches. */
async function isOneOf(bytes, hashes) {
  const { subtle } = globalThis.crypto;
  if (!subtle) throw new NoiseballError('insecure-context', 'browsers check hashes on secure pages only. Serve the page over https');
  const known = [...hashes.matchAll(/(?:^|\s)sha(256|384|512)-([\w+/=-]+)/g)];
  const strongest = known
    .map(([, bits]) => bits)
    .sort()
    .at(-1);
  if (!strongest) return true;
  const digest = btoa(String.fromCharCode(...new Uint8Array(await subtle.digest(`SHA-${strongest}`, bytes))));
  return known.some(([, bits, hash]) => bits === strongest && hash.replaceAll('-', '+').replaceAll('_', '/') === digest);
}

/** Files that the reader chose, or those of an archive. */
class Files {
  #files;
  #context;

  constructor(files, context) {
    this.#files = new Map(files.map((file) => [file.path, file]));
    this.#context = context;
  }

  get paths() {
    return [...this.#files.keys()];
  }

  async read(path, limit) {
    const file = this.#files.get(path);
    if (!file) return {};
    const { size, bytes } = file;
    // One byte more than is allowed is enough to be refused for.
    return { bytes: size > limit ? new Uint8Array(limit + 1) : await bytes() };
  }

  async stream(path, opening) {
    const { signal, progress, weights } = this.#context;
    const { size, chunks } = this.#files.get(path);
    weights.file(path, size);
    opening.begin(path, size);
    let loaded = 0;
    progress.report(path, 0, size);
    for await (const chunk of chunks()) {
      if (signal.aborted) throw abortError(signal);
      opening.push(chunk);
      progress.report(path, (loaded += chunk.length), size);
    }
    return { found: true };
  }

  async forget() {}
}

/** The reader's files, or the entries of an archive where there is nothing but one; each is read, or unpacked, when it is wanted. */
async function unpacked(given) {
  const files = given.length === 1 && isZip(given[0].path) ? await readZip(given[0].file, given[0].path) : given;
  return files.map(({ path, file }) => ({
    path,
    size: file.size,
    bytes: async () => new Uint8Array(await readable(path, file.arrayBuffer())),
    chunks: () => chunksOf(file, path),
  }));
}

async function* chunksOf(file, path) {
  const reader = file.stream().getReader();
  try {
    for (;;) {
      const { done, value } = await readable(path, reader.read());
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function readable(path, promise) {
  try {
    return await promise;
  } catch (cause) {
    if (cause instanceof NoiseballError) throw cause; // of an archive
    throw new NoiseballError('fetch', `the browser could not read ${path}; it may have changed or moved. Choose it again`, { cause });
  }
}

/** Adds up the progress of files that arrive side by side. */
export class Progress {
  #files = new Map();
  #post;
  #last = -Infinity;
  /** Of the part that comes: how many bytes a parameter takes is known when its file is there; and how many parameters come after it. */
  #part = { bytes: () => 0, parameters: 1, ahead: 0 };

  /** @param {(progress: {stage: string, loaded: number, total: number | null, file: string | null}) => void} post */
  constructor(post) {
    this.#post = post;
  }

  /**
   * A part of a pipeline comes, and others after it, so that the whole is known before their files are.
   * @param {{bytes: () => number, parameters: number, ahead: number}} part
   */
  part(part) {
    this.#part = part;
  }

  /** One file's state; at most some twenty reports a second pass on. */
  report(file, loaded, total) {
    this.#files.set(file, { loaded, total });
    const now = performance.now();
    if (loaded !== total && now - this.#last < 50) return;
    this.#last = now;
    const states = [...this.#files.values()];
    const sum = (key) => states.reduce((all, state) => all + state[key], 0);
    const known = states.every((state) => state.total !== null);
    const { bytes, parameters, ahead } = this.#part;
    const all = known ? sum('total') + Math.round((ahead * bytes()) / parameters) : null;
    this.#post({ stage: 'download', loaded: sum('loaded'), total: all, file });
  }

  /** The files are here; the engine packs the weights and makes its pipelines. */
  compile(done) {
    this.#post({ stage: 'compile', loaded: done ? 1 : 0, total: 1, file: null });
  }
}
