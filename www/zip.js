// ZIP archives, read in place: names first, then only the entries that are wanted, unpacked by the browser's own inflate.
// The rules are those of src/train/dataset/archive.rs and src/budget.rs.

import { NoiseballError } from './errors.js';

const END = 0x06054b50; // the end of the central directory
const ENTRY = 0x02014b50;
const LOCAL = 0x04034b50;
const LONGEST_END = 22 + 0xffff;
const UNICODE_PATH = 0x7075; // Info-ZIP's field for a name in UTF-8

/** Bytes that an archive's entries may unpack to in all, whatever its size, and for each of its bytes. */
export const BUDGET = { base: 160_000_000, times: 4 };
/** Bytes of JSON in one file. */
export const MOST_JSON = 4 * 2 ** 20;

/** Code page 437 from 128 on, ZIP's own encoding of names. */
const CP437 =
  'ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0';

/** Whether a file's name says that it is a ZIP archive; NumPy's NPZ is one too. */
export function isZip(name) {
  return /\.(zip|npz)$/i.test(name);
}

/**
 * The files of an archive, without those that are hidden. `file` is unpacked when it is read, as a Blob is; it rejects where it is
 * damaged, or where the archive's entries unpack to more than the archive can be worth.
 *
 * @param {Blob} blob
 * @param {string} name for errors
 * @returns {Promise<{path: string, file: Packed}[]>}
 */
export async function readZip(blob, name) {
  const refuse = (problem) => new NoiseballError('fetch', `${name} is not a readable ZIP archive: ${problem}. Download or make it again`);
  const tail = await view(blob, Math.max(0, blob.size - LONGEST_END), blob.size);
  let at = tail.byteLength - 22;
  while (at >= 0 && tail.getUint32(at, true) !== END) at--;
  if (at < 0) throw refuse('it has no directory');
  const [count, length, offset] = [tail.getUint16(at + 10, true), tail.getUint32(at + 12, true), tail.getUint32(at + 16, true)];
  if (offset === 0xffffffff || count === 0xffff) throw refuse('it is in the format for more than 65,534 files or 4 GB');
  if (offset + length > blob.size) throw refuse('it is cut off');

  const directory = await view(blob, offset, offset + length);
  const budget = { left: BUDGET.base + BUDGET.times * blob.size };
  const entries = [];
  for (let i = 0, p = 0; i < count; i++) {
    if (p + 46 > directory.byteLength || directory.getUint32(p, true) !== ENTRY) throw refuse('its directory is damaged');
    const u16 = (o) => directory.getUint16(p + o, true);
    const u32 = (o) => directory.getUint32(p + o, true);
    const [nameLength, extra, comment] = [u16(28), u16(30), u16(32)];
    const next = p + 46 + nameLength + extra + comment;
    if (next > directory.byteLength) throw refuse('its directory is damaged');
    const bytes = (from, size) => new Uint8Array(directory.buffer, p + from, size);
    const path = pathOf(bytes(46, nameLength), bytes(46 + nameLength, extra));
    entries.push({ path, size: u32(24), flags: u16(8), method: u16(10), crc: u32(16), packed: u32(20), local: u32(42), nameLength });
    p = next;
  }
  // Files that share bytes unpack to more than any archive holds.
  entries.sort((a, b) => a.local - b.local);
  entries.forEach(({ local, nameLength, packed }, i) => {
    if (local + 30 + nameLength + packed > (entries[i + 1]?.local ?? offset)) throw refuse('files in it overlap');
  });
  return entries.filter(({ path }) => isVisible(path)).map((entry) => ({ path: entry.path, file: new Packed(blob, entry, budget) }));
}

function isVisible(path) {
  return !path.endsWith('/') && !path.split('/').some((part) => part.startsWith('.') || part === '__MACOSX');
}

/** UTF-8 if the name is that, otherwise code page 437: names that differ stay different, whatever their encoding. */
function pathOf(name, extra) {
  const path =
    unicodePath(name, extra) ?? utf8(name) ?? Array.from(name, (b) => (b < 128 ? String.fromCharCode(b) : CP437[b - 128])).join('');
  // Some Windows programs separate folders by backslashes; where there are slashes too, it is part of a letter in Shift-JIS.
  return path.includes('/') ? path : path.replaceAll('\\', '/');
}

function utf8(bytes) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

function unicodePath(name, extra) {
  const fields = new DataView(extra.buffer, extra.byteOffset, extra.byteLength);
  for (let p = 0; p + 4 <= extra.length; ) {
    const [id, length] = [fields.getUint16(p, true), fields.getUint16(p + 2, true)];
    const fits = length >= 5 && p + 4 + length <= extra.length;
    if (id === UNICODE_PATH && fits && extra[p + 4] === 1)
      return fields.getUint32(p + 5, true) === crc32(name) ? utf8(extra.subarray(p + 9, p + 4 + length)) : null;
    p += 4 + length;
  }
  return null;
}

/** An entry of an archive: what of a Blob its readers use. */
class Packed {
  #blob;
  #entry;
  #budget;

  constructor(blob, entry, budget) {
    this.#blob = blob;
    this.#entry = entry;
    this.#budget = budget;
  }

  /** Its bytes, by what the archive says. */
  get size() {
    return this.#entry.size;
  }

  /** @returns {ReadableStream<Uint8Array<ArrayBuffer>>} */
  stream() {
    const chunks = this.#chunks();
    return new ReadableStream({
      async pull(controller) {
        const { done, value } = await chunks.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      cancel: async () => void (await chunks.return()),
    });
  }

  /** Room grows with what arrives, whatever was claimed. */
  async arrayBuffer() {
    const chunks = [];
    for await (const chunk of this.#chunks()) chunks.push(chunk);
    return new Blob(chunks).arrayBuffer();
  }

  async *#chunks() {
    const { path, size, flags, method, crc, packed, local } = this.#entry;
    const refuse = (problem) => new NoiseballError('fetch', `${path} in the archive cannot be unpacked: ${problem}`);
    if (flags & 1) throw refuse('it is encrypted');
    if (method !== 0 && method !== 8) throw refuse('its compression is neither none nor deflate');
    if (path.endsWith('.json') && size > MOST_JSON) throw refuse(`it has more than ${MOST_JSON.toLocaleString('en')} bytes`);
    const header = await view(this.#blob, local, local + 30);
    if (header.byteLength < 30 || header.getUint32(0, true) !== LOCAL) throw refuse('the archive is damaged');
    const start = local + 30 + header.getUint16(26, true) + header.getUint16(28, true);
    const data = this.#blob.slice(start, start + packed).stream();
    const reader = (method === 8 ? data.pipeThrough(new DecompressionStream('deflate-raw')) : data).getReader();
    let [filled, sum] = [0, -1];
    try {
      for (;;) {
        const { done, value } = await reader.read().catch(() => {
          throw refuse('the archive is damaged');
        });
        if (done) break;
        filled += value.length;
        if (filled > size) throw refuse('it is larger than it says');
        if ((this.#budget.left -= value.length) < 0) throw refuse('the archive unpacks to far more than its own size');
        sum = addToCrc(sum, value);
        yield value;
      }
    } finally {
      reader.cancel().catch(() => {});
    }
    if (filled !== size || ~sum >>> 0 !== crc) throw refuse('the archive is damaged');
  }
}

async function view(blob, start, end) {
  return new DataView(await blob.slice(start, end).arrayBuffer());
}

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n;
});

function addToCrc(crc, bytes) {
  for (let i = 0; i < bytes.length; i++) crc = TABLE[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  return crc;
}

function crc32(bytes) {
  return ~addToCrc(-1, bytes) >>> 0;
}
