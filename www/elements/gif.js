// Animated GIFs, written from pixels: a palette of the film's own colours, and LZW.

const COLOURS = 255; // of a palette; the last place is for what is transparent
const CLEAR = COLOURS;
const MANY = 4096; // colours that are told apart one by one while boxes are made
const BITS = 5; // of each of red, green and blue in the table of nearest colours

/**
 * An animated GIF that repeats for ever. Lets other work in between two frames.
 *
 * @param {{pixels: Uint8ClampedArray, delay: number}[]} frames RGBA [height, width, 4], and milliseconds. A pixel is transparent or not.
 * @param {{width: number, height: number, scale?: number}} size `scale`: each pixel is a square of so many
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function encodeGif(frames, { width, height, scale = 1 }) {
  const palette = paletteOf(frames.map(({ pixels }) => pixels));
  const indexOf = nearest(palette);
  const out = new Bytes();
  const [wide, high] = [width * scale, height * scale];
  out.text('GIF89a');
  out.short(wide, high);
  out.byte(0xf7, CLEAR, 0); // a palette of 256 colours of 8 bits
  for (let i = 0; i < 256; i++) out.byte(...(palette[i] ?? [0, 0, 0]));
  out.byte(0x21, 0xff, 11);
  out.text('NETSCAPE2.0');
  out.byte(3, 1, 0, 0, 0);
  for (const { pixels, delay } of frames) {
    // Each frame is drawn over the one before: what is transparent is so in all of them.
    out.byte(0x21, 0xf9, 4, 0x05);
    out.short(Math.round(delay / 10));
    out.byte(CLEAR, 0);
    out.byte(0x2c, 0, 0, 0, 0);
    out.short(wide, high);
    out.byte(0, 8);
    out.blocks(lzw(enlarged(pixels, width, scale, indexOf)));
    await new Promise((resolve) => setTimeout(resolve));
  }
  out.byte(0x3b);
  return out.joined;
}

function* enlarged(pixels, width, scale, indexOf) {
  const row = new Uint8Array(width * scale);
  for (let start = 0; start < pixels.length; start += 4 * width) {
    for (let x = 0; x < width; x++) row.fill(indexOf(pixels, start + 4 * x), x * scale, (x + 1) * scale);
    for (let y = 0; y < scale; y++) yield row;
  }
}

/**
 * The colours of pictures, at most 255: all of them where they are so few, else the means of boxes of as many pixels each (Heckbert's
 * median cut).
 * @param {Uint8ClampedArray[]} pictures
 * @returns {number[][]}
 */
export function paletteOf(pictures) {
  const colours = counted(pictures, 8);
  if (colours.length <= COLOURS) return colours.map(({ rgb }) => rgb);
  const boxes = [boxOf(colours.length <= MANY ? colours : counted(pictures, BITS))];
  while (boxes.length < COLOURS) {
    boxes.sort((a, b) => a.weight - b.weight);
    const box = boxes.at(-1);
    if (!box || box.weight === 0) break;
    boxes.pop();
    boxes.push(...halves(box));
  }
  return boxes.map(meanOf);
}

/** Each colour that is not transparent, and how often it is there; of those that have `bits` of each channel in common, the mean. */
function counted(pictures, bits) {
  const found = new Map();
  for (const pixels of pictures) {
    for (let i = 0; i < pixels.length; i += 4) {
      if (pixels[i + 3] < 128) continue;
      const cell = cellOf(pixels, i, bits);
      let colour = found.get(cell);
      if (!colour) found.set(cell, (colour = { rgb: [0, 0, 0], count: 0 }));
      for (let k = 0; k < 3; k++) colour.rgb[k] += pixels[i + k];
      colour.count++;
    }
  }
  return [...found.values()].map(({ rgb, count }) => ({ rgb: rgb.map((sum) => sum / count), count }));
}

/** The highest `bits` of red, green and blue as one number. */
function cellOf(pixels, at, bits) {
  const drop = 8 - bits;
  return ((((pixels[at] >> drop) << bits) | (pixels[at + 1] >> drop)) << bits) | (pixels[at + 2] >> drop);
}

/** A box's weight: pixels by the length of its longest side; none where it is one colour. */
function boxOf(colours) {
  let [axis, longest] = [0, -1];
  for (const channel of [0, 1, 2]) {
    let [least, most] = [255, 0];
    for (const { rgb } of colours) [least, most] = [Math.min(least, rgb[channel]), Math.max(most, rgb[channel])];
    if (most - least > longest) [axis, longest] = [channel, most - least];
  }
  const pixels = colours.reduce((sum, { count }) => sum + count, 0);
  return { colours, axis, weight: longest * pixels, pixels };
}

function halves({ colours, axis, pixels }) {
  colours.sort((a, b) => a.rgb[axis] - b.rgb[axis]);
  let [at, sum] = [0, 0];
  while (at < colours.length - 1 && (at === 0 || sum + colours[at].count <= pixels / 2)) sum += colours[at++].count;
  return [boxOf(colours.slice(0, at)), boxOf(colours.slice(at))];
}

function meanOf({ colours, pixels }) {
  return [0, 1, 2].map((channel) => Math.round(colours.reduce((sum, { rgb, count }) => sum + rgb[channel] * count, 0) / pixels));
}

/** Which of a palette's colours a pixel is, or is nearest to. */
function nearest(palette) {
  const exact = new Map(palette.map((colour, i) => [cellOf(colour, 0, 8), i]));
  const table = new Int16Array(1 << (3 * BITS)).fill(-1);
  return (pixels, at) => {
    if (pixels[at + 3] < 128) return CLEAR;
    const found = exact.get(cellOf(pixels, at, 8));
    if (found !== undefined) return found;
    const cell = cellOf(pixels, at, BITS);
    if (table[cell] < 0) {
      let least = Infinity;
      palette.forEach(([r, g, b], i) => {
        const distance = (r - pixels[at]) ** 2 + (g - pixels[at + 1]) ** 2 + (b - pixels[at + 2]) ** 2;
        if (distance < least) [least, table[cell]] = [distance, i];
      });
    }
    return table[cell];
  };
}

/** LZW as GIF has it, of rows of bytes: codes of 9 to 12 bits, lowest bit first. */
function lzw(rows) {
  const [clear, end] = [256, 257];
  const bytes = [];
  let [bits, held, size, next] = [0, 0, 9, end + 1];
  const put = (code) => {
    held |= code << bits;
    bits += size;
    while (bits >= 8) {
      bytes.push(held & 255);
      held >>>= 8;
      bits -= 8;
    }
  };
  let known = new Map(); // a prefix's code and the byte after it: their code
  let prefix = -1;
  put(clear);
  for (const row of rows) {
    for (const byte of row) {
      if (prefix < 0) {
        prefix = byte;
        continue;
      }
      const key = (prefix << 8) | byte;
      const code = known.get(key);
      if (code !== undefined) {
        prefix = code;
        continue;
      }
      put(prefix);
      prefix = byte;
      if (next === 4096) {
        put(clear);
        known = new Map();
        [size, next] = [9, end + 1];
        continue;
      }
      // The reader learns each code one code later than the writer.
      if (next === 1 << size) size++;
      known.set(key, next++);
    }
  }
  if (prefix >= 0) put(prefix);
  if (next === 1 << size && size < 12) size++;
  put(end);
  if (bits > 0) bytes.push(held & 255);
  return Uint8Array.from(bytes);
}

class Bytes {
  #parts = [];

  byte(...values) {
    this.#parts.push(Uint8Array.from(values));
  }

  short(...values) {
    for (const value of values) this.byte(value & 255, value >> 8);
  }

  text(text) {
    this.byte(...new TextEncoder().encode(text));
  }

  /** Data in blocks of at most 255 bytes, each after its length; an empty one ends them. */
  blocks(data) {
    for (let at = 0; at < data.length; at += 255) {
      const block = data.subarray(at, at + 255);
      this.byte(block.length);
      this.#parts.push(block);
    }
    this.byte(0);
  }

  get joined() {
    const all = new Uint8Array(this.#parts.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const part of this.#parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }
}
