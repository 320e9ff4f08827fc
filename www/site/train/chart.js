// The loss on a canvas: as it was, smoothed, by how noisy the pictures were, and on pictures kept out. Each line has a dash of
// its own, so that nothing hangs on colour. A loss that is a bound in bits may be negative: its axis is linear.

import { tick } from './plot.js';

const LINES = [
  { name: 'as measured', colour: '--soft', width: 1, dash: [], alpha: 0.45, of: (losses) => losses.series() },
  { name: 'smoothed', colour: '--accent', width: 2.5, dash: [], of: (losses) => losses.smoothed(losses.series()) },
  { name: 'held out', colour: '--alarm', width: 2, dash: [7, 4], of: (losses) => losses.heldOut },
  ...['least noise', 'less', 'more', 'most noise'].map((name, band) => ({
    name,
    colour: '--ink',
    width: 1.25,
    dash: [
      [1, 3],
      [3, 3],
      [6, 3],
      [10, 4],
    ][band],
    alpha: 0.7,
    of: (losses) => losses.smoothed(losses.series(band)),
  })),
];
const OFF = 0.05; // of the numbers, the largest, are off a linear axis: a run's start would flatten the rest
const MARGIN = { left: 44, right: 12, top: 10, bottom: 22 };

export class LossChart {
  #canvas;
  #legend;
  #losses = null;
  #linear = false;
  #due = false;

  constructor(canvas, legend) {
    this.#canvas = canvas;
    this.#legend = legend;
    new ResizeObserver(() => this.changed()).observe(canvas.parentElement);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
      this.#drawLegend();
      this.changed();
    });
  }

  show(losses, linear = this.#linear) {
    this.#losses = losses;
    this.#linear = linear;
    this.#drawLegend();
    this.changed();
  }

  /** Draws with the next frame, however often it is called before. */
  changed() {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      if (this.#losses) this.#draw();
    });
  }

  #draw() {
    const canvas = this.#canvas;
    const density = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = canvas.parentElement;
    if (width === 0) return;
    Object.assign(canvas, { width: Math.round(width * density), height: Math.round(height * density) });
    const context = canvas.getContext('2d');
    context.scale(density, density);
    const lines = LINES.map((line) => ({ ...line, points: line.of(this.#losses) })).filter(({ points }) => points.length > 0);
    const scale = axis(
      lines.flatMap(({ points }) => points.map(([, loss]) => loss)),
      this.#linear,
    );
    const last = this.#losses.points.at(-1);
    const end = Math.max(1, last ? last.step + 1 : 1);
    const x = (step) => MARGIN.left + (step / end) * (width - MARGIN.left - MARGIN.right);
    const y = (loss) => MARGIN.top + (1 - scale.at(loss)) * (height - MARGIN.top - MARGIN.bottom);
    this.#axes(context, { width, height, ticks: scale.ticks, end, x, y });
    context.beginPath();
    context.rect(MARGIN.left, 0, width - MARGIN.left, height - MARGIN.bottom);
    context.clip();
    for (const line of lines)
      drawLine(
        context,
        line,
        line.points.map(([step, loss]) => [x(step), y(loss)]),
      );
    const series = this.#losses.series();
    const smooth = this.#losses.smoothed(series).at(-1);
    canvas.setAttribute(
      'aria-label',
      smooth
        ? `Loss: ${smooth[1].toPrecision(2)} after ${end} steps, from ${series[0][1].toPrecision(2)} at the start`
        : 'Loss: nothing yet',
    );
  }

  #axes(context, { width, height, ticks, end, x, y }) {
    context.strokeStyle = colour('--line');
    context.fillStyle = colour('--soft');
    context.font = '11px system-ui, sans-serif';
    context.lineWidth = 1;
    context.textAlign = 'right';
    context.textBaseline = 'middle';
    for (const value of ticks) {
      context.beginPath();
      context.moveTo(MARGIN.left, Math.round(y(value)) + 0.5);
      context.lineTo(width - MARGIN.right, Math.round(y(value)) + 0.5);
      context.stroke();
      context.fillText(String(value), MARGIN.left - 6, y(value));
    }
    context.textBaseline = 'alphabetic';
    /** @type {[number, CanvasTextAlign][]} */
    const labels = [
      [0, 'left'],
      [0.5, 'center'],
      [1, 'right'],
    ];
    for (const [share, align] of labels) {
      context.textAlign = align;
      context.fillText(`${Math.round(share * end).toLocaleString('en')}${share === 1 ? ' steps' : ''}`, x(share * end), height - 6);
    }
  }

  #drawLegend() {
    const density = window.devicePixelRatio || 1;
    this.#legend.replaceChildren(
      this.#linear ? 'Loss, −K in bits:' : 'Loss (logarithmic):',
      ...LINES.map((line) => {
        const sample = Object.assign(document.createElement('canvas'), { width: 28 * density, height: 10 * density });
        const context = sample.getContext('2d');
        context.scale(density, density);
        drawLine(context, line, [
          [0, 5],
          [28, 5],
        ]);
        const item = document.createElement('span');
        item.append(sample, line.name);
        return item;
      }),
    );
  }
}

function drawLine(context, { colour: name, width, dash, alpha = 1 }, points) {
  context.save();
  Object.assign(context, { strokeStyle: colour(name), lineWidth: width, globalAlpha: alpha, lineJoin: 'round' });
  context.setLineDash(dash);
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x, y);
  context.stroke();
  context.restore();
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/**
 * An axis for losses: where each stands, from 0 at the bottom to 1 at the top, and the numbers to write beside it.
 *
 * @param {number[]} losses
 * @param {boolean} linear
 */
export function axis(losses, linear) {
  const of = linear ? (loss) => loss : (loss) => Math.log10(Math.max(loss, 1e-12));
  const all = losses.filter((loss) => Number.isFinite(loss) && (linear || loss > 0)).sort((a, b) => a - b);
  const [low, high] = all.length > 0 ? [all[0], linear ? all[Math.floor((1 - OFF) * (all.length - 1))] : all.at(-1)] : [0.1, 1];
  const margin = (linear && 0.05 * (high - low)) || 0.05;
  const [bottom, top] = [of(low) - margin, of(high) + margin];
  return { at: (loss) => (of(loss) - bottom) / (top - bottom), ticks: linear ? evenTicks(bottom, top) : ticks(10 ** bottom, 10 ** top) };
}

function evenTicks(low, high) {
  const step = tick((high - low) / 6);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(6)));
}

/** Some round numbers between two, as they stand on a logarithmic axis. */
export function ticks(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const digit of [1, 2, 5]) {
      const value = Number((digit * 10 ** power).toPrecision(1));
      if (value >= low && value <= high) found.push(value);
    }
  }
  return found.length > 6 ? found.filter((value) => /^(0\.0*)?1/.test(String(value))) : found;
}
