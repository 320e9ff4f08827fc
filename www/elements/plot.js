// Points of the plane and sequences of bits, as <diffusion-trainer> shows them.

const SIDE = 640; // pixels of the canvas
const LIMIT = 2.8; // of both axes, in the values' own unit: data have deviation 1
const DOT = 3; // pixels

/**
 * @param {HTMLCanvasElement} canvas
 * @param {{kind: 'points' | 'bits', channels: number, values: Float32Array, behind: Float32Array | null, color: string, accent: string}} shown
 *        `behind` are some of the data, drawn faintly
 */
export function drawList(canvas, shown) {
  Object.assign(canvas, { width: SIDE, height: SIDE });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  if (shown.kind === 'bits') return drawBits(context, shown);
  if (shown.behind) drawPoints(context, shown.behind, shown.color, 0.3);
  drawPoints(context, shown.values, shown.accent, 1);
}

function drawPoints(context, values, color, alpha) {
  const place = (value) => ((value + LIMIT) / (2 * LIMIT)) * SIDE;
  Object.assign(context, { fillStyle: color, globalAlpha: alpha });
  context.beginPath();
  for (let i = 0; i < values.length; i += 2) {
    context.moveTo(place(values[i]) + DOT, SIDE - place(values[i + 1]));
    context.arc(place(values[i]), SIDE - place(values[i + 1]), DOT, 0, 2 * Math.PI);
  }
  context.fill();
}

/** 1 is black and −1 white, whatever the page's colours; what is between, as networks may say, is grey. */
function drawBits(context, { values, channels }) {
  const cell = Math.floor(SIDE / Math.max(channels, values.length / channels));
  values.forEach((value, i) => {
    const grey = Math.round(255 * Math.min(1, Math.max(0, 0.5 - value / 2)));
    context.fillStyle = `rgb(${grey}, ${grey}, ${grey})`;
    context.fillRect((i % channels) * cell, Math.floor(i / channels) * cell, cell - 1, cell - 1);
  });
}
