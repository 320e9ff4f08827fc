// Drawing on the plane: points, arrows and curves in the page's own colours.

/** What is shown of the plane: from −LIMIT to LIMIT along both axes. */
export const LIMIT = 2.7;

const PRINTED = { ink: '#1f1d1a', soft: '#67625a', accent: '#0b6e69', second: '#a3341f', line: '#dcd6ca', blue: '#1b3f96' };
let printing = false;

/** Colours for paper, until this is called with false. */
export function forPaper(on) {
  printing = on;
}

/**
 * The page's colours, as they are now: dark, light or those that the reader's system forces.
 * @returns {Record<'ink' | 'soft' | 'accent' | 'second' | 'line' | 'blue', string>}
 */
export function palette(element) {
  if (printing) return PRINTED;
  const style = getComputedStyle(element);
  const names = { ink: '--ink', soft: '--soft', accent: '--accent', second: '--second', line: '--line', blue: '--ink-blue' };
  if (matchMedia('(forced-colors: active)').matches)
    return { ink: 'CanvasText', soft: 'GrayText', accent: 'Highlight', second: 'LinkText', line: 'GrayText', blue: 'Highlight' };
  return /** @type {any} */ (
    Object.fromEntries(Object.entries(names).map(([name, property]) => [name, style.getPropertyValue(property).trim()]))
  );
}

/** A square canvas, as sharp as the screen, whose unit is that of the plane. */
export class Plane {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  }

  /** Makes it empty, at the size that it has on the page now. */
  clear() {
    const side = Math.round(Math.min(900, Math.max(160, this.canvas.clientWidth || 400) * Math.min(2, devicePixelRatio || 1)));
    if (this.canvas.width !== side) [this.canvas.width, this.canvas.height] = [side, side];
    this.context.clearRect(0, 0, side, side);
    this.colours = palette(this.canvas);
  }

  /** A length of the plane in pixels. */
  get unit() {
    return this.canvas.width / (2 * LIMIT);
  }

  x(value) {
    return (value + LIMIT) * this.unit;
  }

  y(value) {
    return (LIMIT - value) * this.unit;
  }

  /**
   * @param {ArrayLike<number>} points x and y in turn
   * @param {{colour?: string, radius?: number, opacity?: number, from?: number, to?: number}} [look]
   */
  points(points, { colour = this.colours.accent, radius = 0.018, opacity = 0.6, from = 0, to = points.length / 2 } = {}) {
    const { context } = this;
    context.globalAlpha = opacity;
    context.fillStyle = colour;
    const size = Math.max(0.9, radius * this.unit);
    context.beginPath();
    for (let i = from; i < to; i++) {
      const [x, y] = [this.x(points[2 * i]), this.y(points[2 * i + 1])];
      context.moveTo(x + size, y);
      context.arc(x, y, size, 0, 2 * Math.PI);
    }
    context.fill();
    context.globalAlpha = 1;
  }

  /** Soft discs, one over another: ink. */
  ink(points, radius, opacity, colour = this.colours.blue) {
    const { context } = this;
    context.globalAlpha = opacity;
    context.fillStyle = colour;
    for (let i = 0; i < points.length; i += 2) {
      context.beginPath();
      context.arc(this.x(points[i]), this.y(points[i + 1]), radius * this.unit, 0, 2 * Math.PI);
      context.fill();
    }
    context.globalAlpha = 1;
  }

  circle(x, y, radius, { colour = this.colours.soft, width = 1, dashes = [] } = {}) {
    const { context } = this;
    context.strokeStyle = colour;
    context.lineWidth = width * Math.max(1, this.canvas.width / 450);
    context.setLineDash(dashes.map((length) => length * this.unit));
    context.beginPath();
    context.arc(this.x(x), this.y(y), radius * this.unit, 0, 2 * Math.PI);
    context.stroke();
    context.setLineDash([]);
  }

  arrow(x, y, dx, dy, { colour = this.colours.soft, width = 1.2 } = {}) {
    const { context } = this;
    const length = Math.hypot(dx, dy);
    if (length * this.unit < 1) return;
    const [x1, y1, x2, y2] = [this.x(x), this.y(y), this.x(x + dx), this.y(y + dy)];
    const head = Math.min(0.11, length * 0.45) * this.unit;
    const angle = Math.atan2(y2 - y1, x2 - x1);
    context.strokeStyle = colour;
    context.lineWidth = width * Math.max(1, this.canvas.width / 450);
    context.beginPath();
    context.moveTo(x1, y1);
    context.lineTo(x2, y2);
    for (const turn of [2.6, -2.6]) {
      context.moveTo(x2, y2);
      context.lineTo(x2 + head * Math.cos(angle + turn), y2 + head * Math.sin(angle + turn));
    }
    context.stroke();
  }
}
