// The settings beside the stage. What is often changed, the class and the seed, is among the stage's own controls.

import { samplers } from '../noiseball.js';
import { byId, fillSelect } from './page.js';
import { showOptions } from './sampler-options.js';
import { readValue, ROWS, rowOf } from './state.js';

const SHOWN = ['batch', 'sampler', 'steps', 'rng', 'device'];

export class Controls {
  #state;
  #changed;
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
    if (this.#optionsOf === `${state.sampler} ${state.options}`) return;
    const { paper, options } = samplers().find(({ name }) => name === state.sampler);
    byId('sampler-hint').textContent = `${paper}.`;
    byId('sampler-options').parentElement.hidden = options.length === 0;
    showOptions(options, state, (text) => {
      this.#optionsOf = `${state.sampler} ${text}`; // they show it already
      this.#set('options', text);
    });
    this.#optionsOf = `${state.sampler} ${state.options}`;
  }

  /** Offers what this model has: its number of timesteps. */
  setModel({ trainTimesteps }) {
    byId('steps').max = Math.min(rowOf('steps').max, trainTimesteps);
  }

  #prepare(row, control) {
    if (row.type === 'choice') fillSelect(control, row.choices, this.#state[row.name]);
    if (row.type === 'whole') Object.assign(control, { min: row.min, max: row.max, step: 1 });
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
