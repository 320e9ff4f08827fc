// A picture that a run of <diffusion-sampler> begins with, and what of it is painted anew: from attributes, from the page, or from the
// reader, who drops or chooses the one and paints the other.

import { beginsWithPictures } from '../editing.js';
import { NoiseballError } from '../errors.js';
import { fitted, Mask } from '../painting.js';
import { imageIn } from './addresses.js';
import { warn } from './check.js';
import { emit, h, option } from './element.js';

export const PICTURE_STYLE = `
.given { display: grid; gap: .5rem; min-width: 0; margin: 0; border: 1px solid var(--line); border-radius: 6px; padding: .5rem .75rem .75rem; }
.given legend { padding: 0 .25rem; font-size: .875rem; }
.given canvas { display: block; width: min(100%, 16rem); border-radius: 4px; background: var(--well); }
.given canvas[tabindex="0"] { cursor: crosshair; touch-action: none; }
.given .switch { flex: none; }
`;

const CANVAS = {
  paint: { role: 'application', 'aria-roledescription': 'picture to paint on', tabindex: '0' },
  show: { role: 'img', 'aria-roledescription': '', tabindex: '-1' },
};
const PAINTED = 'The picture. Arrow keys move the brush, with Shift by its width; Space paints, Backspace erases';

export class GivenPicture {
  #element;
  #info = null;
  #paints = false;
  /** What was read last, so that a run does not read it again: what it was read of, and the picture. */
  #known = new Map();
  #canvas = h('canvas', { width: 1, height: 1, hidden: true });
  #mask = new Mask(this.#canvas, (text) => {
    this.#painted(text);
    emit(this.#element, 'init-change');
  });
  #hint = h('p', { class: 'hint' }, 'Drop a picture on the frame above, or choose one. It stays on your device.');
  #choose = h('button', { type: 'button' }, 'Choose a picture…');
  #remove = h('button', { type: 'button', hidden: true }, 'Without a picture');
  #file = h('input', { type: 'file', accept: 'image/*', hidden: true, tabindex: -1 });
  #strength = h('input', { type: 'range', min: 0.05, max: 1, step: 0.05 });
  #much = h('output');
  #brush = h('input', { type: 'range', min: 1, max: 8, step: 1 });
  #erase = h('input', { type: 'checkbox' });
  #clear = h('button', { type: 'button' }, 'Clear');
  #count = h('p', { class: 'hint', role: 'status' });
  #how = h('label', { class: 'field', hidden: true }, h('span', {}, 'Made anew: ', this.#much), this.#strength);
  #painting = h(
    'div',
    { class: 'row', hidden: true },
    h('label', { class: 'field' }, 'Brush', this.#brush),
    h('label', { class: 'switch' }, this.#erase, 'Erase'),
    this.#clear,
  );
  /** Among the controls. */
  box = h(
    'fieldset',
    { class: 'given', hidden: true },
    h('legend', {}, 'A picture to begin with'),
    this.#hint,
    this.#canvas,
    this.#count,
    this.#painting,
    this.#how,
    h('div', { class: 'row' }, this.#choose, this.#remove, this.#file),
  );

  constructor(element) {
    this.#element = element;
    this.#choose.addEventListener('click', () => this.#file.click());
    this.#file.addEventListener('change', () => {
      const [file] = this.#file.files;
      this.#file.value = '';
      if (file) this.take(file);
    });
    this.#remove.addEventListener('click', () => {
      this.#choose.focus(); // the button that was pressed goes
      element.removeAttribute('init');
      this.take(null);
    });
    this.#strength.addEventListener('input', () => this.#say());
    this.#strength.addEventListener('change', () => (element.strength = this.#strength.value));
    this.#brush.addEventListener('input', () => (this.#mask.brush = Number(this.#brush.value)));
    this.#erase.addEventListener('change', () => (this.#mask.erases = this.#erase.checked));
    this.#clear.addEventListener('click', () => this.#mask.clear());
  }

  /** A picture of the reader's own, or none. */
  take(file) {
    this.#element.initPicture = file;
    emit(this.#element, 'init-change');
  }

  /** Shows what is wanted of it for this model. */
  async show(info, wanted) {
    this.#info = info;
    const able = beginsWithPictures(info);
    this.box.hidden = !able || !(wanted.includes('init') || wanted.includes('mask'));
    if (this.box.hidden) return;
    this.#choose.hidden = !wanted.includes('init');
    this.#paints = wanted.includes('mask') && !this.#of('mask');
    const pixels = await this.#pixels(info).catch(() => null); // the run says what is wrong with it
    if (info !== this.#info) return;
    this.#hint.hidden = pixels !== null || !wanted.includes('init');
    this.#canvas.hidden = pixels === null;
    this.#how.hidden = pixels === null || !wanted.includes('init');
    this.#remove.hidden = pixels === null || !wanted.includes('init');
    this.#painting.hidden = this.#count.hidden = pixels === null || !this.#paints;
    this.#strength.value = option(this.#element, 'strength') ?? (this.#paints && this.#mask.painted > 0 ? 1 : 0.8);
    this.#say();
    for (const [name, value] of Object.entries(CANVAS[this.#paints ? 'paint' : 'show'])) this.#canvas.setAttribute(name, value);
    this.#canvas.setAttribute('aria-label', this.#paints ? PAINTED : 'The picture to begin with');
    this.#mask.on = this.#paints;
    this.#brush.max = String(Math.max(2, info.width >> 1));
    if (this.#mask.values.length !== info.width * info.height) {
      this.#mask.brush = Math.max(1, info.width >> 3);
      this.#brush.value = String(this.#mask.brush);
    }
    if (pixels) this.#mask.show(pixels);
    this.#painted('');
  }

  /**
   * What a run is given of it.
   * @param {any} info
   */
  async options(info) {
    const element = this.#element;
    const [init, mask] = [this.#of('init'), this.#of('mask')];
    if (!init) {
      if (mask) warn(element, 'mask', option(element, 'mask'), 'it is left out', 'a mask beside a picture, `init`');
      return {};
    }
    if (!beginsWithPictures(info)) {
      warn(element, 'init', option(element, 'init'), 'it is left out', 'none, as this model begins with noise alone');
      return {};
    }
    const strength = option(element, 'strength');
    const painted = this.#paints && this.#mask.painted > 0 ? { mask: this.#mask.values.slice() } : {};
    return {
      init: await this.#pixels(info),
      ...(mask ? { mask: fitted(await this.#read('mask', mask), info, false, '#000') } : painted),
      ...(strength !== null && { strength }),
    };
  }

  /** The page's own picture, or the address of one. */
  #of(name) {
    return this.#element[`${name}Picture`] ?? option(this.#element, name);
  }

  async #pixels(info) {
    const init = this.#of('init');
    return init ? fitted(await this.#read('init', init), info) : null;
  }

  /** @returns {Promise<ImageBitmap>} */
  #read(name, given) {
    const known = this.#known.get(name);
    if (known?.of === given) return known.bitmap;
    const bitmap = this.#bitmap(name, given);
    this.#known.set(name, { of: given, bitmap });
    bitmap.catch(() => this.#known.delete(name)); // so that the next run tries again
    return bitmap;
  }

  async #bitmap(name, given) {
    const [picture, what] = typeof given === 'string' ? [await imageIn(this.#element, name), name] : [given, `${name}Picture`];
    return createImageBitmap(picture).catch((cause) => {
      const problem = `\`${what}\` is not a picture that this browser shows. Take a PNG, JPEG or WebP file`;
      throw new NoiseballError('invalid-option', problem, { cause });
    });
  }

  #say() {
    this.#much.textContent = `${Math.round(100 * Number(this.#strength.value))} %`;
  }

  #painted(text) {
    const count = Math.round(this.#mask.painted);
    const what =
      count > 0
        ? `${count} of ${this.#mask.values.length} pixels are made anew, the others kept.`
        : 'Paint over what is to be made anew, and press Run; unpainted, all of it is.';
    this.#count.textContent = text ? `${text}. ${what}` : what;
    if (option(this.#element, 'strength') === null) this.#strength.value = count > 0 ? '1' : '0.8';
    this.#say();
  }
}
