// What a run of a pipeline is given: prompts, and pictures as bytes or numbers. What a run of one network is given is in editing.js.

import { NoiseballError } from './errors.js';

/** What only runs of one network have. */
const ELSEWHERE = ['negativeLabel', 'resamplings', 'jumpLength', 'invert', 'noise', 'restore', 'onPrediction'];

/**
 * A run as the worker takes it.
 * @param {any} options the options of `sample`
 * @param {{width: number, height: number}} info the model's
 */
export function prepareRequest(options, info) {
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined && value !== null));
  for (const name of ELSEWHERE) {
    if (name in given) throw refusal(name, 'left out: it is for models of one network', given[name]);
  }
  const { prompt, prompt2, negativePrompt, guidance, guidanceRescale, guidanceInterval, seed, ...others } = given;
  const { height, width, init, mask, strength, attention, ...rest } = others;
  if (attention !== undefined && typeof attention !== 'boolean') throw refusal('attention', 'true or false', attention);
  if (guidanceInterval !== undefined && guidanceInterval?.length !== 2) throw refusal('guidanceInterval', 'two numbers', guidanceInterval);
  const [least, most] = /** @type {number[]} */ (guidanceInterval ?? []);
  const numbers = { guidance, guidanceRescale, least, most, strength, height, width };
  for (const [name, number] of Object.entries(numbers)) {
    const wrong = number !== undefined && (typeof number !== 'number' || Number.isNaN(number));
    if (wrong) throw refusal(name in given ? name : 'guidanceInterval', 'a number', number);
  }
  /** @type {[number, number]} */
  const size = [height ?? info.height, width ?? info.width];
  return {
    options: rest,
    told: {
      ...numbers,
      prompts: texts('prompt', prompt),
      prompts2: texts('prompt2', prompt2),
      negativePrompts: texts('negativePrompt', negativePrompt),
      seeds: (Array.isArray(seed) ? seed : [seed ?? 0]).map((each) => number('seed', each)),
      init: init && image('init', init, size, 3, over),
      mask: mask && image('mask', mask, size, 1, share),
      attention,
    },
  };
}

/** One text or several; none where nothing is said. */
function texts(name, given) {
  const list = given === undefined ? [] : Array.isArray(given) ? given : [given];
  const other = list.find((text) => typeof text !== 'string');
  if (other !== undefined) throw refusal(name, 'a text, or a list of texts', other);
  return list;
}

function number(name, given) {
  if (typeof given !== 'number') throw refusal(name, 'a number, or a list of numbers', given);
  return given;
}

/** RGBA pixels of any size as bytes of red, green and blue; numbers of the run's size as they are, but from 0 to 1. */
function image(name, given, [height, width], channels, of) {
  if (given instanceof Float32Array || Array.isArray(given)) {
    const each = channels * height * width;
    if (given.length === 0 || given.length % each !== 0) {
      throw refusal(name, `${channels} × ${height} × ${width} numbers a picture`, `${given.length} numbers`);
    }
    const values = Float32Array.from(given, channels === 3 ? (value) => (value + 1) / 2 : undefined);
    return { values, shape: [given.length / each, channels, height, width] };
  }
  const { data, width: w, height: h } = Object(given);
  if (!data?.length || !(w > 0) || data.length !== 4 * w * h) {
    throw refusal(name, 'a Float32Array, or pixels as getImageData() gives them', given);
  }
  const rgb = Uint8Array.from({ length: 3 * w * h }, (_, i) => Math.round(of(data, 4 * Math.floor(i / 3), i % 3)));
  return { rgb, size: [h, w] };
}

/** A colour over white. */
function over(data, at, channel) {
  const alpha = data[at + 3] / 255;
  return alpha * data[at + channel] + (1 - alpha) * 255;
}

/** How white and opaque: what a brush painted on nothing. */
function share(data, at) {
  return (data[at] * data[at + 3]) / 255;
}

function refusal(name, expected, found) {
  const kind = Object(found) === found ? (found.constructor?.name ?? 'an object') : String(found);
  return new NoiseballError('invalid-option', `\`${name}\` is ${kind}, but it must be ${expected}`);
}
