// The network and the run: presets, the settings most people change, the whole recipe for experts, and what it all takes.

import { isList, TOYS } from '../../train/toys.js';
import { byId, fillSelect, setEnabled } from '../page.js';
import { hideProblem, showProblem } from './notice.js';
import { OBJECTIVES, planSentence } from './words.js';

const PRESETS = [
  { value: 'tiny', text: 'Tiny' },
  { value: 'small', text: 'Small' },
  { value: 'medium', text: 'Medium' },
];
const UNITS = { pictures: 'Pictures', points: 'Points', bits: 'Sequences' };
const EDITED = 400; // milliseconds after the last key

export class PlanPanel {
  #sampledSource;
  #start;
  #planned;
  #data = null;
  #recipe = null; // as an object, valid
  #plan = null;
  #measuring = new AbortController();
  #asked = 0;
  #typing = 0;
  #starting = false;

  /** `planned({recipe, trainTimesteps})` is called with every recipe that Rust accepts. */
  constructor({ sampledSource, start, planned }) {
    this.#sampledSource = sampledSource;
    this.#start = start;
    this.#planned = planned;
    byId('train-preset').addEventListener('change', () => this.#preset());
    byId('recipe-reset').addEventListener('click', () => this.#preset());
    for (const [id, apply] of Object.entries(FIELDS)) {
      byId(id).addEventListener('change', () => {
        if (!this.#recipe || !byId(id).checkValidity()) return byId(id).reportValidity();
        const recipe = structuredClone(this.#recipe);
        apply(recipe, byId(id));
        this.#check(recipe, true);
      });
    }
    byId('train-device').addEventListener('change', () => this.measureAgain());
    byId('recipe').addEventListener('input', () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#edited(), EDITED);
    });
    byId('train-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    });
  }

  /** Plans for another data set: its preset. */
  setData(data, name) {
    const first = !this.#data;
    const kind = this.#data?.info.kind ?? 'pictures';
    this.#data = data;
    this.#asked++; // what is still on its way is of other data
    if (first || name !== this.#name) byId('train-name').value = `my ${name}`.slice(0, 80);
    this.#name = name;
    const list = isList(data.info);
    if (list)
      fillSelect(
        byId('train-preset'),
        TOYS[name].objectives.map((objective) => ({ value: `${name}-${objective}`, text: OBJECTIVES[objective] })),
      );
    else fillSelect(byId('train-preset'), PRESETS, data.info.width <= 16 ? 'tiny' : 'small');
    byId('train-preset-label').textContent = list ? 'Objective' : 'Network';
    byId('train-batch-label').textContent = `${UNITS[data.info.kind]} a step`;
    for (const id of ['train-from', 'train-flip']) byId(id).parentElement.hidden = list;
    // Such small networks are faster there; a reader's own choice stays as long as the data are of one kind.
    if (kind !== data.info.kind) byId('train-device').value = list ? 'cpu' : 'auto';
    this.#preset();
  }

  #name = null;

  async #preset() {
    if (!this.#data) return;
    try {
      const { recipe } = await this.#data.plan({ preset: byId('train-preset').value });
      await this.#check(JSON.parse(recipe), true);
    } catch (error) {
      this.#refuse(error);
    }
  }

  #edited() {
    try {
      return this.#check(JSON.parse(byId('recipe').value), false);
    } catch (error) {
      this.#refuse({ message: `this is not JSON: ${error.message}` });
    }
  }

  /** Takes the recipe where Rust accepts it. `write` puts it into the text, which the reader is else typing. */
  async #check(recipe, write) {
    if (!this.#data) return;
    const asked = ++this.#asked;
    try {
      const plan = await this.#data.plan({ recipe });
      if (asked !== this.#asked) return;
      this.#recipe = recipe;
      this.#plan = plan;
      this.#planned({ recipe, trainTimesteps: plan.trainTimesteps });
      byId('recipe-problem').textContent = '';
      byId('recipe').removeAttribute('aria-invalid');
      if (write) byId('recipe').value = JSON.stringify(recipe, null, 2);
      this.#show();
      this.measureAgain();
    } catch (error) {
      if (asked === this.#asked) this.#refuse(error);
    }
  }

  #refuse(error) {
    byId('recipe-problem').textContent = error.message;
    byId('recipe').setAttribute('aria-invalid', 'true');
    byId('plan-facts').textContent = error.message;
    this.#recipe = null;
    setEnabled(byId('train-start'), false);
    this.#measuring.abort();
  }

  #show() {
    const { steps, batch, seed, flip, optimiser } = this.#recipe;
    byId('train-steps').value = steps;
    byId('train-batch').value = batch;
    byId('train-rate').value = optimiser.learning_rate;
    byId('train-seed').value = seed;
    byId('train-flip').checked = flip;
    byId('plan-facts').textContent = planSentence(this.#plan, steps, null);
    setEnabled(byId('train-start'), true);
  }

  /** Times some steps, a moment after the last change. */
  measureAgain() {
    this.#measuring.abort();
    if (!this.#recipe || this.#starting) return;
    const asked = this.#asked;
    const { signal } = (this.#measuring = new AbortController());
    const measure = async () => {
      const [plan, { steps }] = [this.#plan, this.#recipe ?? {}];
      try {
        const measured = await this.#data.measure({ recipe: this.#recipe, device: byId('train-device').value, signal });
        if (asked === this.#asked && this.#recipe) byId('plan-facts').textContent = planSentence(plan, steps, measured);
      } catch (error) {
        if (asked === this.#asked && !['aborted', 'busy', 'disposed'].includes(error.type)) byId('plan-facts').textContent = error.message;
      }
    };
    setTimeout(() => signal.aborted || measure(), EDITED);
  }

  async #submit() {
    if (!this.#recipe || this.#starting) return;
    hideProblem();
    const sampled = byId('train-from').value === 'sampled' && !isList(this.#data.info) ? this.#sampledSource() : undefined;
    if (sampled === null) return showProblem({ type: 'invalid-option', message: 'no model is open under Sample' });
    this.#starting = true;
    this.#measuring.abort();
    setEnabled(byId('train-start'), false);
    try {
      await this.#start({
        data: this.#data,
        recipe: this.#recipe,
        device: byId('train-device').value,
        name: byId('train-name').value.trim() || 'my model',
        from: sampled,
      });
    } finally {
      this.#starting = false;
      setEnabled(byId('train-start'), true);
    }
  }
}

/** How each field changes the recipe. Warm-up and average keep their share of another length. */
const FIELDS = {
  'train-steps': (recipe, { value }) => {
    const steps = Number(value);
    recipe.optimiser.warmup = Math.round((recipe.optimiser.warmup / recipe.steps) * steps);
    const average = recipe.average['half-life'];
    if (average) average.steps = Math.max(1, (average.steps / recipe.steps) * steps);
    recipe.steps = steps;
  },
  'train-batch': (recipe, { value }) => (recipe.batch = Number(value)),
  'train-rate': (recipe, { value }) => (recipe.optimiser.learning_rate = Number(value)),
  'train-seed': (recipe, { value }) => (recipe.seed = Number(value)),
  'train-flip': (recipe, { checked }) => (recipe.flip = checked),
};
