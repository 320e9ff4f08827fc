// The network and the run: presets, the settings most people change, the whole recipe for experts, and what it all takes.

import { byId, fillSelect, setEnabled } from '../page.js';
import { hideProblem, showProblem, tell } from './notice.js';
import { OBJECTIVES, planSentence } from './words.js';

const NETWORKS = { tiny: 'Tiny', small: 'Small', medium: 'Medium' };
// Shown where the text was edited into another network than any preset's.
const CUSTOM = { value: 'custom', text: 'As in the settings below' };
const SHOWN = ['steps', 'batch', 'seed', 'flip', 'optimiser.learning_rate', 'optimiser.warmup', 'average'];
const EDITED = 400; // milliseconds after the last key

export class PlanPanel {
  #sampledSource;
  #start;
  #planned;
  #dataThere;
  #data = null;
  #name = null; // of the data
  #presets = []; // what there is to choose from
  #preset = null; // {name, recipe}: the preset chosen last
  // {recipe, changes} asked for last, whether or not it has been accepted yet: a whole recipe as text, and what fields change of it
  #wanted = Promise.resolve(null);
  #asked = 0; // how many were asked for
  #settling = Promise.resolve(); // ends when the newest is accepted or refused
  #plan = null; // of what was accepted, its `recipe` as text; null where the newest was refused
  #recipe = null; // the same recipe, which the form shows
  #typed = new Set(); // fields in which the reader is typing
  #typing = 0; // a timer: the text was changed and is not yet read
  #measuring = new AbortController();
  #starting = false;

  /**
   * `planned(plan)` is called with the plan of every recipe that Rust accepts; `dataThere()` waits until the data chosen
   * last are there, and says whether they are.
   */
  constructor({ sampledSource, start, planned, dataThere }) {
    this.#sampledSource = sampledSource;
    this.#start = start;
    this.#planned = planned;
    this.#dataThere = dataThere;
    byId('train-preset').addEventListener('change', () => this.#choose(byId('train-preset').value));
    byId('recipe-reset').addEventListener('click', () => this.#choose(this.#preset?.name ?? byId('train-preset').value));
    for (const id of Object.keys(FIELDS)) this.#listen(byId(id));
    byId('train-device').addEventListener('change', () => this.measureAgain());
    byId('recipe').addEventListener('input', () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#readText(), EDITED);
    });
    byId('train-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    });
  }

  #listen(field) {
    field.addEventListener('input', () => this.#typed.add(field.id));
    field.addEventListener('change', () => {
      this.#typed.delete(field.id);
      if (!field.checkValidity()) return field.reportValidity();
      this.#readText();
      const { change, read } = FIELDS[field.id];
      const value = read(field);
      this.#want('field', async (before) => {
        const { recipe, changes } = await before;
        return { recipe, changes: { ...changes, [change]: value } };
      });
    });
    field.addEventListener('blur', () => {
      // Typed and taken back: no change was announced.
      if (this.#typed.delete(field.id) && this.#recipe) this.#showField(field);
    });
  }

  /** Plans for another data set: its preset. */
  setData(data, name) {
    const first = !this.#data;
    const kind = this.#data?.info.kind ?? 'pictures';
    this.#data = data;
    if (first || name !== this.#name) byId('train-name').value = `my ${name}`.slice(0, 80);
    this.#name = name;
    const list = data.info.kind !== 'pictures';
    this.#presets = data.presets.map((value) => ({ value, text: NETWORKS[value] ?? OBJECTIVES[value.split('-').at(-1)] }));
    fillSelect(byId('train-preset'), this.#presets, list || data.info.width <= 16 ? this.#presets[0].value : 'small');
    byId('train-preset-label').textContent = list ? 'Objective' : 'Network';
    for (const id of ['train-from', 'train-flip']) byId(id).parentElement.hidden = list;
    // Such small networks are faster there; a reader's own choice stays as long as the data are of one kind.
    if (kind !== data.info.kind) byId('train-device').value = list ? 'cpu' : 'auto';
    this.#choose(byId('train-preset').value);
  }

  #choose(name) {
    const data = this.#data;
    if (!data) return;
    this.#forgetText();
    const preset = (this.#preset = { name, recipe: null });
    this.#want('preset', async () => {
      const { recipe } = await data.plan({ preset: name });
      preset.recipe = JSON.parse(recipe);
      return { recipe };
    });
  }

  /** Takes the text that was typed since it was last looked at. */
  #readText() {
    if (!this.#forgetText()) return;
    const recipe = byId('recipe').value;
    this.#want('text', async () => {
      checkText(recipe);
      return { recipe };
    });
  }

  /** Returns whether there was text that nobody had read. */
  #forgetText() {
    const unread = this.#typing !== 0;
    clearTimeout(this.#typing);
    this.#typing = 0;
    return unread;
  }

  /**
   * Asks for another recipe. `make` gets a promise of the one asked for before, so that nothing is lost while that one is still
   * being planned. `from`: what was changed, 'preset', 'field' or 'text'.
   */
  #want(from, make) {
    if (!this.#data) return;
    const [data, asked, before] = [this.#data, ++this.#asked, this.#wanted];
    const wanted = make(before);
    this.#wanted = wanted;
    this.#measuring.abort();
    this.#settling = (async () => {
      try {
        const { recipe, changes } = await wanted;
        const plan = await data.plan({ recipe, ...changes });
        if (asked === this.#asked) this.#accept(plan, from);
      } catch (error) {
        if (asked === this.#asked) this.#refuse(error, from);
      }
    })();
  }

  #accept(plan, from) {
    this.#plan = plan;
    this.#recipe = JSON.parse(plan.recipe);
    this.#planned(plan);
    byId('recipe-problem').textContent = '';
    byId('recipe').removeAttribute('aria-invalid');
    if (from !== 'text') byId('recipe').value = plan.recipe;
    this.#showPreset();
    for (const field of Object.keys(FIELDS).map(byId)) {
      field.disabled = false;
      // What the reader is typing stays, and so does what is no number yet: the form does not start with it.
      const theirs = this.#typed.has(field.id) || (from === 'field' && !field.checkValidity());
      if (!theirs) this.#showField(field);
    }
    setEnabled(byId('train-start'), true);
    this.measureAgain();
  }

  /** Fields stay as the reader left them, to be changed again. Where the text is at fault, they wait until it is mended. */
  #refuse(error, from) {
    this.#plan = this.#recipe = null;
    byId('recipe-problem').textContent = error.message;
    byId('recipe').setAttribute('aria-invalid', 'true');
    byId('plan-facts').textContent = error.message;
    for (const id of Object.keys(FIELDS)) byId(id).disabled = from === 'text';
    setEnabled(byId('train-start'), false);
    this.#measuring.abort();
  }

  #showField(field) {
    FIELDS[field.id].show(field, this.#recipe);
  }

  /** The preset's name, unless the text has made another network of it. */
  #showPreset() {
    const same = this.#preset && network(this.#recipe) === network(this.#preset.recipe);
    const shown = same ? this.#preset.name : CUSTOM.value;
    if (byId('train-preset').value === shown) return;
    fillSelect(byId('train-preset'), same ? this.#presets : [...this.#presets, CUSTOM], shown);
  }

  /** Times some steps, a moment after the last change. */
  measureAgain() {
    this.#measuring.abort();
    if (!this.#plan || this.#starting) return;
    const [data, plan, { steps }] = [this.#data, this.#plan, this.#recipe];
    const { signal } = (this.#measuring = new AbortController());
    const say = (text) => signal.aborted || (byId('plan-facts').textContent = text);
    say(planSentence(plan, steps, null));
    setTimeout(async () => {
      if (signal.aborted) return;
      try {
        const speed = await data.measure({ recipe: plan.recipe, device: byId('train-device').value, signal });
        say(planSentence(plan, steps, speed));
      } catch (error) {
        if (!['aborted', 'busy', 'disposed'].includes(error.type)) say(error.message);
      }
    }, EDITED);
  }

  /** Trains what is shown: whatever was changed last is planned first. */
  async #submit() {
    if (this.#starting || !this.#data) return;
    this.#starting = true;
    hideProblem();
    try {
      if (!(await this.#dataThere())) return; // which was said where they were chosen
      this.#readText();
      for (let seen; seen !== this.#settling; ) await (seen = this.#settling);
      if (!this.#plan) return showProblem({ type: 'invalid-option', message: byId('recipe-problem').textContent });
      const sampled = byId('train-from').value === 'sampled' && this.#data.info.kind === 'pictures' ? this.#sampledSource() : undefined;
      if (sampled === null) return tell('There is no model to start from.', 'Open one under Sample, or start from scratch');
      this.#measuring.abort();
      setEnabled(byId('train-start'), false);
      byId('setup').inert = true; // what is changed from here on would not be trained
      await this.#start({
        data: this.#data,
        recipe: this.#plan.recipe,
        device: byId('train-device').value,
        name: byId('train-name').value.trim() || 'my model',
        from: sampled,
      });
    } finally {
      this.#starting = false;
      byId('setup').inert = false;
      setEnabled(byId('train-start'), this.#plan !== null);
      if (!byId('setup').hidden) byId('train-start').focus(); // which lost it
    }
  }
}

/** Throws where a text is no recipe that the form can show. */
function checkText(text) {
  let recipe;
  try {
    recipe = JSON.parse(text);
  } catch (error) {
    throw new Error(`this is not JSON: ${error.message}`);
  }
  // Rust has defaults for some of these, but the form shows them and changes them.
  const missing = SHOWN.find((path) => path.split('.').reduce((value, key) => value?.[key], recipe) === undefined);
  if (missing) throw new Error(`\`${missing}\` is missing`);
}

/** A field for a number of the recipe. */
function number(change, get) {
  return {
    change,
    read: ({ value }) => Number(value),
    show: (field, recipe) => {
      if (field.value === '' || Number(field.value) !== get(recipe)) field.value = get(recipe);
    },
  };
}

/** What each field changes, as `TrainingData.plan` names it, and how it shows a recipe. */
const FIELDS = {
  'train-steps': number('steps', ({ steps }) => steps),
  'train-batch': number('batch', ({ batch }) => batch),
  'train-rate': number('learningRate', ({ optimiser }) => optimiser.learning_rate),
  'train-seed': number('seed', ({ seed }) => seed),
  'train-flip': {
    change: 'flip',
    read: ({ checked }) => checked,
    show: (field, { flip }) => (field.checked = flip),
  },
};

/** What makes a recipe another network, written down: all but what the fields change. */
function network({ steps, batch, seed, flip, optimiser, average, ...others }) {
  return JSON.stringify(others, (_, value) =>
    value && typeof value === 'object' && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  );
}
