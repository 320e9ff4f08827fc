// The loss of <diffusion-trainer> as a line.

import { h, s } from './element.js';

const [WIDE, HIGH, LEFT] = [320, 96, 34];
const NOTHING = 'Loss: nothing yet';

/** @returns {{figure: HTMLElement, show: (losses: import('../train/losses.js').Losses, steps: number) => void, colours: () => string[]}} */
export function lossChart() {
  const measured = s('path', { class: 'measured' });
  const smooth = s('path', { class: 'smooth' });
  const [top, bottom] = [s('text', { x: 0, y: 12 }), s('text', { x: 0, y: HIGH - 5 })];
  const chart = s(
    'svg',
    { part: 'chart', role: 'img', 'aria-label': NOTHING, viewBox: `0 0 ${WIDE} ${HIGH}` },
    measured,
    smooth,
    top,
    bottom,
  );
  const caption = h('figcaption', {}, 'The loss: how wrong the network still is about the noise');
  return {
    figure: h('figure', { class: 'loss' }, chart, caption),
    /** The page's text colour and the accent, as they are now. */
    colours: () => [getComputedStyle(measured).stroke, getComputedStyle(smooth).stroke],
    show(losses, steps) {
      const series = losses.series();
      const calm = losses.smoothed(series);
      const values = series.map(([, loss]) => loss).filter(Number.isFinite);
      if (values.length === 0) return chart.setAttribute('aria-label', NOTHING);
      let [low, high] = [Infinity, -Infinity];
      for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
      // A bound in bits may be negative: its axis is linear.
      const of = low > 0 ? Math.log : (loss) => loss;
      const y = (loss) => 4 + (1 - (of(loss) - of(low)) / (of(high) - of(low) || 1)) * (HIGH - 8);
      const path = (line) => `M${line.map(([step, loss]) => `${LEFT + (step / steps) * (WIDE - LEFT)} ${y(loss)}`).join('L')}`;
      measured.setAttribute('d', path(series));
      smooth.setAttribute('d', path(calm));
      const text = (value) => value.toPrecision(2).replace('-', '−');
      [top.textContent, bottom.textContent] = [text(high), text(low)];
      const { 0: first, length, [length - 1]: last } = calm;
      chart.setAttribute('aria-label', `Loss: ${text(last[1])} after ${last[0] + 1} steps, from ${text(first[1])} at the start`);
    },
  };
}
