// Points of the plane as a scatter plot, bits as rows of black and white cells.

const DOT = 1.4; // pixels
const SIGHT = 2.8; // how far from the middle data of deviation 1 are shown

/**
 * @typedef {{kind: 'points' | 'bits', channels: number, values: Float32Array, behind?: Float32Array, reach?: number}} Shown
 *          `behind` are points drawn faintly; the plot reaches `reach` times as far as data need
 */

/** A canvas that draws itself anew with every size. */
export class Plot {
  #canvas;
  #axes;
  #shown = null;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{axes?: boolean}} [options] whether numbers stand at the plot's edges
   */
  constructor(canvas, { axes = false } = {}) {
    this.#canvas = canvas;
    this.#axes = axes;
    new ResizeObserver(() => this.draw()).observe(canvas.parentElement);
  }

  /** @param {Shown} shown @param {string} text what screen readers say of it */
  show(shown, text) {
    this.#shown = shown;
    this.#canvas.setAttribute('aria-label', text);
    this.draw();
  }

  /** Draws what is shown, in the colours of now. */
  draw() {
    const canvas = this.#canvas;
    const { clientWidth: width, clientHeight: height } = canvas;
    if (!this.#shown || width === 0 || height === 0) return;
    const density = window.devicePixelRatio || 1;
    Object.assign(canvas, { width: Math.round(width * density), height: Math.round(height * density) });
    const context = canvas.getContext('2d');
    context.scale(density, density);
    if (this.#shown.kind === 'bits') drawBits(context, width, height, this.#shown);
    else drawPoints(context, width, height, this.#shown, this.#axes);
  }
}

function drawPoints(context, width, height, { values, behind, reach = 1 }, axes) {
  const scale = Math.min(width, height) / (2 * SIGHT * reach);
  const [x, y] = [(value) => width / 2 + scale * value, (value) => height / 2 - scale * value];
  if (axes) drawAxes(context, width, height, { x, y, scale });
  const dots = (points, name, alpha) => {
    Object.assign(context, { fillStyle: colour(name), globalAlpha: alpha });
    context.beginPath();
    for (let i = 0; i < points.length; i += 2) {
      context.moveTo(x(points[i]) + DOT, y(points[i + 1]));
      context.arc(x(points[i]), y(points[i + 1]), DOT, 0, 2 * Math.PI);
    }
    context.fill();
  };
  if (behind) dots(behind, '--soft', 0.35);
  dots(values, '--accent', 0.9);
}

function drawAxes(context, width, height, { x, y, scale }) {
  Object.assign(context, { strokeStyle: colour('--line'), fillStyle: colour('--soft'), lineWidth: 1, font: '11px system-ui, sans-serif' });
  const step = tick(60 / scale);
  const each = (half, draw) => {
    for (let i = -Math.floor(half / step); i <= half / step; i++) draw(Number((i * step).toPrecision(6)));
  };
  context.textAlign = 'center';
  each(width / 2 / scale, (value) => {
    line(context, Math.round(x(value)) + 0.5, 0, Math.round(x(value)) + 0.5, height);
    if (value !== 0) context.fillText(String(value), x(value), height - 4);
  });
  context.textAlign = 'left';
  each(height / 2 / scale, (value) => {
    line(context, 0, Math.round(y(value)) + 0.5, width, Math.round(y(value)) + 0.5);
    if (value !== 0) context.fillText(String(value), 4, y(value) - 3);
  });
}

function line(context, ...[fromX, fromY, toX, toY]) {
  context.beginPath();
  context.moveTo(fromX, fromY);
  context.lineTo(toX, toY);
  context.stroke();
}

/** 1 is black and -1 white, whatever the colour scheme; what is between, as networks may say, is grey. */
function drawBits(context, width, height, { values, channels }) {
  const rows = values.length / channels;
  const cell = Math.min(width / channels, height / rows);
  const gap = cell > 4 ? 1 : 0;
  const [left, top] = [(width - cell * channels) / 2, (height - cell * rows) / 2];
  values.forEach((value, i) => {
    const grey = Math.round(255 * Math.min(1, Math.max(0, 0.5 - value / 2)));
    context.fillStyle = `rgb(${grey}, ${grey}, ${grey})`;
    context.fillRect(left + cell * (i % channels), top + cell * Math.floor(i / channels), cell - gap, cell - gap);
  });
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** The round number (1, 2 or 5 and zeros) next above one. */
export function tick(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((digit) => digit * power).find((value) => value >= least * (1 - 1e-9));
}

/** How near samples are to data: of points the median distance to the nearest of the data, of bits how many rows are among them. */
export function nearness({ kind, channels, values }, data) {
  const rows = (numbers) => Array.from({ length: numbers.length / channels }, (_, i) => numbers.subarray(i * channels, (i + 1) * channels));
  if (kind === 'bits') {
    const known = new Set(rows(data).map(String));
    return rows(values).filter((row) => known.has(String(row))).length;
  }
  const others = rows(data);
  const nearest = rows(values).map((point) => Math.min(...others.map((other) => Math.hypot(point[0] - other[0], point[1] - other[1]))));
  return nearest.sort((a, b) => a - b)[Math.floor(nearest.length / 2)];
}
