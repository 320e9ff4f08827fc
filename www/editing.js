// What a run is given beside numbers and names: pictures become numbers here, and a function is asked across the worker.

import { NoiseballError } from './errors.js';

/** In the engine's order, with what holds where nothing is said; NaN is nothing. */
const NUMBERS = {
  guidance: 1,
  guidanceRescale: 0,
  least: 0,
  most: Infinity,
  negativeLabel: NaN,
  strength: NaN,
  resamplings: 1,
  jumpLength: 10,
  invert: 0,
  restore: 0,
  amount: 0,
};

/** Whether a model begins with pictures, and paints in them. */
export const beginsWithPictures = ({ pipeline }) => pipeline?.init ?? true;

/** The pictures that a model of this shape takes. @typedef {{channels: number, width: number, height: number}} Shape */

/**
 * A run as the worker takes it, and the function that is asked for each prediction.
 * @param {import('./noiseball.js').SampleOptions} options
 * @param {Shape} info the model's
 */
export function prepare(options, info) {
  const { guidance, guidanceRescale, guidanceInterval, negativeLabel, ...others } = given(options);
  const { init, mask, strength, resamplings, jumpLength, invert, noise, restore, onPrediction, ...rest } = others;
  if (onPrediction !== undefined && typeof onPrediction !== 'function') throw refusal('onPrediction', 'a function', onPrediction);
  needs('guidance', guidance, { guidanceRescale, guidanceInterval, negativeLabel });
  needs('init', init, { mask, strength, invert, restore });
  for (const [name, other] of Object.entries(given({ mask, invert }))) {
    if (restore !== undefined && other) throw refusal(name, 'left out where a picture is restored', 'given');
  }
  needs('mask', mask ?? restore, { resamplings });
  needs('resamplings', resamplings, { jumpLength });
  for (const [name, count] of Object.entries(given({ resamplings, jumpLength }))) {
    if (!Number.isInteger(count) || count < 1) throw refusal(name, 'a whole number, 1 or more', count);
  }
  if (invert !== undefined && typeof invert !== 'boolean') throw refusal('invert', 'true or false', invert);
  const ends = guidanceInterval ?? [];
  if (guidanceInterval !== undefined && ends?.length !== 2) throw refusal('guidanceInterval', 'two numbers', ends);
  const [least, most] = ends;
  const operator = restore === undefined ? [0, 0] : operatorOf(restore);
  const told = {
    ...NUMBERS,
    ...given({ guidance, guidanceRescale, least, most, negativeLabel, strength, resamplings, jumpLength }),
    invert: Number(invert ?? false),
    restore: operator[0],
    amount: operator[1],
  };
  for (const [name, number] of Object.entries(told)) {
    if (typeof number !== 'number') throw refusal(name in options ? name : 'guidanceInterval', 'a number', number);
    if (Number.isNaN(number) && name in given(options)) throw refusal(name, 'a number', 'NaN');
  }
  return {
    run: {
      options: rest,
      told: Float64Array.from(Object.values(told)),
      init: init && (operator[0] === 2 ? enlarged(init, info, operator[1]) : numbers('init', init, info, picture)),
      mask: mask && numbers('mask', mask, info, share),
      noise: noise && numbers('noise', noise, info, undefined),
      watched: onPrediction !== undefined,
    },
    watch: onPrediction && ((prediction) => ask(onPrediction, prediction)),
  };
}

/**
 * An operator by its name, as the worker takes it: a kind and its number.
 * @param {string} name grey, x2, x4 or blur:S
 * @returns {[number, number]}
 */
export function operatorOf(name) {
  if (name === 'grey') return [1, 0];
  if (name === 'x2' || name === 'x4') return [2, Number(name[1])];
  const [, blur] = /^blur:(\d*\.?\d+)$/.exec(String(name)) ?? [];
  if (blur) return [3, Number(blur)];
  throw refusal('restore', "'grey', 'x2', 'x4', or 'blur:S' with the blur's deviation S in pixels", name);
}

/** A picture of a share of the model's size, each of its pixels a square of the model's. */
function enlarged(init, info, k) {
  const { channels, width, height } = info;
  const small = { channels, width: Math.ceil(width / k), height: Math.ceil(height / k) };
  const each = numbers('init', init, small, picture);
  const [one, plane] = [small.width * small.height, width * height];
  if (each.length % (channels * one) !== 0) throw refusal('init', `${small.width} × ${small.height} pixels`, `${each.length} numbers`);
  return Float32Array.from({ length: (each.length / one) * plane }, (_, i) => {
    const [row, column] = [Math.floor((i % plane) / width / k), Math.floor((i % width) / k)];
    return each[Math.floor(i / plane) * one + row * small.width + column];
  });
}

/**
 * Pictures as numbers in [-1, 1] whose likelihood is asked for: the values that bytes have.
 * @param {import('./noiseball.js').PictureLike} given
 * @param {Shape} info
 */
export function bytesOf(given, info) {
  const found = numbers('pictures', given, info, picture);
  if (!found.every(Number.isFinite)) throw refusal('pictures', 'finite numbers', 'NaN or infinite');
  return found.map((value) => Math.round((Math.min(1, Math.max(-1, value)) + 1) * 127.5) / 127.5 - 1);
}

/** A picture as numbers in [-1, 1]. */
export function pictureOf(given, info) {
  return numbers('picture', given, info, picture);
}

/** What is said: undefined and null say nothing. */
function given(options) {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined && value !== null));
}

function needs(name, value, others) {
  const [other] = Object.keys(given(others));
  if (other && value === undefined)
    throw new NoiseballError('invalid-option', `\`${other}\` is given, but it must be left out or given with ${name}`);
}

/** Numbers as they are, or those of RGBA pixels as a canvas gives them. */
function numbers(name, given, { channels, width, height }, of) {
  if (given instanceof Float32Array) return given;
  if (Array.isArray(given)) return Float32Array.from(given);
  if (!of) throw refusal(name, 'a Float32Array', given);
  const { data, width: w, height: h } = Object(given);
  if (!data?.length || !(w > 0) || data.length !== 4 * w * h) {
    throw refusal(name, 'a Float32Array, or pixels as getImageData() gives them', given);
  }
  if (w !== width || h !== height) throw refusal(name, `${width} × ${height} pixels`, `${w} × ${h} pixels`);
  return of(data, width * height, channels);
}

/** RGBA over white as the model sees it, -1 to 1. */
function picture(data, pixels, channels) {
  const value = (pixel, channel) => {
    const alpha = data[4 * pixel + 3] / 255;
    return (alpha * data[4 * pixel + channel]) / 127.5 + 2 * (1 - alpha) - 1;
  };
  const grey = (pixel) => 0.299 * value(pixel, 0) + 0.587 * value(pixel, 1) + 0.114 * value(pixel, 2);
  return Float32Array.from({ length: channels * pixels }, (_, i) =>
    channels < 3 ? grey(i % pixels) : value(i % pixels, Math.min(Math.floor(i / pixels), 2)),
  );
}

/** How white and opaque: what a brush painted on nothing. */
function share(data, pixels) {
  return Float32Array.from({ length: pixels }, (_, i) => (data[4 * i] * data[4 * i + 3]) / 65025);
}

/**
 * Answers what a run asks a denoiser of the page's own: x̂₀ of images that are each at an angle's level. `where()` says in which step.
 * @param {import('./noiseball.js').Denoise} denoise
 * @param {() => string} where
 */
export function answering(denoise, where) {
  return async ({ noisy, angles, batch, width, height }) => {
    const each = noisy.length / batch;
    const at = (angle) => ({ alpha: Math.cos(angle), sigma: Math.sin(angle), width, height });
    // Nearly always all are at the same level, and are asked for at once.
    if (angles.every((angle) => angle === angles[0])) return of(noisy, { ...at(angles[0]), batch });
    const found = new Float32Array(noisy.length);
    for (let i = 0; i < batch; i++) found.set(await of(noisy.slice(i * each, (i + 1) * each), { ...at(angles[i]), batch: 1 }), i * each);
    return found;
  };

  async function of(x, level) {
    const { length } = x;
    const answer = await denoise(x, level);
    const found = Array.isArray(answer) ? Float32Array.from(answer) : answer;
    const bad = found instanceof Float32Array && found.length === length ? found.find((value) => !Number.isFinite(value)) : answer;
    if (bad === undefined && found instanceof Float32Array) return found.slice();
    const levels = `alpha ${level.alpha.toPrecision(3)}, sigma ${level.sigma.toPrecision(3)}`;
    const what = typeof bad === 'number' ? `a function that gave ${bad}` : `a function that gave ${kindOf(answer)}`;
    throw refusal('denoise', `one that gives ${length} finite numbers`, `${what} ${where()} (${levels})`);
  }
}

async function ask(onPrediction, prediction) {
  const { length } = prediction.estimate;
  const answer = await onPrediction(prediction);
  if (answer === undefined) return undefined;
  const numbers = Array.isArray(answer) ? Float32Array.from(answer) : answer;
  if (numbers instanceof Float32Array && numbers.length === length && numbers.every(Number.isFinite)) return numbers;
  throw refusal('onPrediction', `a function that gives nothing, or ${length} finite numbers`, answer);
}

function refusal(name, expected, found) {
  return new NoiseballError('invalid-option', `\`${name}\` is ${kindOf(found)}, but it must be ${expected}`);
}

function kindOf(found) {
  return Object(found) === found ? (found.constructor?.name ?? 'an object') : String(found);
}

/**
 * Between the noise of two pictures along the sphere that it lies near: `a` at 0, `b` at 1.
 * @param {ArrayLike<number>} a
 * @param {ArrayLike<number>} b
 * @param {number} share
 */
export function slerp(a, b, share) {
  if (!(a?.length > 0) || a.length !== b?.length || !Number.isFinite(share)) {
    throw new NoiseballError('invalid-option', 'slerp takes two lists of as many numbers, and a number');
  }
  const dot = (u, v) => {
    let sum = 0;
    for (let i = 0; i < u.length; i++) sum += u[i] * v[i];
    return sum;
  };
  const angle = Math.acos(Math.min(1, Math.max(-1, dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)))));
  // Along the straight line where there is no arc to speak of.
  const arc = (part) => (angle > 1e-6 ? Math.sin(part * angle) / Math.sin(angle) : part);
  const [ofA, ofB] = [arc(1 - share), arc(share)];
  return Float32Array.from(a, (value, i) => ofA * value + ofB * b[i]);
}
