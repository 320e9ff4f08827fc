// The package's entry `noiseball/elements`: importing it registers the elements, but on a server. What they show comes from elements/
// once they are in a page.

import { define, face, observed, opened, Shell } from './elements/element.js';

export class DiffusionSampler extends Shell {
  static observedAttributes = observed('diffusion-sampler');

  constructor() {
    super(() => import('./elements/sampler.js'));
  }

  #source = null;

  get source() {
    return this.#source;
  }

  set source(source) {
    this.#source = source;
    face(this)?.changed('src');
  }

  /** @type {any} */
  #model = null;

  get model() {
    return this.#model;
  }

  set model(model) {
    this.#model = model;
    model?.catch?.(() => {}); // the run that wants it says so
    face(this)?.changed('model');
  }

  get loaded() {
    return this.info !== null;
  }

  get running() {
    return face(this)?.running ?? false;
  }

  get info() {
    return face(this)?.info ?? null;
  }

  async run() {
    return (await opened(this))?.run() ?? false;
  }

  stop() {
    face(this)?.stop();
  }

  dismissPoster() {
    this.run();
  }

  async toBlob(options) {
    return face(this)?.toBlob(options) ?? null;
  }

  toDataURL(type, encoderOptions) {
    return face(this)?.shown?.toDataURL(type, encoderOptions) ?? null;
  }
}

export class DiffusionProcess extends Shell {
  static observedAttributes = observed('diffusion-process');

  constructor() {
    super(() => import('./elements/process.js'));
  }

  get loaded() {
    return face(this)?.loaded ?? false;
  }

  get timestep() {
    return face(this)?.timestep ?? 0;
  }

  get variance() {
    return face(this)?.variance ?? Number.NaN;
  }

  async play() {
    await (await opened(this))?.play();
  }

  pause() {
    face(this)?.pause();
  }

  async toBlob(options) {
    return face(this)?.toBlob(options) ?? null;
  }
}

export class DiffusionTrainer extends Shell {
  static observedAttributes = observed('diffusion-trainer');

  constructor() {
    super(() => import('./elements/trainer.js'));
  }

  get loaded() {
    return this.info !== null;
  }

  get running() {
    return face(this)?.running ?? false;
  }

  get info() {
    return face(this)?.info ?? null;
  }

  get training() {
    return face(this)?.training ?? null;
  }

  async run() {
    return (await opened(this))?.run() ?? false;
  }

  async pause() {
    await face(this)?.pause();
  }

  async resume() {
    await face(this)?.resume();
  }

  async stop() {
    await face(this)?.stop();
  }

  dismissPoster() {
    this.run();
  }

  async export() {
    return face(this)?.export() ?? null;
  }

  async toBlob(options) {
    return face(this)?.toBlob(options) ?? null;
  }

  toDataURL(type, encoderOptions) {
    return face(this)?.shown?.toDataURL(type, encoderOptions) ?? null;
  }
}

define('diffusion-sampler', DiffusionSampler);
define('diffusion-process', DiffusionProcess);
define('diffusion-trainer', DiffusionTrainer);
