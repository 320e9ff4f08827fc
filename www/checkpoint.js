// A checkpoint's files, read in the worker: small ones whole, the weights chunk by chunk into the engine.

import { abortError, NoiseballError } from './errors.js';
import { evict } from './cache.js';
import { download, downloadBytes } from './download.js';
import { isZip, readZip } from './zip.js';

const WEIGHTS = 'diffusion_pytorch_model';

// The two folder layouts that diffusers reads: A as save_pretrained writes it, and B, flat.
const LAYOUTS = [{ unet: 'unet/' }, { unet: '' }];
const SCHEDULERS = ['scheduler/scheduler_config.json', 'scheduler_config.json'];

/**
 * What the engine builds a model from.
 * @typedef {{files: {unetConfig: Uint8Array, modelIndex?: Uint8Array, schedulerConfig?: Uint8Array, labels?: Uint8Array},
 *            weights: object[], forget(): Promise<void>}} Checkpoint
 *          `forget` drops its files from the cache, for the case that they turn out not to be readable
 */

/**
 * Reads a checkpoint. `engine` resolves to the wasm module, which may still be starting.
 *
 * @param {import('./source.js').Source} source
 * @param {{engine: Promise<any>, signal: AbortSignal, progress: Progress, again?: boolean}} context
 *        `again`: take what the cache has, without asking the server whether that is its newest
 * @returns {Promise<Checkpoint>}
 */
export function readCheckpoint(source, context) {
  return source.kind === 'url' ? fromAddress(source.url, context) : fromFiles(source.files, context);
}

/**
 * @param {string} folder
 * @param {{engine: Promise<any>, signal: AbortSignal, progress: Progress, again?: boolean}} context
 * @returns {Promise<Checkpoint>}
 */
async function fromAddress(folder, { engine, signal, progress, again }) {
  const urls = [];
  const at = (path) => {
    const url = new URL(path, folder);
    url.search = new URL(folder).search;
    urls.push(url.href);
    return url.href;
  };
  const options = (path, optional) => ({ signal, optional, again, onProgress: (loaded, total) => progress.report(path, loaded, total) });
  const small = (path) => downloadBytes(at(path), options(path, true));

  const { layout, unetConfig } = await findLayout(folder, small);
  // Each layout's own place first; the other one is allowed too.
  const [likely, other] = layout.unet ? SCHEDULERS : SCHEDULERS.toReversed();
  const scheduler = small(likely).then((bytes) => bytes ?? small(other));
  const [schedulerConfig, modelIndex, labels] = await Promise.all([scheduler, small('model_index.json'), small('labels.json')]);
  const { WeightsReader } = await engine;
  const weightsFile = (path, optional) =>
    download(at(path), { ...options(path, optional), open: (length) => new WeightsReader(path, length) });
  const weights = await findWeights(folder, layout.unet, weightsFile, small);
  const files = withoutAbsent({ unetConfig, schedulerConfig, modelIndex, labels });
  return { files, weights, forget: async () => void (await Promise.all(urls.map(evict))) };
}

async function findLayout(folder, small) {
  for (const layout of LAYOUTS) {
    const unetConfig = await small(`${layout.unet}config.json`);
    if (unetConfig) return { layout, unetConfig };
  }
  throw new NoiseballError(
    'fetch',
    `no such file: neither unet/config.json nor config.json is in ${folder}. Check the address: it must be that of the folder ` +
      "that diffusers' save_pretrained wrote",
  );
}

async function findWeights(folder, unet, weightsFile, small) {
  const whole = await weightsFile(`${unet}${WEIGHTS}.safetensors`, true);
  if (whole) return [whole];
  const index = await small(`${unet}${WEIGHTS}.safetensors.index.json`);
  if (index) {
    const weights = [];
    for (const name of shardNames(index)) weights.push(await weightsFile(unet + name, false));
    return weights;
  }
  const half = await weightsFile(`${unet}${WEIGHTS}.fp16.safetensors`, true);
  if (half) return [half];
  throw new NoiseballError(
    'checkpoint',
    `there is no ${unet}${WEIGHTS}.safetensors in ${folder}. If it has a .bin file only, load it in Python and save it again: ` +
      "`pipeline.save_pretrained('folder', safe_serialization=True)`",
  );
}

function shardNames(index) {
  let names;
  try {
    names = Object.values(JSON.parse(new TextDecoder().decode(index)).weight_map);
  } catch (cause) {
    throw new NoiseballError('checkpoint', `${WEIGHTS}.safetensors.index.json is not the index that diffusers writes: ${cause.message}`, {
      cause,
    });
  }
  const unique = [...new Set(names)];
  // A name is a file beside the index, never an address of its own.
  const bad = unique.find((name) => typeof name !== 'string' || !/^[\w.-]+\.safetensors$/.test(name));
  if (bad !== undefined || unique.length === 0) {
    throw new NoiseballError('checkpoint', `${WEIGHTS}.safetensors.index.json names '${bad}' where a .safetensors file is expected`);
  }
  return unique;
}

/** @returns {Promise<Checkpoint>} */
async function fromFiles(given, { engine, signal, progress }) {
  const files = await unpacked(given);
  const { choose_files: chooseFiles, WeightsReader } = await engine;
  const chosen = chooseFiles(files.map(({ path }) => path));
  const fileAt = (path) => files.find((candidate) => candidate.path === path).file;
  const read = async (path, sink) => {
    const file = fileAt(path);
    let loaded = 0;
    progress.report(path, 0, file.size);
    for await (const chunk of chunksOf(file, path, signal)) {
      sink.push(chunk);
      progress.report(path, (loaded += chunk.length), file.size);
    }
    return sink;
  };
  const whole = async (path) => path && new Uint8Array(await readable(path, fileAt(path).arrayBuffer()));

  const { unetConfig, schedulerConfig, modelIndex, labels } = chosen;
  const small = await Promise.all([unetConfig, schedulerConfig, modelIndex, labels].map(whole));
  const weights = [];
  for (const path of chosen.weights) weights.push(await read(path, new WeightsReader(path, fileAt(path).size)));
  return {
    files: withoutAbsent({ unetConfig: small[0], schedulerConfig: small[1], modelIndex: small[2], labels: small[3] }),
    weights,
    forget: async () => {},
  };
}

/** The files in an archive, where there is nothing but one. */
async function unpacked(files) {
  if (files.length !== 1 || !isZip(files[0].path)) return files;
  const entries = (await readZip(files[0].file, files[0].path)).filter(({ path }) => /\.(json|safetensors|bin)$/.test(path));
  return Promise.all(entries.map(async ({ path, bytes }) => ({ path, file: new Blob([await bytes()]) })));
}

async function* chunksOf(file, path, signal) {
  const reader = file.stream().getReader();
  try {
    for (;;) {
      const { done, value } = await readable(path, reader.read());
      if (signal.aborted) throw abortError(signal);
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
    throw new NoiseballError('fetch', `the browser could not read ${path}; it may have changed or moved. Choose it again`, { cause });
  }
}

/** @returns {any} */
function withoutAbsent(files) {
  return Object.fromEntries(Object.entries(files).filter(([, bytes]) => bytes));
}

/** Adds up the progress of files that arrive side by side. */
export class Progress {
  #files = new Map();
  #post;
  #last = -Infinity;

  /** @param {(progress: {stage: string, loaded: number, total: number | null, file: string | null}) => void} post */
  constructor(post) {
    this.#post = post;
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
    this.#post({ stage: 'download', loaded: sum('loaded'), total: known ? sum('total') : null, file });
  }

  /** The files are here; the engine packs the weights and makes its pipelines. */
  compile(done) {
    this.#post({ stage: 'compile', loaded: done ? 1 : 0, total: 1, file: null });
  }
}
