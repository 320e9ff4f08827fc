// Pictures become a data set. Files are read and understood by Rust, as in the terminal; the browser decodes what Rust does not.

import { NoiseballError } from '../errors.js';
import { policyError } from '../policy.js';
import { breathe } from './breathe.js';
import { countOfFaces, drawFaces } from './faces.js';

const FACES_AT_A_TIME = 200; // between two looks at messages
const READING_TIME = 50; // milliseconds between two looks at messages

/** The pictures that come with the package. Each address is written out: that is the form in which bundlers find files. */
const BUNDLED = {
  digits: { facts: () => import('../data/digits.js'), sheet: new URL('../data/digits.png', import.meta.url) },
  faces: { facts: () => import('../data/faces.js') },
  kanji: { facts: () => import('../data/kanji.js'), sheet: new URL('../data/kanji.png', import.meta.url) },
};

/**
 * @param {{kind: 'bundled', name: 'digits' | 'faces' | 'kanji'} | {kind: 'files', files: {path: string, file: File}[]}} source
 * @param {{size?: number, grey?: boolean, whole?: boolean, classes?: boolean, count?: number}} options `whole` keeps what is outside the
 *        middle square, with white beside it; `classes: false` ignores the folders' names; `count` of faces are drawn
 * @param {{engine: any, signal: AbortSignal, report: (progress: {done: number, total: number}) => void}} context
 * @returns {Promise<{data: object, skipped: {name: string, why: string}[], skippedCount: number, notes: string[], about: object | null}>}
 */
export async function readPictures(source, options, { engine, signal, report }) {
  const pictures = new engine.Pictures(options.size, Boolean(options.whole), options.classes !== false);
  let about = null;
  try {
    if (source.kind === 'bundled') about = await readBundled(BUNDLED[source.name], pictures, { options, signal, report });
    else await readFiles(source.files, pictures, { signal, report });
  } catch (error) {
    pictures.free();
    throw error;
  }
  const [data, { skipped, skippedCount, notes }] = pictures.finish(Boolean(options.grey));
  return { data, skipped: skipped.map(([name, why]) => ({ name, why })), skippedCount, notes, about };
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

async function readFiles(files, pictures, { signal, report }) {
  for (const { path, file } of files) pictures.push(path, file);
  let last = performance.now();
  for (let step = pictures.read_next(); step; step = pictures.read_next()) {
    if (step.bytes) await readForeign(step, pictures);
    if (performance.now() - last < READING_TIME) continue;
    if (step.total) report(step);
    await breathe();
    if (signal.aborted) throw signal.reason;
    last = performance.now();
  }
}

/** A picture in a format that only browsers read. */
async function readForeign({ name, bytes }, pictures) {
  let bitmap;
  try {
    bitmap = await decode(new Blob([bytes]));
  } catch {
    pictures.skip(name, 'it is no picture that this browser can read');
    return;
  }
  const { width, height } = bitmap;
  const context = canvas(width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  pictures.add_decoded(name, width, height, new Uint8Array(context.getImageData(0, 0, width, height).data.buffer));
}

function decode(blob) {
  return createImageBitmap(blob, { premultiplyAlpha: 'none', colorSpaceConversion: 'none' });
}

function canvas(width, height) {
  return new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
}
