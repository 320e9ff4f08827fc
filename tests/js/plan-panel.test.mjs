// Training's form: whatever is changed, and whenever, what it shows is what is trained.

import assert from 'node:assert/strict';
import test from 'node:test';
import { installDocument } from './fake-document.mjs';

const byId = installDocument();
const { PlanPanel } = await import('../../www/site/train/plan.js');

const PRESETS = Object.fromEntries(
  [
    ['tiny', 8, 2000],
    ['small', 16, 4000],
    ['medium', 64, 20_000],
  ].map(([name, width, steps]) => [
    name,
    {
      unet: { width },
      scheduler: { num_train_timesteps: 1000 },
      steps,
      batch: 32,
      seed: 0,
      flip: false,
      optimiser: { learning_rate: 0.001, warmup: steps / 20 },
      average: { 'half-life': { steps: steps / 25 } },
    },
  ]),
);

/** What the changes that are asked for mean for a recipe. */
const CHANGED = {
  steps: (recipe, steps) => {
    const share = steps / recipe.steps;
    recipe.optimiser.warmup = Math.floor(recipe.optimiser.warmup * share);
    recipe.average['half-life'].steps *= share;
    recipe.steps = steps;
  },
  batch: (recipe, batch) => (recipe.batch = batch),
  learningRate: (recipe, rate) => (recipe.optimiser.learning_rate = rate),
  seed: (recipe, seed) => (recipe.seed = seed),
  flip: (recipe, flip) => (recipe.flip = flip),
};

/** A data set whose worker answers when it is told to, in the order of the questions. */
class SlowData {
  info = { kind: 'pictures', width: 8 };
  presets = Object.keys(PRESETS);
  #held = [];
  held = true;
  measured = [];

  plan({ preset, recipe, ...changes }) {
    return new Promise((resolve, reject) => {
      this.#held.push(() => {
        const found = preset ? structuredClone(PRESETS[preset]) : JSON.parse(recipe);
        for (const [name, value] of Object.entries(changes)) CHANGED[name](found, value);
        if (found.batch > 1000) reject(new Error('a batch of at most 1000'));
        else resolve({ recipe: JSON.stringify(found), parameters: 1, memory: 1, trainTimesteps: 1000 });
      });
      if (!this.held) this.answer();
    });
  }

  measure({ recipe, signal }) {
    this.measured.push(recipe);
    return new Promise((_, reject) =>
      signal.addEventListener('abort', () => reject(Object.assign(new Error('stopped'), { type: 'aborted' }))),
    );
  }

  answer(count = Infinity) {
    for (const give of this.#held.splice(0, count)) give();
  }
}

const tick = () => new Promise((resolve) => setImmediate(resolve));
const settle = async (data) => {
  for (let i = 0; i < 6; i++) {
    data.answer();
    await tick();
  }
};

const trained = ([{ recipe }]) => JSON.parse(recipe);

async function opened() {
  installDocument();
  const data = new SlowData();
  const started = [];
  const panel = new PlanPanel({
    sampledSource: () => null,
    start: async (options) => started.push(options),
    planned() {},
    dataThere: async () => true,
  });
  panel.setData(data, 'digits');
  await settle(data);
  return { data, started, panel };
}

const type = (id, value) => () => {
  byId(id).dispatch('input');
  byId(id).value = String(value);
  byId(id).dispatch('change');
};
const choose = (name) => () => {
  byId('train-preset').value = name;
  byId('train-preset').dispatch('change');
};
const write = (change) => () => {
  const recipe = JSON.parse(byId('recipe').value);
  change(recipe);
  byId('recipe').value = JSON.stringify(recipe);
  byId('recipe').dispatch('input');
};

/** Every change that the form offers, and what it means for the recipe that was there. */
const CHANGES = {
  rate: [type('train-rate', 0.01), (recipe) => CHANGED.learningRate(recipe, 0.01)],
  steps: [type('train-steps', 100), (recipe) => CHANGED.steps(recipe, 100)],
  batch: [type('train-batch', 8), (recipe) => CHANGED.batch(recipe, 8)],
  seed: [type('train-seed', 5), (recipe) => CHANGED.seed(recipe, 5)],
  flip: [() => ((byId('train-flip').checked = true), byId('train-flip').dispatch('change')), (recipe) => CHANGED.flip(recipe, true)],
  small: [choose('small'), () => structuredClone(PRESETS.small)],
  medium: [choose('medium'), () => structuredClone(PRESETS.medium)],
};

function shown() {
  return {
    steps: Number(byId('train-steps').value),
    batch: Number(byId('train-batch').value),
    seed: Number(byId('train-seed').value),
    flip: byId('train-flip').checked,
    rate: Number(byId('train-rate').value),
  };
}

const partsOf = ({ steps, batch, seed, flip, optimiser }) => ({ steps, batch, seed, flip, rate: optimiser.learning_rate });

// When the second change comes: at once, after the first answer to the first change, or while the speed is measured.
const MOMENTS = {
  'at once': async () => {},
  'while it is planned': async (data) => (data.answer(1), await tick()),
  'while it is measured': settle,
};

for (const [moment, wait] of Object.entries(MOMENTS)) {
  test(`two changes, the second ${moment}: what is shown is what is trained`, async () => {
    for (const [first, [change, expect]] of Object.entries(CHANGES)) {
      for (const [second, [changeMore, expectMore]] of Object.entries(CHANGES)) {
        const { data, started } = await opened();
        let expected = structuredClone(PRESETS.tiny);
        const apply = (meaning) => {
          const made = meaning(expected);
          if (typeof made === 'object') expected = made;
        };
        change();
        apply(expect);
        await wait(data);
        changeMore();
        apply(expectMore);
        byId('train-form').dispatch('submit');
        await settle(data);
        assert.deepEqual(started.length, 1, `${first}, ${second}`);
        assert.deepEqual(trained(started), expected, `${first}, ${second}`);
        assert.deepEqual(shown(), partsOf(expected), `${first}, ${second}`);
        assert.deepEqual(JSON.parse(byId('recipe').value), expected, `${first}, ${second}`);
        const preset = { 8: 'tiny', 16: 'small', 64: 'medium' }[expected.unet.width];
        assert.equal(byId('train-preset').value, preset, `${first}, ${second}`);
      }
    }
  });
}

test('a network of the text is not called by a preset’s name, and comes back to it', async () => {
  const { data, started } = await opened();
  write((recipe) => (recipe.unet.width = 12))();
  type('train-steps', 100)(); // the text is read first
  byId('train-form').dispatch('submit');
  await settle(data);
  assert.equal(byId('train-preset').value, 'custom');
  assert.equal(trained(started).unet.width, 12);
  assert.equal(trained(started).steps, 100);
  byId('recipe-reset').dispatch('click');
  await settle(data);
  assert.equal(byId('train-preset').value, 'tiny');
  assert.deepEqual(JSON.parse(byId('recipe').value), PRESETS.tiny);
});

test('what the reader is typing is not written over by an answer', async () => {
  const { data } = await opened();
  type('train-rate', 0.01)();
  byId('train-steps').value = '12';
  byId('train-steps').dispatch('input');
  await settle(data);
  assert.equal(byId('train-steps').value, '12');
  byId('train-steps').value = '2000'; // as it was: browsers announce no change
  byId('train-steps').dispatch('blur');
  assert.equal(Number(byId('train-steps').value), 2000);
});

test('many lengths one after another keep the share of warm-up and average', async () => {
  const { data, started } = await opened();
  for (const steps of [1, 7, 2000]) {
    type('train-steps', steps)();
    await settle(data);
  }
  byId('train-form').dispatch('submit');
  await settle(data);
  assert.deepEqual(trained(started), PRESETS.tiny);
});

test('a setting that is refused stays to be changed; nothing is trained meanwhile', async () => {
  const { data, started } = await opened();
  type('train-batch', 1024)();
  await settle(data);
  assert.equal(byId('train-start').getAttribute('aria-disabled'), 'true');
  assert.match(byId('plan-facts').textContent, /at most 1000/);
  byId('train-form').dispatch('submit');
  await settle(data);
  assert.equal(started.length, 0);
  type('train-rate', 0.01)();
  type('train-batch', 64)();
  byId('train-form').dispatch('submit');
  await settle(data);
  assert.deepEqual(partsOf(trained(started)), { steps: 2000, batch: 64, seed: 0, flip: false, rate: 0.01 });
});

test('a seed that no double holds is trained as it was written', async () => {
  const { data, started } = await opened();
  byId('recipe').value = JSON.stringify(PRESETS.tiny).replace('"seed":0', '"seed":9007199254740993');
  byId('recipe').dispatch('input');
  data.plan = async ({ recipe }) => ({ recipe, parameters: 1, memory: 1, trainTimesteps: 1000 }); // as Rust does, which has 64 bits
  byId('train-form').dispatch('submit');
  await settle(data);
  assert.match(started[0].recipe, /"seed":9007199254740993/);
});

test('text that is no recipe is not trained, and fields wait until it is one', async () => {
  for (const text of ['{', 'null', '[]', '3', '"x"', JSON.stringify({ ...PRESETS.tiny, optimiser: {} })]) {
    const { data, started } = await opened();
    byId('recipe').value = text;
    byId('recipe').dispatch('input');
    byId('train-form').dispatch('submit');
    await settle(data);
    assert.equal(started.length, 0, text);
    assert.equal(byId('recipe').value, text);
    assert.equal(byId('train-steps').disabled, true);
    assert.match(byId('recipe-problem').textContent, /no.? JSON|is missing/);
    byId('recipe-reset').dispatch('click');
    await settle(data);
    assert.equal(byId('train-steps').disabled, false);
    byId('train-form').dispatch('submit');
    await settle(data);
    assert.deepEqual(trained(started), PRESETS.tiny);
  }
});
