// Draws the training set: distinct 16x16 RGB faces and what each one wears, in one safetensors file.
//
//   node draw.mjs [count=160000] [out=cache/faces.safetensors]
//
// Every face is a function of its seed, an integer counted up from 0, so the file can be made again bit for bit.
// Tensors in the file:
//   images      U8  [count, 16, 16, 3]   sRGB, 0..255, on an opaque pale background
//   labels      U8  [count]              class 0..15, see CLASS_BITS
//   attributes  U8  [count, columns]     index into the column's vocabulary; 255 means "none"
//   seeds       I32 [count]
// `__metadata__.attributes` is JSON: [{"name": "hair", "values": ["long01", ...]}, ...], one entry a column.

import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createAvatar } from '@dicebear/core';
import * as pixelArt from '@dicebear/pixel-art';
import { Resvg } from '@resvg/resvg-js';
import { OPTIONS } from './options.mjs';

const SIZE = OPTIONS.size;
const NONE = 255;

const BRIGHT_HAIR = ['#009bbd', '#bd1700', '#91cb15']; // blue, red, green; DiceBear's other eight are browns and blonds

// The class is the sum of the bits whose attribute the face has; labels.json says the same in words.
const CLASS_BITS = [
  (face) => face.hair.startsWith('long'),
  (face) => BRIGHT_HAIR.includes(face.hairColor),
  (face) => face.glasses !== undefined,
  (face) => face.hat !== undefined,
];

const COLUMNS = [
  'hair',
  'glasses',
  'hat',
  'accessories',
  'clothing',
  'eyes',
  'mouth',
  'skinColor',
  'hairColor',
  'glassesColor',
  'hatColor',
  'accessoriesColor',
  'clothingColor',
  'eyesColor',
  'mouthColor',
  'backgroundColor',
];

function draw(seed) {
  const avatar = createAvatar(pixelArt, { ...OPTIONS, seed: String(seed) });
  const { extra } = avatar.toJson();
  const rgba = new Resvg(avatar.toString(), { font: { loadSystemFonts: false } }).render().pixels;
  const rgb = new Uint8Array(SIZE * SIZE * 3);
  for (let i = 0; i < SIZE * SIZE; i++) {
    if (rgba[4 * i + 3] !== 255) throw new Error(`seed ${seed}: a pixel is not opaque`);
    rgb.set(rgba.subarray(4 * i, 4 * i + 3), 3 * i);
  }
  extra.backgroundColor = extra.primaryBackgroundColor;
  return { rgb, extra };
}

/** Writes tensors ({name: {dtype, shape, data}}) as a safetensors file. */
function save(path, tensors, metadata) {
  const header = { __metadata__: metadata };
  let offset = 0;
  for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + data.byteLength] };
    offset += data.byteLength;
  }
  let json = JSON.stringify(header);
  json += ' '.repeat((8 - (json.length % 8)) % 8);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  mkdirSync(dirname(path), { recursive: true });
  const parts = Object.values(tensors).map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength));
  writeFileSync(path, Buffer.concat([length, Buffer.from(json), ...parts]));
}

const count = Number(process.argv[2] ?? 160000);
const out = process.argv[3] ?? join(import.meta.dirname, 'cache/faces.safetensors');
const images = new Uint8Array(count * SIZE * SIZE * 3);
const labels = new Uint8Array(count);
const attributes = new Uint8Array(count * COLUMNS.length);
const seeds = new Int32Array(count);
const vocabulary = COLUMNS.map(() => []);
const seen = new Set();

for (let seed = 0, n = 0; n < count; seed++) {
  const { rgb, extra } = draw(seed);
  const digest = createHash('md5').update(rgb).digest('base64');
  if (seen.has(digest)) continue;
  seen.add(digest);
  images.set(rgb, n * rgb.length);
  labels[n] = CLASS_BITS.reduce((label, has, bit) => label | (Number(has(extra)) << bit), 0);
  COLUMNS.forEach((column, c) => {
    const value = extra[column];
    const known = vocabulary[c];
    if (value !== undefined && !known.includes(value)) known.push(value);
    attributes[n * COLUMNS.length + c] = value === undefined ? NONE : known.indexOf(value);
  });
  seeds[n++] = seed;
}

save(
  out,
  {
    images: { dtype: 'U8', shape: [count, SIZE, SIZE, 3], data: images },
    labels: { dtype: 'U8', shape: [count], data: labels },
    attributes: { dtype: 'U8', shape: [count, COLUMNS.length], data: attributes },
    seeds: { dtype: 'I32', shape: [count], data: seeds },
  },
  { attributes: JSON.stringify(COLUMNS.map((name, c) => ({ name, values: vocabulary[c] }))) },
);
console.log(`${count} distinct faces, seeds 0..${seeds[count - 1]}, in ${out}`);
