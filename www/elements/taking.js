// What a reader takes along from an element: a file, or the lines that show it elsewhere.

import { CONTROLS_STYLE } from './controls-style.js';
import { addStyle, h, option } from './element.js';

/** @returns {Promise<Blob | null>} the canvas as a file; null where there is none */
export function blobOf(canvas, options) {
  return canvas ? new Promise((resolve) => canvas.toBlob(resolve, options?.mimeType, options?.qualityArgument)) : Promise.resolve(null);
}

/** Hands over a file to be saved. */
export function saveFile(blob, name) {
  const link = h('a', { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** A button that opens the dialog with the lines. */
export function embedButton(element) {
  const button = h('button', { type: 'button' }, 'Embed');
  button.addEventListener('click', () => element.embed());
  return button;
}

/** Buttons for the picture of a <diffusion-process> and for its lines: as many as `controls` has. */
export function showTaking(element, controls) {
  const before = controls.querySelector('.taking');
  if (before) before.remove();
  else addStyle(controls.getRootNode(), CONTROLS_STYLE);
  const wanted = option(element, 'controls');
  const buttons = [];
  if (wanted.includes('save')) {
    const save = h('button', { type: 'button' }, 'Save the picture');
    save.addEventListener('click', async () => {
      const blob = await element.toBlob();
      if (blob) saveFile(blob, `${element.localName}-step-${element.timestep}.png`);
    });
    buttons.push(save);
  }
  if (wanted.includes('embed')) buttons.push(embedButton(element));
  controls.append(h('div', { class: 'row taking' }, ...buttons));
}
