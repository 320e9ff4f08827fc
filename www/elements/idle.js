// What elements are until they run: a poster with a button on it, and the room for what comes.

import { addStyle, h, option, s } from './element.js';

const STYLE = `
[part=frame] { position: relative; display: grid; aspect-ratio: 1; overflow: hidden; border-radius: var(--radius); background: var(--well); }
.wide { aspect-ratio: 2; }
[part=frame] > * { grid-area: 1 / 1; min-width: 0; min-height: 0; z-index: 0; }
.poster, [part=poster], [part=canvas] { display: block; width: 100%; height: 100%; object-fit: contain; }
::slotted([slot=poster]) { display: block; width: 100% !important; height: 100% !important; object-fit: contain; }
canvas[part=poster] { image-rendering: pixelated; opacity: .55; }
.start { place-self: center; display: flex; align-items: center; gap: .5rem; min-height: 3.25rem; padding: 0 1.5rem; border-radius: 2rem; font-size: 1.25rem; box-shadow: 0 2px 12px rgb(0 0 0 / .35); }
.start svg { width: 1rem; fill: currentColor; }
.bar { align-self: end; height: .5rem; }
progress { display: block; width: 100%; height: 100%; accent-color: var(--accent); }
.idle { min-height: 2lh; margin-top: .375rem; }
.live { position: absolute; width: 1px; height: 1px; margin: -1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.toggle { min-width: 5.5rem; }
:host { position: relative; max-width: min(32rem, max(16rem, 100svh - 13rem)); }
@media print {
  .fallback { display: block; }
  .begun ~ .fallback { display: none; }
  canvas { print-color-adjust: exact; }
}
`;

/**
 * The parts of such an element, put into its shadow root.
 * @param {string} word on the button
 */
export function buildIdle(root, error, word) {
  addStyle(root, STYLE);
  const poster = h('slot', { name: 'poster' });
  const triangle = s('svg', { viewBox: '0 0 16 16', 'aria-hidden': 'true' }, s('path', { d: 'M3 1.5v13l11-6.5z' }));
  const start = h('button', { type: 'button', part: 'run-button', class: 'primary start' }, triangle, word);
  const progress = h('progress', { part: 'progress-bar', max: 1, value: 0, 'aria-label': 'Loading', hidden: true });
  const bar = h('div', { class: 'bar' }, h('slot', { name: 'progress-bar' }, progress));
  const frame = h('div', { part: 'frame' }, h('div', { class: 'poster' }, poster), start, bar);
  const hint = h('p', { class: 'hint idle' });
  const live = h('p', { class: 'live', role: 'status' });
  root.append(frame, error.box, hint, live, h('div', { class: 'fallback' }, h('slot')));
  return { root, frame, poster, start, progress, bar, error, hint, live };
}

/** What takes time to come. That it comes is seen at once, also before there is what knows how much. */
export async function opening({ progress }, coming) {
  progress.hidden = false;
  const found = await coming;
  progress.hidden = true;
  return found;
}

/** Shows the poster that the element's attributes name. */
export function showPoster(element, { poster }) {
  const address = option(element, 'poster');
  if (poster.dataset.shows !== address || !poster.firstChild) {
    poster.dataset.shows = address;
    poster.replaceChildren(address ? h('img', { part: 'poster', src: address, decoding: 'async' }) : noise());
  }
  if (address) poster.firstChild.setAttribute('alt', option(element, 'alt'));
}

/** A poster where the author gave none: what every run begins with. */
export function noise() {
  const side = 40;
  const canvas = h('canvas', { part: 'poster', role: 'img', 'aria-label': 'Noise', width: side, height: side });
  const picture = new ImageData(side, side);
  let state = 1;
  for (let i = 0; i < picture.data.length; i++) {
    // The sum of four uniform numbers is near enough to normal for a poster.
    let sum = 0;
    for (let k = 0; k < 4; k++) sum += (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
    picture.data[i] = i % 4 === 3 ? 255 : 128 + (sum - 2) * 110;
  }
  canvas.getContext('2d').putImageData(picture, 0, 0);
  return canvas;
}
