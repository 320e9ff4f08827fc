// The names of classes below a grid's pictures.

import { h } from './element.js';

const MOST = 6; // columns: in more of them nobody can read a name
const SHARE = 0.375; // of a picture's height, for two lines of its name

/** Rows of pixels to leave below each picture, as `drawGrid` takes them. */
export function roomFor(names, columns, height) {
  return names && columns <= MOST ? Math.ceil(SHARE * height) : 0;
}

/** The layer for the names, over the canvas. The canvas's description has them for those who do not see it. */
export function nameLayer() {
  return h('div', { class: 'names', part: 'names', 'aria-hidden': 'true', hidden: true });
}

/**
 * Shows names below the pictures of a canvas that stands whole in a frame.
 * @param {any} layer
 * @param {string[] | null} names null: none
 * @param {{columns: number, rows: number}} grid
 * @param {{width: number, height: number}} canvas
 * @param {number} aspect the frame's width by its height
 */
export function showNames(layer, names, { columns, rows }, { width, height }, aspect) {
  layer.hidden = !names || columns > MOST;
  if (!names || layer.hidden) return layer.replaceChildren();
  const wide = width / height / aspect;
  Object.assign(layer.style, {
    width: `${100 * Math.min(1, wide)}%`,
    height: `${100 * Math.min(1, 1 / wide)}%`,
    gridTemplate: `repeat(${rows}, minmax(0, 1fr)) / repeat(${columns}, minmax(0, 1fr))`,
  });
  layer.style.setProperty('--columns', String(columns));
  layer.replaceChildren(...names.map((name) => h('span', { title: name }, name)));
}

/** The same as a part of a sentence: each name once. */
export function spoken(names) {
  return names ? ` (${[...new Set(names)].slice(0, 12).join(', ')})` : '';
}

export const NAMES_STYLE = `
[part=frame] { container-type: inline-size; }
.names { display: grid; place-self: center; pointer-events: none; }
@container (max-width: 8rem) { .names { display: none; } }
.names span { align-self: end; height: ${(92 * SHARE) / (1 + SHARE)}%; overflow: hidden; overflow-wrap: anywhere; display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; font-size: clamp(.5rem, calc(14cqi / var(--columns)), .8125rem); line-height: 1.15; text-align: center; }
`;
