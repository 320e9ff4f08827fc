// The package's entry `noiseball/elements`: importing it registers the elements, but on a server. What they show comes from elements/
// once they are in a page.

import { define, face, observed, opened, Shell } from './elements/element.js';

export { h, s } from './elements/element.js';

/** What runs when it is asked to. */
class Runner extends Shell {
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

  dismissPoster() {
    this.run();
  }

  toDataURL(type, encoderOptions) {
    return face(this)?.shown?.toDataURL(type, encoderOptions) ?? null;
  }
}

export class DiffusionSampler extends Runner {
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

  /** @type {any} */
  #initPicture = null;

  get initPicture() {
    return this.#initPicture;
  }

  set initPicture(picture) {
    this.#initPicture = picture;
    face(this)?.changed('init');
  }

  /** @type {any} */
  #maskPicture = null;

  get maskPicture() {
    return this.#maskPicture;
  }

  set maskPicture(picture) {
    this.#maskPicture = picture;
    face(this)?.changed('mask');
  }

  stop() {
    face(this)?.stop();
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
}

export class DiffusionTrainer extends Runner {
  static observedAttributes = observed('diffusion-trainer');

  constructor() {
    super(() => import('./elements/trainer.js'));
  }

  get training() {
    return face(this)?.training ?? null;
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

  async export() {
    return face(this)?.export() ?? null;
  }
}

define('diffusion-sampler', DiffusionSampler);
define('diffusion-process', DiffusionProcess);
define('diffusion-trainer', DiffusionTrainer);
