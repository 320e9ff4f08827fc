// Pixel faces, drawn from their parts (../data/faces.js, which tools/data/faces.mjs takes from DiceBear's pixel-art set).

import { NoiseballError } from '../errors.js';

export const MOST_FACES = 20_000;
const FACES = 2000; // unless told

/** What a face is called as one of a class: by the two things that a small network shows soonest. */
export const CLASSES = ['bare', 'glasses', 'hat', 'hat and glasses'];

const classOf = (choice) => CLASSES[Number('glasses' in choice) + 2 * Number('hat' in choice)];

/** How many faces to draw; rejects what cannot be. */
export function countOfFaces(count = FACES) {
  if (Number.isInteger(count) && count >= 1 && count <= MOST_FACES) return count;
  throw new NoiseballError('invalid-option', `\`count\` must be a whole number from 1 to ${MOST_FACES.toLocaleString('en')}`);
}

/** So many faces, no two alike, as {rgba, name}: the same ones each time, and the first of more. */
export function* drawFaces(parts, count) {
  const seen = new Set();
  for (let seed = 0; seen.size < count; seed++) {
    const choice = choose(parts, seed);
    const rgba = compose(parts, choice);
    const key = String.fromCharCode(...rgba);
    if (seen.has(key)) continue;
    seen.add(key);
    yield { rgba, name: classOf(choice) };
  }
}

/** The face of a seed: its background, and of each layer that it has the variant and the colour. */
export function choose({ backgrounds, layers }, seed) {
  const random = randomOf(seed);
  const pick = (list) => list[Math.floor(random() * list.length)];
  const choice = { background: pick(backgrounds) };
  for (const { name, chance = 1, colours, variants } of layers) {
    // Drawn in any case, so that a layer more or less changes nothing else.
    const [shown, ...chosen] = [random() < chance, pick(Object.keys(variants)), pick(colours)];
    if (shown) choice[name] = chosen;
  }
  return choice;
}

/** A face's pixels, RGBA `[size, size, 4]`: its layers painted over each other. */
export function compose({ size, layers }, choice) {
  const rgba = new Uint8Array(size * size * 4).fill(255);
  const background = rgb(choice.background);
  for (let i = 0; i < rgba.length; i += 4) rgba.set(background, i);
  for (const { name, variants } of layers) {
    if (!choice[name]) continue;
    const [variant, colour] = choice[name];
    for (const [fill, opacity, pixels] of variants[variant]) {
      const paint = rgb(fill ?? colour);
      for (let four = 0; four < pixels.length; four++) {
        const bits = parseInt(pixels[four], 16);
        for (let i = 0; i < 4; i++) if (bits & (8 >> i)) paintPixel(rgba, 4 * (4 * four + i), paint, opacity);
      }
    }
  }
  return rgba;
}

/** Rounded as by the program that draws DiceBear's SVG for the shipped model (resvg), so that the faces are its, bit for bit. */
function paintPixel(rgba, at, paint, opacity) {
  const alpha = Math.round(opacity * 255);
  for (let c = 0; c < 3; c++) rgba[at + c] = Math.round((paint[c] * alpha) / 255) + ((rgba[at + c] * (255 - alpha) + 255) >> 8);
}

function rgb(hex) {
  return [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

/** Numbers from 0 to 1 of a seed: splitmix32. */
function randomOf(seed) {
  let state = seed;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let z = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return ((z ^ (z >>> 15)) >>> 0) / 2 ** 32;
  };
}
