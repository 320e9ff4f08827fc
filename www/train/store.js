// Training runs kept between visits, in the browser's private file system (OPFS). A state is written beside the one before
// and flushed, and only then does one short write, its header, make it the newest: whenever the tab is killed, a whole state
// is there.
//
//   noiseball-runs/<id>/data             the data set, written once before the first step
//                       slot-0, slot-1   states in turn: a header, facts as JSON, then parts of bytes

import { NoiseballError } from '../errors.js';

const FOLDER = 'noiseball-runs';
const MAGIC = 0x4c4c424e; // 'NBLL'
const SLOTS = ['slot-0', 'slot-1'];
const HEADER = 16; // magic, the JSON's length, the whole length as f64

/** The runs kept in this browser. */
export class RunStore {
  #folder;

  constructor(folder) {
    this.#folder = folder;
  }

  /**
   * Throws an error of type 'fetch' where the browser keeps nothing: private windows, plain http, old browsers.
   * @param {{getDirectory(): Promise<FileSystemDirectoryHandle>}} storage `navigator.storage`
   */
  static async open(storage = globalThis.navigator?.storage) {
    try {
      const root = await storage.getDirectory();
      return new RunStore(await root.getDirectoryHandle(FOLDER, { create: true }));
    } catch (cause) {
      throw new NoiseballError(
        'fetch',
        `this browser keeps no files for this page (${cause?.message ?? cause}). Private windows and plain http are among the reasons`,
        { cause },
      );
    }
  }

  /** A folder for a new run; `data` are the bytes of its data set. */
  async create(data) {
    const id = `${Date.now().toString(36)}-${Math.floor(Math.random() * 36 ** 4).toString(36)}`;
    const run = new RunFolder(await this.#folder.getDirectoryHandle(id, { create: true }), id);
    try {
      await run.writeData(data);
    } catch (error) {
      await this.remove(id).catch(() => {});
      throw error;
    }
    return run;
  }

  async get(id) {
    try {
      return new RunFolder(await this.#folder.getDirectoryHandle(id), id);
    } catch (cause) {
      throw new NoiseballError('resume', 'this run is not kept in this browser any more', { cause });
    }
  }

  /** The facts of every run that has a state, newest first: {id, ...what was saved}. A run that cannot be read is left out. */
  async list() {
    const runs = [];
    for await (const [id, handle] of this.#folder.entries()) {
      if (handle.kind !== 'directory') continue;
      const newest = await new RunFolder(handle, id).facts().catch(() => null);
      if (newest) runs.push({ ...newest, id });
    }
    return runs.sort((a, b) => b.when - a.when);
  }

  async remove(id) {
    await this.#folder.removeEntry(id, { recursive: true });
  }
}

/** One run's files. */
export class RunFolder {
  #folder;

  constructor(folder, id) {
    this.#folder = folder;
    this.id = id;
  }

  async writeData(bytes) {
    await this.#write('data', {}, [bytes]);
  }

  /** The data set's bytes. */
  async data() {
    const found = await this.#read('data');
    if (!found) throw new NoiseballError('resume', 'the data set of this run was not kept whole. Start a new run with the same pictures');
    return found.parts[0];
  }

  /** Makes this state the newest. Throws, with the state before still whole, where there is no room. */
  async save(facts, parts) {
    const [newest] = await this.#heads();
    const slot = newest?.name === SLOTS[0] ? SLOTS[1] : SLOTS[0];
    await this.#write(slot, { ...facts, number: (newest?.facts.number ?? 0) + 1 }, parts);
  }

  /** The whole states, newest first: {facts, parts}. */
  async *states() {
    for (const { name } of await this.#heads()) {
      const found = await this.#read(name);
      if (found) yield found;
    }
  }

  /** What was saved as the newest state's facts, or null. */
  async facts() {
    const [newest] = await this.#heads();
    return newest?.facts ?? null;
  }

  async #heads() {
    const heads = await Promise.all(SLOTS.map((name) => this.#head(name)));
    return heads.filter((head) => head !== null).sort((a, b) => b.facts.number - a.facts.number);
  }

  async #file(name) {
    try {
      return await (await this.#folder.getFileHandle(name)).getFile();
    } catch (error) {
      if (error?.name === 'NotFoundError') return null;
      throw error;
    }
  }

  async #head(name) {
    const file = await this.#file(name);
    if (!file || file.size < HEADER) return null;
    const header = new DataView(await file.slice(0, HEADER).arrayBuffer());
    const length = header.getUint32(4, true);
    if (header.getUint32(0, true) !== MAGIC || header.getFloat64(8, true) !== file.size || HEADER + length > file.size) return null;
    try {
      const { facts, sizes } = JSON.parse(await file.slice(HEADER, HEADER + length).text());
      return { name, file, facts, sizes, start: HEADER + length };
    } catch {
      return null;
    }
  }

  async #read(name) {
    const head = await this.#head(name);
    if (!head) return null;
    const parts = [];
    let at = head.start;
    for (const size of head.sizes) parts.push(new Uint8Array(await head.file.slice(at, (at += size)).arrayBuffer()));
    return { facts: head.facts, parts };
  }

  /** The header goes last: without it a file that was cut off is none. */
  async #write(name, facts, parts) {
    const json = new TextEncoder().encode(JSON.stringify({ facts, sizes: parts.map(({ length }) => length) }));
    const body = [json, ...parts];
    const header = new DataView(new ArrayBuffer(HEADER));
    header.setUint32(0, MAGIC, true);
    header.setUint32(4, json.length, true);
    header.setFloat64(8, HEADER + body.reduce((sum, { length }) => sum + length, 0), true);
    const handle = await this.#folder.getFileHandle(name, { create: true });
    const access = await handle.createSyncAccessHandle();
    try {
      access.truncate(0);
      access.flush();
      let at = HEADER;
      for (const piece of body) at += written(access, piece, at);
      access.flush();
      written(access, new Uint8Array(header.buffer), 0);
      access.flush();
    } finally {
      access.close();
    }
  }
}

function written(access, bytes, at) {
  const count = access.write(bytes, { at });
  if (count !== bytes.length) throw new DOMException('the browser grants no more room', 'QuotaExceededError');
  return count;
}
