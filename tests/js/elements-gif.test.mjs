// The GIF encoder, read back by a reader of its own.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeGif, paletteOf } from '../../www/elements/gif.js';

/** The frames of a GIF as RGBA, with their delays: what GIF89a says, read without the writer's code. */
function decode(bytes) {
  const short = (at) => bytes[at] | (bytes[at + 1] << 8);
  assert.equal(Buffer.from(bytes.subarray(0, 6)).toString(), 'GIF89a');
  const [width, height] = [short(6), short(8)];
  const palette = bytes.subarray(13, 13 + 768);
  const frames = [];
  let at = 13 + 768;
  let [delay, clear] = [0, -1];
  const blocks = () => {
    const data = [];
    for (; bytes[at] > 0; at += bytes[at] + 1) data.push(...bytes.subarray(at + 1, at + 1 + bytes[at]));
    at++;
    return data;
  };
  while (bytes[at] !== 0x3b) {
    if (bytes[at] === 0x21) {
      if (bytes[at + 1] === 0xf9) [delay, clear] = [short(at + 4) * 10, bytes[at + 6]];
      at += 2;
      blocks();
      continue;
    }
    assert.equal(bytes[at], 0x2c);
    assert.deepEqual([short(at + 5), short(at + 7), bytes[at + 9]], [width, height, 0]);
    at += 11;
    const indices = inflate(blocks());
    frames.push({ delay, pixels: indices.flatMap((i) => (i === clear ? [0, 0, 0, 0] : [...palette.subarray(3 * i, 3 * i + 3), 255])) });
  }
  assert.equal(at, bytes.length - 1);
  return { width, height, frames };
}

function inflate(data) {
  let [size, position, table, before] = [9, 0, [], null];
  const out = [];
  const reset = () => {
    table = Array.from({ length: 258 }, (_, i) => [i]);
    size = 9;
    before = null;
  };
  reset();
  for (;;) {
    let code = 0;
    for (let bit = 0; bit < size; bit++, position++) code |= ((data[position >> 3] >> (position & 7)) & 1) << bit;
    if (code === 256) {
      reset();
      continue;
    }
    if (code === 257) return out;
    assert.ok(code <= table.length, `code ${code} of ${table.length}`);
    const entry = table[code] ?? [...before, before[0]];
    out.push(...entry);
    if (before && table.length < 4096) table.push([...before, entry[0]]);
    if (table.length === 1 << size && size < 12) size++;
    before = entry;
  }
}

/** Pixels from a function of x, y that gives RGBA. */
const picture = (width, height, colour) =>
  Uint8ClampedArray.from({ length: width * height * 4 }, (_, i) => colour((i >> 2) % width, Math.floor((i >> 2) / width))[i & 3]);

test('few colours come back as they were, enlarged, with what is transparent and how long each frame stands', async () => {
  const frames = [picture(5, 3, (x, y) => (x === 2 ? [0, 0, 0, 0] : [50 * x, 100 * y, 7, 255])), picture(5, 3, (x) => [x, 0, 0, 255])];
  const file = await encodeGif(
    frames.map((pixels, i) => ({ pixels, delay: [500, 40][i] })),
    { width: 5, height: 3, scale: 2 },
  );
  const found = decode(file);
  assert.deepEqual([found.width, found.height, found.frames.map(({ delay }) => delay)], [10, 6, [500, 40]]);
  found.frames.forEach(({ pixels }, f) => {
    for (let y = 0; y < 6; y++)
      for (let x = 0; x < 10; x++)
        for (let k = 0; k < 4; k++)
          assert.equal(pixels[(y * 10 + x) * 4 + k], frames[f][(Math.floor(y / 2) * 5 + Math.floor(x / 2)) * 4 + k]);
  });
});

test('noise fills the code table many times over, and comes back near its colours', async () => {
  let state = 1;
  const random = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 24;
  const pixels = Uint8ClampedArray.from({ length: 120 * 120 * 4 }, (_, i) => (i % 4 === 3 ? 255 : random()));
  const [frame] = decode(await encodeGif([{ pixels, delay: 100 }], { width: 120, height: 120 })).frames;
  assert.equal(frame.pixels.length, pixels.length);
  let sum = 0;
  for (let i = 0; i < pixels.length; i++) sum += (pixels[i] - frame.pixels[i]) ** 2;
  const deviation = Math.sqrt(sum / (pixels.length * 0.75));
  assert.ok(deviation < 22, `${deviation}`); // 255 colours for a whole cube: boxes of some 40 a side
});

test('a row of one colour, and one pixel', async () => {
  for (const width of [1, 5000]) {
    const pixels = picture(width, 1, () => [9, 8, 7, 255]);
    assert.deepEqual(decode(await encodeGif([{ pixels, delay: 10 }], { width, height: 1 })).frames[0].pixels, [...pixels]);
  }
});

test('a palette has every colour while there is room, and no more places than there are', () => {
  const grey = picture(16, 16, (x, y) => [16 * y + x, 16 * y + x, 16 * y + x, 255]);
  assert.equal(paletteOf([grey.subarray(0, 4 * 255)]).length, 255);
  const found = paletteOf([grey]);
  assert.equal(found.length, 255);
  assert.deepEqual(paletteOf([picture(2, 1, () => [0, 0, 0, 0])]), []);
});
