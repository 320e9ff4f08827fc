// Samplers side by side at equal cost: a row each, a column for each number of the network's evaluations, all from the same noise. Under
// each picture is how far it is from where the exact path leads, which many steps of a good sampler find.

import { h, s } from '../elements.js';
import { samplers } from '../noiseball.js';
import { announce, byId } from './page.js';
import { showError } from './notice.js';
import { OnThePlane } from './plane.js';

const BUDGETS = [4, 6, 10, 20, 50];
/** No column is theirs that find out while they run how often they ask the network, or ask more often than any column. */
const OFFERED = samplers().filter(({ evaluations }) => evaluations && evaluations.perStep + evaluations.more <= BUDGETS.at(-1));
const EXACT = { sampler: 'unipc', steps: 200 };
const [WIDE, HIGH, LEFT, BELOW] = [460, 260, 44, 34]; // of the chart
const MARKS = [
  'M-4 0A4 4 0 1 0 4 0A4 4 0 1 0-4 0Z',
  'M-4-4H4V4H-4Z',
  'M0-5 5 4H-5Z',
  'M0-5 5 0 0 5-5 0Z',
  'M-4-4 4 4M-4 4 4-4',
  'M0-5V5M-5 0H5',
];

export class Compare {
  #model;
  #state;
  #changed;
  #plane = new OnThePlane();
  /** @type {AbortController | null} */
  #work = null;
  /** @type {Map<string, {budget: number, error: number}[]>} by sampler */
  #errors = new Map();

  /** `model()` gives the model that is open, or a promise of it; `changed(names)` is told which samplers are chosen. */
  constructor({ model, state, changed }) {
    [this.#model, this.#state, this.#changed] = [model, state, changed];
    byId('compare-samplers').replaceChildren(
      ...OFFERED.map(({ name, paper }) => {
        const box = h('input', { type: 'checkbox', name: 'solver', value: name });
        box.addEventListener('change', () => this.#choose());
        return h('label', { class: 'check', title: paper }, box, name);
      }),
    );
    byId('compare-start').addEventListener('click', () => (this.#work ? this.stop() : this.run()));
    this.show();
  }

  get #boxes() {
    return [...byId('compare-samplers').querySelectorAll('input')];
  }

  /** Shows which samplers the state has, in an empty table. */
  show() {
    this.stop();
    const names = this.#state.solvers.split(',');
    for (const box of this.#boxes) box.checked = names.includes(box.value);
    this.#empty();
  }

  stop() {
    this.#work?.abort();
    this.#plane.stop();
  }

  #choose() {
    this.stop();
    this.#changed(
      this.#boxes
        .filter(({ checked }) => checked)
        .map(({ value }) => value)
        .join(','),
    );
    this.#empty();
  }

  #empty() {
    this.#errors = new Map();
    const names = this.#boxes.filter(({ checked }) => checked).map(({ value }) => value);
    const head = h('tr', {}, h('th', { scope: 'col' }, 'Sampler'), ...BUDGETS.map((budget) => h('th', { scope: 'col' }, String(budget))));
    const row = (name) => h('tr', { 'data-sampler': name }, h('th', { scope: 'row' }, name), ...BUDGETS.map(() => h('td')));
    byId('compare-head').replaceChildren(head);
    byId('compare-rows').replaceChildren(...names.map(row));
    byId('compare-reference').replaceChildren();
    byId('compare-results').hidden = true; // until there is something in it
    this.#draw();
  }

  /** Computes one picture after the other until all are there, or it is stopped. */
  async run() {
    this.stop();
    this.#empty();
    byId('compare-results').hidden = false;
    const work = new AbortController();
    this.#work = work;
    byId('compare-start').textContent = 'Stop';
    try {
      this.#say('Where the exact path leads: 200 evaluations…');
      const model = await this.#model();
      if (!model) return this.#say('No model is loaded.');
      const exact = await this.#picture(model, EXACT.sampler, Math.min(EXACT.steps, model.info.trainTimesteps), work.signal);
      byId('compare-reference').replaceChildren(pictureOf(exact, 'Where the exact path leads'));
      for (const row of byId('compare-rows').rows) {
        for (const [i, budget] of BUDGETS.entries())
          await this.#fill(row.dataset.sampler, row.cells[i + 1], budget, exact, model, work.signal);
      }
      this.#say('Done.');
    } catch (error) {
      if (error.type !== 'aborted') showError(error);
      if (this.#work === work) this.#say('Stopped.');
    } finally {
      if (this.#work === work) {
        this.#work = null;
        byId('compare-start').textContent = 'Compare';
      }
    }
  }

  #say(text) {
    byId('compare-status').textContent = text;
    announce(text);
  }

  async #fill(sampler, cell, budget, exact, model, signal) {
    byId('compare-status').textContent = `${sampler}, ${budget} evaluations…`;
    const { perStep, more } = OFFERED.find(({ name }) => name === sampler).evaluations;
    const steps = Math.max(1, Math.floor((budget - more) / perStep));
    if (perStep * steps + more > budget) return cell.replaceChildren(h('span', { class: 'hint' }, 'not possible'));
    let step;
    try {
      step = await this.#picture(model, sampler, steps, signal);
    } catch (error) {
      if (error.type !== 'invalid-option') throw error;
      cell.replaceChildren(h('span', { class: 'hint', title: error.message }, 'not possible'));
      return;
    }
    const error = distance(step.latents, exact.latents);
    cell.replaceChildren(pictureOf(step, `${sampler}, ${budget} evaluations`), h('span', {}, error.toPrecision(2)));
    this.#errors.set(sampler, [...(this.#errors.get(sampler) ?? []), { budget, error }]);
    this.#draw();
  }

  /** The last step of a run. */
  async #picture(model, sampler, steps, signal) {
    const { classes, nullLabel, pipeline } = model.info;
    const { label, seed, rng } = this.#state;
    const chosen = /^\d+$/.test(label) && Number(label) < classes ? Number(label) : label === 'any' && nullLabel !== null ? nullLabel : 0;
    // All begin at the same level, whatever their usual grids are.
    const { options } = samplers().find(({ name }) => name === sampler);
    const spaced = options.some(({ name }) => name === 'timestepSpacing');
    let last;
    for await (const step of model.sample({
      sampler,
      steps,
      seed,
      rng,
      signal,
      every: 0,
      ...(classes !== null && { labels: [chosen] }),
      ...(pipeline?.prompt && { prompt: this.#state.prompt }),
      ...(spaced && { timestepSpacing: 'linspace' }),
    }))
      last = step;
    return last;
  }

  /** The chart of error over evaluations, both by their logarithms. */
  #draw() {
    const all = [...this.#errors.values()].flat().map(({ error }) => error);
    const [least, most] = [Math.floor(Math.log10(Math.min(0.01, ...all))), Math.ceil(Math.log10(Math.max(1, ...all)))];
    const x = (budget) => LEFT + (Math.log(budget / BUDGETS[0]) / Math.log(BUDGETS.at(-1) / BUDGETS[0])) * (WIDE - LEFT - 16);
    const y = (error) => 10 + ((most - Math.log10(error)) / (most - least)) * (HIGH - BELOW - 10);
    const lines = [...this.#errors].map(([name, points], i) => {
      const places = points.filter(({ error }) => error > 0).map(({ budget, error }) => [x(budget), y(error)]);
      const marks = places.map(([left, top]) => s('path', { d: MARKS[i % MARKS.length], transform: `translate(${left} ${top})` }));
      return s(
        'g',
        { class: `line line-${i % MARKS.length}`, 'data-sampler': name },
        s('polyline', { points: places.join(' ') }),
        ...marks,
      );
    });
    const decades = Array.from({ length: most - least + 1 }, (_, i) => 10 ** (least + i));
    byId('compare-chart').replaceChildren(
      ...decades.flatMap((error) => [
        s('path', { class: 'grid', d: `M${LEFT} ${y(error)}H${WIDE}` }),
        s('text', { x: LEFT - 6, y: y(error) + 4, 'text-anchor': 'end' }, String(Number(error.toPrecision(1)))),
      ]),
      ...BUDGETS.map((budget) => s('text', { x: x(budget), y: HIGH - BELOW + 18, 'text-anchor': 'middle' }, String(budget))),
      ...lines,
    );
    const key = (name, i) => {
      const mark = s(
        'svg',
        { viewBox: '-8 -6 16 12', class: `line line-${i % MARKS.length}`, 'aria-hidden': 'true' },
        s('path', { d: MARKS[i % MARKS.length] }),
      );
      return h('span', {}, mark, name);
    };
    byId('compare-legend').replaceChildren(...[...this.#errors.keys()].map(key));
  }
}

/** How far two pictures are from each other: the root of the mean square, where values go from −1 to 1. */
export function distance(one, other) {
  let sum = 0;
  for (let i = 0; i < one.length; i++) sum += (one[i] - other[i]) ** 2;
  return Math.sqrt(sum / one.length);
}

function pictureOf({ pictures, width, height }, alt) {
  const canvas = h('canvas', { width, height, role: 'img', 'aria-label': alt });
  canvas.getContext('2d').putImageData(new ImageData(pictures, width, height), 0, 0);
  return canvas;
}
