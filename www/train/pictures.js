// Pictures of every kind the browser reads become a data set; what is no picture is left out and listed.

import { NoiseballError } from '../errors.js';
import { policyError } from '../policy.js';
import { isZip, readZip } from '../zip.js';
import { breathe } from './breathe.js';
import { countOfFaces, drawFaces } from './faces.js';

const MOST_PIXELS = 2 ** 26;
const LARGEST_SIDE = 512; // shrunk by the browser to this before the data set's own shrinking
const MOST_FRAMES = 500; // of an animation
const FACES_AT_A_TIME = 200; // between two looks at messages

/** The pictures that come with the package. Each address is written out: that is the form in which bundlers find files. */
const BUNDLED = {
  digits: { facts: () => import('../data/digits.js'), sheet: new URL('../data/digits.png', import.meta.url) },
  faces: { facts: () => import('../data/faces.js') },
  kanji: { facts: () => import('../data/kanji.js'), sheet: new URL('../data/kanji.png', import.meta.url) },
};
const ARRAY = /\.(npy|idx|ubyte)$|-ubyte$/i;

/**
 * @param {{kind: 'bundled', name: 'digits' | 'faces' | 'kanji'} | {kind: 'files', files: {path: string, file: File}[]}} source
 * @param {{size?: number, grey?: boolean, whole?: boolean, classes?: boolean, count?: number}} options `whole` keeps what is outside the
 *        middle square, with white beside it; `classes: false` ignores the folders' names; `count` of faces are drawn
 * @param {{engine: any, signal: AbortSignal, report: (progress: {done: number, total: number}) => void}} context
 * @returns {Promise<{data: object, skipped: {name: string, why: string}[], about: object | null}>}
 */
export async function readPictures(source, options, { engine, signal, report }) {
  const pictures = new engine.Pictures(options.size);
  const skipped = [];
  let about = null;
  try {
    if (source.kind === 'bundled') about = await readBundled(BUNDLED[source.name], pictures, { options, signal, report });
    else await readFiles(source.files, pictures, { options, skipped, signal, report });
  } catch (error) {
    pictures.free();
    throw error;
  }
  for (const { name, why } of skipped) pictures.skip(name, why); // for the error where nothing is left
  return { data: pictures.finish(Boolean(options.grey)), skipped, about };
}

/** @param {{facts: () => Promise<{default: any}>, sheet?: URL}} files */
async function readBundled({ facts, sheet }, pictures, context) {
  const found = (await facts()).default;
  return sheet ? readSheet(found, sheet, pictures, context.options) : readFaces(found, pictures, context);
}

/** Tiles of a PNG. */
async function readSheet(facts, sheet, pictures, options) {
  const bitmap = await decode(await (await get(sheet)).blob());
  const { tile, columns, count, names, labels } = facts;
  const context = canvas(bitmap.width, bitmap.height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  for (let i = 0; i < count; i++) {
    const { data } = context.getImageData((i % columns) * tile, Math.floor(i / columns) * tile, tile, tile);
    pictures.add(options.classes === false || !names ? '' : names[labels[i]], tile, tile, new Uint8Array(data.buffer));
  }
  return { name: facts.name, about: facts.about, licence: facts.licence, source: facts.source };
}

/** Faces drawn here and now from their parts. */
async function readFaces(parts, pictures, { options, signal, report }) {
  const total = countOfFaces(options.count);
  let done = 0;
  for (const { rgba, name } of drawFaces(parts, total)) {
    pictures.add(options.classes === false ? '' : name, parts.size, parts.size, rgba);
    if (++done % FACES_AT_A_TIME > 0) continue;
    report({ done, total });
    await breathe();
    if (signal.aborted) throw signal.reason;
  }
  return { name: parts.name, about: `${total.toLocaleString('en')} ${parts.about}`, licence: parts.licence, source: parts.source };
}

async function get(url) {
  let response;
  try {
    response = await fetch(url);
  } catch (cause) {
    const refused = await policyError(url);
    if (refused) throw refused;
    throw new NoiseballError('fetch', `could not reach ${url}. Check the network and try again`, { cause });
  }
  if (!response.ok) throw new NoiseballError('fetch', `${url} answered with HTTP status ${response.status}`);
  return response;
}

async function readFiles(files, pictures, { options, skipped, signal, report }) {
  const visible = files.filter(({ path }) => !path.split('/').some((part) => part.startsWith('.')));
  const arrays = [];
  let done = 0;
  const read = async (path, blob) => {
    if (blob.size === 0) throw new Error('it is empty');
    if (ARRAY.test(path)) arrays.push([path, new Uint8Array(await blob.arrayBuffer())]);
    else await readPicture(path, blob, pictures, options);
  };
  const each = async (path, get) => {
    if (signal.aborted) throw signal.reason;
    try {
      await read(path, await get());
    } catch (error) {
      skipped.push({ name: path, why: reason(error) });
    }
    if (++done % 16 === 0) report({ done, total: visible.length });
  };
  for (const { path, file } of visible) {
    if (!isZip(path)) {
      await each(path, () => file);
      continue;
    }
    let entries = [];
    try {
      entries = await readZip(file, path);
    } catch (error) {
      skipped.push({ name: path, why: reason(error) });
    }
    for (const entry of entries) await each(entry.path, async () => new Blob([await entry.bytes()]));
  }
  for (const [name, why] of pictures.add_arrays(arrays, options.classes !== false)) skipped.push({ name, why });
  report({ done: visible.length, total: visible.length });
}

async function readPicture(path, blob, pictures, options) {
  const size = sizeOf(new Uint8Array(await blob.slice(0, 65536).arrayBuffer()));
  if (size && size[0] * size[1] > MOST_PIXELS)
    throw new Error(`its ${size[0]} × ${size[1]} pixels are more than ${MOST_PIXELS.toLocaleString('en')}`);
  const name = options.classes === false ? '' : (path.split('/').at(-2) ?? '');
  for await (const frame of framesOf(blob)) {
    const [width, height] = frame instanceof ImageBitmap ? [frame.width, frame.height] : [frame.displayWidth, frame.displayHeight];
    const side = options.whole ? Math.max(width, height) : Math.min(width, height);
    const scale = Math.min(1, LARGEST_SIDE / side);
    const square = Math.max(1, Math.round(side * scale));
    const context = canvas(square, square);
    context.imageSmoothingQuality = 'high';
    if (options.whole) {
      context.fillStyle = 'white';
      context.fillRect(0, 0, square, square);
    }
    context.drawImage(
      frame,
      Math.round((square - width * scale) / 2),
      Math.round((square - height * scale) / 2),
      width * scale,
      height * scale,
    );
    frame.close();
    const { data } = context.getImageData(0, 0, square, square);
    pictures.add(name, square, square, new Uint8Array(data.buffer));
  }
}

/**
 * The frames of an animation, where this browser takes them apart; otherwise the one picture.
 * @returns {AsyncGenerator<ImageBitmap | VideoFrame>}
 */
async function* framesOf(blob) {
  const head = new TextDecoder('latin1').decode(await blob.slice(0, 64).arrayBuffer());
  const type = /^GIF8/.test(head) ? 'image/gif' : /^RIFF.{4}WEBP.*ANIM/s.test(head) ? 'image/webp' : null;
  if (!type || typeof ImageDecoder === 'undefined') {
    yield await decode(blob);
    return;
  }
  const decoder = new ImageDecoder({ data: await blob.arrayBuffer(), type });
  try {
    await decoder.tracks.ready;
    await decoder.completed;
    const count = Math.min(MOST_FRAMES, decoder.tracks.selectedTrack.frameCount);
    for (let frameIndex = 0; frameIndex < count; frameIndex++) yield (await decoder.decode({ frameIndex })).image;
  } finally {
    decoder.close();
  }
}

function decode(blob) {
  return createImageBitmap(blob, { premultiplyAlpha: 'none', colorSpaceConversion: 'none' });
}

function canvas(width, height) {
  return new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
}

/** Width and height by a file's first bytes, so that a picture that is far too large is never decoded. */
export function sizeOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (start, end) => String.fromCharCode(...bytes.subarray(start, end));
  if (bytes.length >= 24 && text(1, 4) === 'PNG') return [view.getUint32(16), view.getUint32(20)];
  if (bytes.length >= 10 && text(0, 4) === 'GIF8') return [view.getUint16(6, true), view.getUint16(8, true)];
  if (bytes.length >= 30 && text(8, 16) === 'WEBPVP8X') return [24, 27].map((at) => 1 + (view.getUint32(at, true) & 0xffffff));
  if (bytes.length >= 4 && view.getUint16(0) === 0xffd8) return jpegSize(view);
  return null;
}

function jpegSize(view) {
  for (let at = 2; at + 9 < view.byteLength && view.getUint8(at) === 0xff; ) {
    const marker = view.getUint8(at + 1);
    const frame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (frame) return [view.getUint16(at + 7), view.getUint16(at + 5)];
    at += 2 + view.getUint16(at + 2);
  }
  return null;
}

function reason(error) {
  if (error instanceof NoiseballError) return error.message;
  if (error?.name === 'InvalidStateError' || error?.name === 'EncodingError') return 'it is no picture that this browser can read';
  return String(error?.message ?? error);
}
