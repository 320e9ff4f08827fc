// A run as a film, GIF or WebM, which <diffusion-sampler> loads when it is asked for one.

import { NoiseballError } from '../errors.js';
import { encodeGif } from './gif.js';
import { drawGrid, enlarge } from '../grid.js';

const SIDE = 360; // pixels of a film's longer side, about
const LAST = 2000; // milliseconds that the finished pictures stand

/** Whether this browser can record the type. */
export function canMake(type) {
  if (/^image\/gif\b/.test(type)) return true;
  return typeof MediaRecorder !== 'undefined' && MediaRecorder.isTypeSupported(type) && 'captureStream' in HTMLCanvasElement.prototype;
}

/**
 * @param {any[]} states of a run, as sampling.js has them, from the noise on
 * @param {string} type
 * @param {{noise: number, each: number}} standing milliseconds of the pure noise and of any other state
 * @returns {Promise<Blob>}
 */
export async function film(states, type, { noise, each }) {
  if (!canMake(type)) throw new NoiseballError('invalid-option', `this browser cannot record ${type}. Choose image/gif`);
  const native = document.createElement('canvas');
  const context = /** @type {CanvasRenderingContext2D} */ (native.getContext('2d', { willReadFrequently: true }));
  const frames = states.map((state, i) => {
    drawGrid(native, state.pictures, state);
    const { data } = context.getImageData(0, 0, native.width, native.height);
    return { pixels: data, delay: i === 0 ? noise : i === states.length - 1 ? LAST : each };
  });
  const { width, height } = native;
  const scale = Math.max(1, Math.round(SIDE / Math.max(width, height)));
  if (/^image\/gif\b/.test(type)) return new Blob([await encodeGif(frames, { width, height, scale })], { type: 'image/gif' });
  return record(frames, { width, height, scale }, type);
}

/** WebM: the frames shown on a canvas for as long as they stand, and recorded meanwhile. */
async function record(frames, { width, height, scale }, type) {
  const small = Object.assign(document.createElement('canvas'), { width, height });
  const canvas = document.createElement('canvas');
  const draw = ({ pixels }) => {
    small.getContext('2d')?.putImageData(new ImageData(pixels, width, height), 0, 0);
    enlarge(small, canvas, scale);
  };
  draw(frames[0]);
  const recorder = new MediaRecorder(canvas.captureStream(30), { mimeType: type, videoBitsPerSecond: 4_000_000 });
  const parts = [];
  recorder.addEventListener('dataavailable', ({ data }) => parts.push(data));
  const ended = new Promise((resolve, reject) => {
    recorder.addEventListener('stop', resolve);
    recorder.addEventListener('error', () =>
      reject(new NoiseballError('invalid-option', `this browser could not record ${type}. Choose image/gif`)),
    );
  });
  recorder.start();
  for (const frame of frames) {
    // Drawn again and again: a recorder takes no frame of a canvas that stands still.
    for (let left = frame.delay; left > 0; left -= 40) {
      draw(frame);
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
  }
  recorder.stop();
  await ended;
  return new Blob(parts, { type: 'video/webm' });
}
