// ZIP archives, read in place: only the entries asked for are unpacked, by the browser's own inflate.

import { NoiseballError } from './errors.js';

const END = 0x06054b50; // the end of the central directory
const ENTRY = 0x02014b50;
const LOCAL = 0x04034b50;
const LONGEST_END = 22 + 0xffff;
const LARGEST = 2 ** 31; // an entry, unpacked

/** Whether a file's name says that it is a ZIP archive; NumPy's NPZ is one too. */
export function isZip(name) {
  return /\.(zip|npz)$/i.test(name);
}

/**
 * The files of an archive, without those that are hidden; `bytes()` unpacks one and rejects where it is damaged.
 *
 * @param {Blob} blob
 * @param {string} name for errors
 * @returns {Promise<{path: string, size: number, bytes(): Promise<Uint8Array<ArrayBuffer>>}[]>}
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
  const entries = [];
  for (let i = 0, p = 0; i < count; i++) {
    if (p + 46 > directory.byteLength || directory.getUint32(p, true) !== ENTRY) throw refuse('its directory is damaged');
    const u16 = (o) => directory.getUint16(p + o, true);
    const u32 = (o) => directory.getUint32(p + o, true);
    const [nameLength, extra, comment] = [u16(28), u16(30), u16(32)];
    if (p + 46 + nameLength > directory.byteLength) throw refuse('its directory is damaged');
    const path = new TextDecoder().decode(new Uint8Array(directory.buffer, p + 46, nameLength)).replaceAll('\\', '/');
    const entry = { path, size: u32(24), flags: u16(8), method: u16(10), crc: u32(16), packed: u32(20), local: u32(42) };
    if (isVisible(path)) entries.push({ path, size: entry.size, bytes: () => unpack(blob, entry) });
    p += 46 + nameLength + extra + comment;
  }
  return entries;
}

function isVisible(path) {
  return !path.endsWith('/') && !path.split('/').some((part) => part.startsWith('.') || part === '__MACOSX');
}

async function unpack(blob, { path, size, flags, method, crc, packed, local }) {
  const refuse = (problem) => new NoiseballError('fetch', `${path} in the archive cannot be unpacked: ${problem}`);
  if (flags & 1) throw refuse('it is encrypted');
  if (size > LARGEST) throw refuse('it is larger than 2 GB');
  const header = await view(blob, local, local + 30);
  if (header.byteLength < 30 || header.getUint32(0, true) !== LOCAL) throw refuse('the archive is damaged');
  const start = local + 30 + header.getUint16(26, true) + header.getUint16(28, true);
  const data = blob.slice(start, start + packed);
  let bytes;
  if (method === 0) bytes = new Uint8Array(await data.arrayBuffer());
  else if (method === 8) bytes = await inflate(data, size, refuse);
  else throw refuse('its compression is neither none nor deflate');
  if (bytes.length !== size || crc32(bytes) !== crc) throw refuse('the archive is damaged');
  return bytes;
}

async function inflate(data, size, refuse) {
  const bytes = new Uint8Array(size);
  let filled = 0;
  const reader = data.stream().pipeThrough(new DecompressionStream('deflate-raw')).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return bytes.subarray(0, filled);
      if (filled + value.length > size) throw refuse('it is larger than it says');
      bytes.set(value, filled);
      filled += value.length;
    }
  } catch (error) {
    throw error instanceof NoiseballError ? error : refuse('the archive is damaged');
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function view(blob, start, end) {
  return new DataView(await blob.slice(start, end).arrayBuffer());
}

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n;
});

function crc32(bytes) {
  let crc = -1;
  for (let i = 0; i < bytes.length; i++) crc = TABLE[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}
