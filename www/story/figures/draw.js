// What the two figures share that a reader can draw on.

import { h } from '../../elements.js';
import { DAB, drawing } from '../pad.js';

const HELP =
  'Draw with a finger or the mouse. With the keyboard: the arrow keys move the brush, Space makes a dab, Backspace takes the last one away.';

/**
 * @param {HTMLCanvasElement} canvas
 * @param {() => boolean} on
 */
export function drawingControls(canvas, on) {
  const clear = h('button', { type: 'button' }, 'Clear the drawing');
  clear.addEventListener('click', () => drawing.clear());
  const box = h('div', { class: 'own' }, clear, h('p', { class: 'hint' }, HELP));
  const show = (shown) => {
    box.hidden = !shown;
    canvas.classList.toggle('drawable', shown);
    if (shown) canvas.setAttribute('tabindex', '0');
    else canvas.removeAttribute('tabindex');
    // Screen readers leave the arrow keys to what is an application.
    canvas.setAttribute('role', shown ? 'application' : 'img');
    if (shown) canvas.setAttribute('aria-roledescription', 'drawing area');
    else canvas.removeAttribute('aria-roledescription');
  };
  show(on());
  return { box, show };
}

/** Where the keyboard's brush is, while it is in use. */
export function brush(plane, { cursor, focused }) {
  if (!focused()) return;
  const [x, y] = cursor;
  plane.circle(x, y, 2 * DAB, { colour: plane.colours.ink, width: 2 });
  plane.points([x, y], { colour: plane.colours.ink, radius: 0.03, opacity: 1 });
}
