// A batch of pictures as a grid on a canvas.

const GAP = 1; // in the pictures' own pixels

/** Columns and rows of a batch's grid; near a square unless the columns are given. */
export function layout(batch, columns = Math.ceil(Math.sqrt(batch))) {
  return { columns, rows: Math.ceil(batch / columns) };
}

/**
 * The pixels that such a grid takes, and where a picture begins.
 * @param {{batch: number, width: number, height: number}} shape
 * @param {number} [wide] columns
 * @param {number} [below] empty rows of pixels below each picture
 * @returns {{size: [number, number], at: (i: number) => [number, number]}}
 */
export function places({ batch, width, height }, wide, below = 0) {
  const { columns, rows } = layout(batch, wide);
  return {
    size: [columns * (width + GAP) - GAP, rows * (height + below + GAP) - GAP],
    at: (i) => [(i % columns) * (width + GAP), Math.floor(i / columns) * (height + below + GAP)],
  };
}

/**
 * Draws each of the pictures' pixels as one of the canvas's.
 * @param {HTMLCanvasElement} canvas
 * @param {Uint8ClampedArray} pixels RGBA, [batch, height, width, 4]
 * @param {{batch: number, width: number, height: number}} shape
 * @param {number} [wide] columns
 * @param {number} [below] empty rows of pixels below each picture
 */
export function drawGrid(canvas, pixels, { batch, width, height }, wide, below = 0) {
  const { size, at } = places({ batch, width, height }, wide, below);
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  context.clearRect(0, 0, ...size);
  const bytes = width * height * 4;
  for (let i = 0; i < batch; i++) {
    const tile = new ImageData(pixels.slice(i * bytes, (i + 1) * bytes), width, height);
    context.putImageData(tile, ...at(i));
  }
}

/** Draws a canvas on another, each pixel a crisp square of `scale` pixels. */
export function enlarge(from, to, scale) {
  const [width, height] = [from.width * scale, from.height * scale];
  if (to.width !== width || to.height !== height) [to.width, to.height] = [width, height];
  const context = /** @type {CanvasRenderingContext2D} */ (to.getContext('2d'));
  context.imageSmoothingEnabled = false;
  context.clearRect(0, 0, width, height);
  context.drawImage(from, 0, 0, width, height);
}
