// A reader's picture at a model's size.

/**
 * A picture's pixels, cropped to the middle or whole on white, and scaled.
 * @param {ImageBitmap} bitmap
 * @param {{width: number, height: number}} size
 * @param {boolean} whole
 */
export function fitted(bitmap, { width, height }, whole) {
  const canvas = new OffscreenCanvas(width, height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext('2d', { willReadFrequently: true }));
  context.fillStyle = '#fff';
  context.fillRect(0, 0, width, height);
  const scale = (whole ? Math.min : Math.max)(width / bitmap.width, height / bitmap.height);
  // Browsers blur too little where they shrink a picture at once: half by half it is.
  let [from, w, h] = [/** @type {CanvasImageSource} */ (bitmap), bitmap.width, bitmap.height];
  while (scale * bitmap.width < w / 2 && w > 2 && h > 2) {
    const [smallerW, smallerH] = [Math.ceil(w / 2), Math.ceil(h / 2)];
    const smaller = new OffscreenCanvas(smallerW, smallerH);
    smaller.getContext('2d')?.drawImage(from, 0, 0, w, h, 0, 0, smallerW, smallerH);
    [from, w, h] = [smaller, smallerW, smallerH];
  }
  const [shownW, shownH] = [scale * bitmap.width, scale * bitmap.height];
  // What is drawn pixel by pixel stays so.
  context.imageSmoothingEnabled = scale < 1;
  context.drawImage(from, 0, 0, w, h, (width - shownW) / 2, (height - shownH) / 2, shownW, shownH);
  return context.getImageData(0, 0, width, height);
}
