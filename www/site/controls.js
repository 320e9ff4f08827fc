// The settings form: shows the state, changes it, and knows what the model makes of it.

import { byId, fillSelect } from './page.js';
import { readValue, ROWS, rowOf } from './state.js';

const ANY = { value: 'any', text: 'Any' };
const EACH = { value: 'each', text: 'One of each' };

export class Controls {
  #state;
  #changed;
  #info = null;
  #seedUsed = false;

  /** `changed(name)` is called after the reader changed a setting. */
  constructor(state, changed) {
    this.#state = state;
    this.#changed = changed;
    for (const row of ROWS) this.#prepare(row, byId(row.name));
    byId('dice').addEventListener('click', () => this.#set('seed', drawSeed()));
    byId('lock').addEventListener('click', () => this.#set('lock', !this.#state.lock));
    this.show();
  }

  /** Puts the state's values on the controls. */
  show() {
    const state = this.#state;
    for (const name of ['batch', 'seed', 'sampler', 'steps', 'eta', 'rng', 'device']) {
      if (byId(name).value !== String(state[name])) byId(name).value = state[name];
    }
    byId('label').value = this.#label();
    byId('eta-field').hidden = state.sampler !== 'ddim';
    byId('lock').setAttribute('aria-pressed', String(state.lock));
    byId('seed-hint').textContent = state.lock ? 'Kept: every run gives the same pictures.' : 'Each run draws another seed.';
  }

  /** Offers what this model has: its classes and its number of timesteps. */
  setModel(info) {
    this.#info = info;
    byId('class-field').hidden = info.classes === null;
    fillSelect(byId('label'), this.#classes(), this.#label());
    byId('steps').max = Math.min(rowOf('steps').max, info.trainTimesteps);
    this.show();
  }

  /** The seed of the next run: unlocked, another one for every run but the first. */
  nextSeed() {
    if (this.#seedUsed && !this.#state.lock) this.#set('seed', drawSeed());
    this.#seedUsed = true;
    return this.#state.seed;
  }

  /** The next seed is used as it stands, whatever the lock: the reader or a link has just given it. */
  keepSeed() {
    this.#seedUsed = false;
  }

  /** The state with the class shown written out, so that a link means the same everywhere. */
  resolvedState() {
    return { ...this.#state, label: this.#label() };
  }

  /** What `model.sample` takes. */
  sampleOptions() {
    const { batch, sampler, steps, eta, rng } = this.#state;
    const options = { sampler, steps: Math.min(steps, this.#info.trainTimesteps), seed: this.nextSeed(), batch, rng };
    if (sampler === 'ddim') options.eta = eta;
    if (this.#info.classes !== null) options.labels = this.#labels(batch);
    return options;
  }

  #prepare(row, control) {
    if (!control) return;
    if (row.type === 'choice') fillSelect(control, row.choices, this.#state[row.name]);
    if (row.type === 'whole' || row.type === 'real') {
      Object.assign(control, { min: row.min, max: row.max, step: row.type === 'whole' ? 1 : 'any' });
    }
    if (row.name === 'lock') return;
    control.addEventListener('input', () => {
      const value = readValue(row, control.value);
      if (value !== undefined) this.#set(row.name, value);
    });
  }

  #set(name, value) {
    this.#state[name] = value;
    if (name === 'seed') this.keepSeed();
    this.show();
    this.#changed(name);
  }

  #classes() {
    const { classes, nullLabel, labels } = this.#info;
    const numbers = Array.from({ length: classes ?? 0 }, (_, i) => i).filter((i) => i !== nullLabel);
    const named = numbers.map((i) => ({ value: String(i), text: labels?.[i] ?? `Class ${i}` }));
    return [...(nullLabel === null ? [] : [ANY]), EACH, ...named];
  }

  /** The class chosen, where this model has it; otherwise the first choice. */
  #label() {
    if (!this.#info) return '';
    const choices = this.#classes().map(({ value }) => value);
    return choices.includes(this.#state.label) ? this.#state.label : choices[0];
  }

  #labels(batch) {
    const label = this.#label();
    const named = this.#classes().filter((choice) => choice !== ANY && choice !== EACH);
    return Array.from({ length: batch }, (_, i) => {
      if (label === ANY.value) return this.#info.nullLabel;
      return Number(label === EACH.value ? named[i % named.length].value : label);
    });
  }
}

function drawSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}
