// A picture for <diffusion-process>, which loads this where it has a `src`.

import { imageIn } from './addresses.js';

const SIDE = 128; // pixels of the longer side: small enough to compute with for every frame

/** The picture that `src` names: its `values` as networks see them, and `paint`, which draws such. What is transparent is on white. */
export async function pictureOf(element) {
  const image = await imageIn(element, 'src');
  const { naturalWidth, naturalHeight } = image;
  const scale = Math.min(1, SIDE / Math.max(naturalWidth, naturalHeight));
  const canvas = document.createElement('canvas');
  canvas.width = Math.max(1, Math.round(naturalWidth * scale));
  canvas.height = Math.max(1, Math.round(naturalHeight * scale));
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d', { willReadFrequently: true }));
  context.fillStyle = '#fff';
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  const picture = context.getImageData(0, 0, canvas.width, canvas.height);
  const { data, width, height } = picture;
  return {
    values: colours(data),
    width,
    height,
    about: 'The picture, with noise on every pixel',
    paint(context, values) {
      for (let i = 0; i < values.length; i++) data[Math.floor(i / 3) * 4 + (i % 3)] = (values[i] + 1) * 127.5;
      context.putImageData(picture, 0, 0);
    },
  };
}

/** Red, green and blue of RGBA, from −1 to 1 as networks see them. */
function colours(data) {
  return Float32Array.from({ length: (data.length / 4) * 3 }, (_, i) => data[Math.floor(i / 3) * 4 + (i % 3)] / 127.5 - 1);
}
