// The settings form: shows the state, changes it, and knows what the model makes of it.

import { classChoices, commonChoices, labelsOf } from '../elements/classes.js';
import { usual } from '../elements/usual.js';
import { byId, fillSelect } from './page.js';
import { readOptions, showOptions } from './sampler-options.js';
import { hasOption, readValue, ROWS, rowOf } from './state.js';

const MENU = 256; // classes; a menu of more can be neither read nor made in time, so that their number is typed

export class Controls {
  #state;
  #changed;
  #info = null;
  #seedUsed = false;
  #usualSteps = rowOf('steps').default;
  /** The sampler whose options are shown. */
  #optionsOf = '';

  /** `changed(name)` is called after the reader changed a setting. */
  constructor(state, changed) {
    this.#state = state;
    this.#changed = changed;
    for (const row of ROWS) this.#prepare(row, byId(row.name));
    byId('label-number').addEventListener('input', () => {
      const { value } = byId('label-number');
      if (byId('label-number').checkValidity()) this.#set('label', value === '' ? '' : String(Number(value)));
    });
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
    const label = this.#label();
    byId('label').value = label;
    byId('label-number').value = commonChoices(this.#info ?? {}).some(({ value }) => value === label) ? '' : label;
    const sampler = this.#sampler();
    byId('eta-field').hidden = !hasOption(sampler, 'eta');
    if (this.#optionsOf !== sampler) {
      this.#optionsOf = sampler;
      showOptions(sampler, state.options, (text) => this.#set('options', text));
    }
    byId('lock').setAttribute('aria-pressed', String(state.lock));
    byId('seed-hint').textContent = state.lock
      ? 'Locked: every run starts from the same noise, so that settings can be compared.'
      : 'Every run starts from new noise. Lock the seed to repeat one.';
  }

  /** Offers what this model has: its classes and its number of timesteps. */
  setModel(info) {
    this.#info = info;
    byId('class-field').hidden = info.classes === null;
    const menu = this.#hasMenu();
    byId('label').hidden = !menu;
    Object.assign(byId('label-number'), { hidden: menu, disabled: menu, max: (info.classes ?? 1) - 1 });
    byId('label-number').placeholder = info.nullLabel === null ? 'one of each' : 'any';
    if (menu) fillSelect(byId('label'), [...commonChoices(info), ...classChoices(info)], this.#label());
    byId('steps').max = Math.min(rowOf('steps').max, info.trainTimesteps);
    const { sampler, steps } = usual(info);
    const [, ...others] = rowOf('sampler').choices;
    fillSelect(byId('sampler'), [{ value: '', text: `Usual: ${sampler}` }, ...others], this.#state.sampler);
    // Steps that nobody chose: fewer for a model that was made for fewer.
    if (!this.#state.sampler && this.#state.steps === this.#usualSteps) this.#state.steps = steps;
    this.#usualSteps = steps;
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

  /** The state with the class and the sampler written out, so that a link means the same everywhere. */
  resolvedState() {
    return { ...this.#state, label: this.#label(), sampler: this.#sampler() };
  }

  /** What `model.sample` takes. */
  sampleOptions() {
    const { batch, steps, eta, rng } = this.#state;
    const sampler = this.#sampler();
    const own = readOptions(sampler, this.#state.options);
    const options = { sampler, steps: Math.min(steps, this.#info.trainTimesteps), seed: this.nextSeed(), batch, rng, ...own };
    if (hasOption(sampler, 'eta')) options.eta = eta;
    if (this.#info.classes !== null) options.labels = labelsOf(this.#info, this.#label(), batch);
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

  /** Whether the classes are few enough to choose from a menu. */
  #hasMenu() {
    return (this.#info?.classes ?? 0) <= MENU;
  }

  /** The sampler chosen, or the model's usual one. */
  #sampler() {
    return this.#state.sampler || usual(this.#info).sampler;
  }

  /** The class chosen, where this model has it; otherwise the first choice. */
  #label() {
    if (!this.#info) return '';
    const { label } = this.#state;
    const { classes, nullLabel } = this.#info;
    const common = commonChoices(this.#info);
    const has = /^(0|[1-9]\d*)$/.test(label)
      ? Number(label) < classes && Number(label) !== nullLabel
      : common.some(({ value }) => value === label);
    return has ? label : (common[0]?.value ?? '');
  }
}

function drawSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}
