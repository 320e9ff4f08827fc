// The settings beside the stage. What is often changed, the class and the seed, is among the stage's own controls.

import { samplers, usualRun } from '../noiseball.js';
import { byId, fillSelect } from './page.js';
import { showOptions } from './sampler-options.js';
import { readValue, ROWS, rowOf } from './state.js';

const SHOWN = ['batch', 'sampler', 'steps', 'guidance', 'rng', 'device'];

export class Controls {
  #state;
  #changed;
  #info = null;
  #usualSteps = rowOf('steps').default;
  /** The sampler whose options are shown. */
  #optionsOf = '';

  /** `changed(name)` is called after the reader changed a setting. */
  constructor(state, changed) {
    this.#state = state;
    this.#changed = changed;
    for (const row of ROWS) if (SHOWN.includes(row.name)) this.#prepare(row, byId(row.name));
    this.show();
  }

  /** Puts the state's values on the controls. */
  show() {
    const state = this.#state;
    for (const name of SHOWN) if (byId(name).value !== String(state[name])) byId(name).value = state[name];
    const sampler = this.sampler;
    if (this.#optionsOf === `${sampler} ${state.options}`) return;
    const { paper, options } = /** @type {any} */ (samplers().find(({ name }) => name === sampler));
    byId('sampler-hint').textContent = `${paper}.`;
    byId('sampler-options').parentElement.hidden = options.length === 0;
    showOptions(options, sampler, state.options, (text) => {
      this.#optionsOf = `${sampler} ${text}`; // they show it already
      this.#set('options', text);
    });
    this.#optionsOf = `${sampler} ${state.options}`;
  }

  /** Offers what this model has: its number of timesteps, its usual sampler, and guidance where it has an answer without a class. */
  setModel(info) {
    this.#info = info;
    byId('guidance').parentElement.hidden = info.pipeline ? info.guidance === 1 : !(info.classes > 1 && info.nullLabel !== null);
    byId('steps').max = Math.min(rowOf('steps').max, info.trainTimesteps);
    const { sampler, steps } = usualRun(info);
    const [, ...others] = rowOf('sampler').choices;
    fillSelect(byId('sampler'), [{ value: '', text: `Usual: ${sampler}` }, ...others], this.#state.sampler);
    // Steps that nobody chose: fewer for a model that was made for fewer.
    if (!this.#state.sampler && this.#state.steps === this.#usualSteps) this.#state.steps = steps;
    this.#usualSteps = steps;
    this.show();
  }

  /** The sampler chosen, or the model's usual one. */
  get sampler() {
    return this.#state.sampler || usualRun(this.#info).sampler;
  }

  #prepare(row, control) {
    if (row.type === 'choice') fillSelect(control, row.choices, this.#state[row.name]);
    if (row.type === 'whole') Object.assign(control, { min: row.min, max: row.max, step: 1 });
    if (row.type === 'real') Object.assign(control, { min: row.min, max: row.max, step: 'any' });
    if (row.about) byId(`${row.name}-hint`).textContent = row.about;
    control.addEventListener('change', () => {
      const value = readValue(row, control.value);
      if (value !== undefined && control.checkValidity()) this.#set(row.name, value);
      else control.reportValidity();
    });
  }

  #set(name, value) {
    if (this.#state[name] === value) return;
    this.#state[name] = value;
    this.show();
    this.#changed(name);
  }
}
