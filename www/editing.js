// What a run is given beside numbers and names: pictures become numbers here, and a function is asked across the worker.

import { NoiseballError } from './errors.js';

/**
 * The options of a run as the worker takes them, and the function that is asked for each prediction.
 * @param {import('./noiseball.js').SampleOptions} options
 * @param {{channels: number, width: number, height: number}} info the model's
 */
export function prepare({ onPrediction, ...options }, info) {
  if (onPrediction !== undefined && typeof onPrediction !== 'function') throw refusal('onPrediction', 'a function', onPrediction);
  const { init, mask } = options;
  return {
    options: {
      ...options,
      ...(init === undefined ? {} : { init: numbers('init', init, info, picture) }),
      ...(mask === undefined ? {} : { mask: numbers('mask', mask, info, share) }),
    },
    watch: onPrediction && ((prediction) => ask(onPrediction, prediction)),
  };
}

/** Numbers as they are, or those of RGBA pixels as a canvas gives them. */
function numbers(name, given, { channels, width, height }, of) {
  if (given instanceof Float32Array) return given;
  if (Array.isArray(given)) return Float32Array.from(given);
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

async function ask(onPrediction, prediction) {
  const { length } = prediction.estimate;
  const answer = await onPrediction(prediction);
  if (answer === undefined) return undefined;
  const numbers = Array.isArray(answer) ? Float32Array.from(answer) : answer;
  if (numbers instanceof Float32Array && numbers.length === length && numbers.every(Number.isFinite)) return numbers;
  throw refusal('onPrediction', `a function that gives nothing, or ${length} finite numbers`, answer);
}

function refusal(name, expected, found) {
  const kind = typeof found === 'string' ? found : (found?.constructor?.name ?? String(found));
  return new NoiseballError('invalid-option', `\`${name}\` is ${kind}, but it must be ${expected}`);
}
