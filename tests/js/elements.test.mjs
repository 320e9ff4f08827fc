// The elements without a browser: their table and what is made of it, attributes, classes, shared models. tests/e2e/elements.spec.mjs
// has the rest.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { made } from '../../tools/build/elements.mjs';
import { root } from '../../tools/setup/shell.mjs';
import { ELEMENTS } from '../../www/elements/api.js';
import { choiceOf, choicesOf, hasMenu, labelsOf } from '../../www/elements/classes.js';
import { check } from '../../www/elements/check.js';
import { fits, option, propertyOf } from '../../www/elements/element.js';
import { borrow, borrowGiven } from '../../www/elements/models.js';
import { usualRun } from '../../www/usual.js';
import { SAMPLERS } from '../../www/samplers.js';
import { failure } from '../../www/elements/words.js';
import { DiffusionProcess, DiffusionSampler, DiffusionTrainer } from '../../www/elements.js';
import { ERROR_TYPES } from '../../www/errors.js';
import { Noiseball, readSamplerOptions, writeSamplerOptions } from '../../www/noiseball.js';
import * as engine from './fake-engine.mjs';
import { checkpointFiles, FakeCaches, installWorker, served, serveFiles } from './web-fakes.mjs';

const CLASSES = { DiffusionSampler, DiffusionTrainer, DiffusionProcess };
const folder = join(root, 'www', 'elements');
const source = readdirSync(folder)
  .filter((name) => name.endsWith('.js') && !/^(api|attributes)\.js$/.test(name))
  .map((name) => readFileSync(join(folder, name), 'utf8'))
  .join('\n');

/** All first groups of a pattern in the elements' source. */
const named = (pattern) => [...new Set([...source.matchAll(pattern)].map(([, name]) => name))].sort();

test('what is made of the table is as new as the table', () => {
  for (const [path, text] of Object.entries(made())) {
    assert.ok(readFileSync(join(root, path), 'utf8') === text, `${path} is old: run \`node tools/build/elements.mjs\``);
  }
});

for (const [tag, element] of Object.entries(ELEMENTS)) {
  test(`<${tag}> has just the properties and methods of the table`, () => {
    const CALLED_BY_BROWSERS = ['constructor', 'connectedCallback', 'disconnectedCallback', 'attributeChangedCallback'];
    const { prototype, observedAttributes } = CLASSES[element.name];
    const found = {};
    for (let at = prototype; at !== Object.prototype; at = Object.getPrototypeOf(at)) {
      for (const [name, property] of Object.entries(Object.getOwnPropertyDescriptors(at))) found[name] ??= property;
    }
    const own = Object.keys(found).filter((name) => !CALLED_BY_BROWSERS.includes(name));
    const listed = [element.attributes, element.properties, element.methods].flatMap(Object.keys).map(propertyOf);
    assert.deepEqual(own.sort(), listed.sort());
    assert.deepEqual(observedAttributes, Object.keys(element.attributes));
    for (const [name, { writable = false }] of Object.entries(element.properties))
      assert.equal(found[name].set !== undefined, writable, name);
  });

  test(`everything of <${tag}> is explained`, () => {
    for (const part of ['attributes', 'properties', 'methods', 'events', 'slots', 'parts', 'customProperties']) {
      for (const [name, row] of Object.entries(element[part])) {
        const about = typeof row === 'string' ? row : row.about;
        assert.ok(about?.length > 5 && !about.includes('\n'), `${part}: ${name}`);
      }
    }
  });
}

test('the table has just the events, slots, parts and custom properties that there are', () => {
  const listed = (part) => [...new Set(Object.values(ELEMENTS).flatMap((element) => Object.keys(element[part])))].sort();
  assert.deepEqual(named(/emit\([\w.#]+, '([\w-]+)'/g), listed('events'));
  assert.deepEqual(named(/part: '([\w-]+)'/g), listed('parts'));
  assert.deepEqual(named(/var\((--noiseball-[\w-]+)/g), listed('customProperties'));
  assert.deepEqual(
    named(/h\('slot', \{ name: '([\w-]+)'/g),
    listed('slots').filter((name) => name !== ''),
  );
});

/** An element with these attributes, and no document. */
const fake = (tag, attributes) => ({ localName: tag, getAttribute: (name) => attributes[name] ?? null });

/** What `action` writes on the console. */
function warnings(action) {
  const said = [];
  const { warn } = console;
  console.warn = (text) => said.push(text);
  try {
    action();
  } finally {
    console.warn = warn;
  }
  return said;
}

test('attributes are understood, or replaced by their defaults with a warning that names what is allowed', () => {
  const given = { seed: ' 12 ', steps: '0', loading: 'soon', device: 'cpu', controls: 'seed tune  run', batch: '1e1', alt: 'Faces ' };
  const element = fake('diffusion-sampler', given);
  const values = Object.fromEntries(
    ['seed', 'steps', 'loading', 'device', 'controls', 'batch', 'alt', 'reveal'].map((name) => [name, option(element, name)]),
  );
  assert.deepEqual(values, {
    seed: 12,
    steps: 20,
    loading: 'lazy',
    device: 'cpu',
    controls: ['seed', 'run'],
    batch: 4,
    alt: 'Faces',
    reveal: 'interaction',
  });
  assert.deepEqual(
    warnings(() => {
      for (const name of Object.keys(given)) if (!fits(element, name)) check(element, name);
    }),
    [
      '<diffusion-sampler>: steps="0" is not possible; “20” is used instead. Allowed: a whole number from 1 to 1000.',
      '<diffusion-sampler>: loading="soon" is not possible; “lazy” is used instead. Allowed: auto, lazy, eager.',
      '<diffusion-sampler>: controls="tune" is not possible; it is left out. Allowed: run, play, speed, prompt, negative-prompt, init, mask, class, seed, sampler, steps, guidance, scrub, guess, files, save, embed, device.',
      '<diffusion-sampler>: batch="1e1" is not possible; “4” is used instead. Allowed: a whole number from 1 to 64.',
    ],
  );
  const noise = (text) => option(fake('diffusion-process', { noise: text }), 'noise');
  assert.deepEqual(['0.25', '.5', '1', '1e-7', '1.1', '-1', 'x'].map(noise), [0.25, 0.5, 1, 1e-7, 0, 0, 0]);
  assert.deepEqual(option(fake('diffusion-sampler', { controls: '' }), 'controls'), []);
});

test('classes are chosen by number or name, any of them where the model knows that', () => {
  const info = { classes: 3, nullLabel: 2, labels: ['happy', 'sad', 'any'] };
  const choices = choicesOf(info);
  assert.deepEqual(choices, [
    { value: 'any', text: 'Any' },
    { value: 'each', text: 'One of each' },
    { value: '0', text: 'happy' },
    { value: '1', text: 'sad' },
  ]);
  const labels = (text, batch = 3) => labelsOf(info, choiceOf(info, text).value, batch);
  assert.deepEqual(
    [labels('any'), labels('each'), labels('1'), labels('happy', 2)],
    [
      [2, 2, 2],
      [0, 1, 0],
      [1, 1, 1],
      [0, 0],
    ],
  );
  for (const none of ['angry', '2', '3', '-1', '1.5', '01', '99999999999999999999']) assert.equal(choiceOf(info, none), undefined, none);
  assert.deepEqual(choicesOf({ classes: null, nullLabel: null, labels: null }), []);
  const unnamed = { classes: 2, nullLabel: null, labels: null };
  assert.deepEqual(
    choicesOf(unnamed).map(({ text }) => text),
    ['One of each', 'Class 0', 'Class 1'],
  );
});

test('a run begins as the model’s own scheduler says, and not through all timesteps', () => {
  assert.deepEqual(usualRun(null), { sampler: 'ddim', steps: 20 });
  assert.deepEqual(usualRun({ sampler: 'of another version' }), { sampler: 'ddim', steps: 20 });
  assert.deepEqual(usualRun({ sampler: 'lcm' }), { sampler: 'lcm', steps: 4 });
  assert.deepEqual(usualRun({ sampler: 'consistency' }), { sampler: 'consistency', steps: 1 });
  for (const { name, defaultSteps } of SAMPLERS) {
    const { sampler, steps } = usualRun({ sampler: name });
    assert.equal(sampler, defaultSteps === null ? 'ddim' : name);
    assert.ok(steps >= 1 && steps <= 20, name);
  }
});

test('no menu is made of many classes: their numbers are typed', () => {
  for (const classes of [257, 1000, 2 ** 20]) {
    const info = { classes, nullLabel: null, labels: null };
    assert.equal(hasMenu(info), false);
    assert.deepEqual(choicesOf(info), [{ value: 'each', text: 'One of each' }]);
    assert.deepEqual(choiceOf(info, '256'), { value: '256', text: 'Class 256' });
    assert.equal(choiceOf(info, String(classes)), undefined);
    assert.deepEqual(labelsOf(info, '256', 2), [256, 256]);
  }
  const named = { classes: 2, nullLabel: null, labels: ['cat', 'dog\u{1b}[2J'] };
  assert.deepEqual(choicesOf(named).at(-1), { value: '1', text: 'dog\\u{1b}[2J' });
});

test('a sampler’s options are read from a text as far as they can be so, and written again', () => {
  const text = 'solverOrder=3, grid=karras,eta=1,sChurn=2,lowerOrderFinal=false,solverType=heun';
  const options = readSamplerOptions('dpm-multistep', text);
  assert.deepEqual(options, { solverOrder: 3, solverType: 'heun', grid: 'karras', lowerOrderFinal: false });
  assert.deepEqual(readSamplerOptions('dpm-multistep', writeSamplerOptions(options)), options);
  for (const wrong of ['solverOrder=4', 'solverOrder=1.5', 'solverOrder=', 'grid=magic', 'lowerOrderFinal=maybe', 'solverOrder', '=', ''])
    assert.deepEqual(readSamplerOptions('dpm-multistep', wrong), {}, wrong);
  assert.deepEqual(readSamplerOptions('no-sampler', text), {});
  const lists = { sigmas: [14.6, 3, 0.5, 0] };
  assert.equal(writeSamplerOptions(lists), 'sigmas=14.6:3:0.5:0');
  assert.deepEqual(readSamplerOptions('euler', 'sigmas=14.6:3:0.5:0'), lists);
  for (const wrong of ['timesteps=1:2', 'timesteps=9:9', 'timesteps=2.5', 'timesteps=9::1', 'sigmas=x:1', 'sigmas=1:-1'])
    assert.deepEqual(readSamplerOptions('euler', wrong), {}, wrong);
});

test('every failure of loading and sampling has a sentence, short and whole', () => {
  const others = ['busy', 'disposed', 'resume', 'no-browser', 'aborted'];
  for (const type of ERROR_TYPES.filter((type) => !others.includes(type))) {
    const sentence = failure({ type });
    assert.match(sentence, /^[A-Z].{10,70}\.$/);
    assert.notEqual(sentence, failure({ type: 'busy' }), type);
  }
  assert.match(failure({ type: 'fetch' }, false), /offline/);
});

// ---- Shared models ----

const CPU = { device: 'cpu', variant: undefined };
let workers;
before(() => (workers = installWorker(engine)));

/** A test of models that a server has at `url`, after which none is left. */
function withModel(name, body) {
  test(name, async () => {
    globalThis.caches = new FakeCaches();
    const server = await serveFiles(served(checkpointFiles()));
    try {
      await body({ url: `${server.url}model/`, missing: `${server.url}nothing/`, requests: server.requests });
      await soon(() => engine.alive.models === 0);
    } finally {
      await server.close();
    }
  });
}

/** Waits until something is so. */
async function soon(condition) {
  for (let i = 0; i < 200 && !condition(); i++) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.ok(condition());
}

withModel('elements with the same model share it, and the last one frees it', async ({ url, requests }) => {
  const progress = [];
  const loans = Array.from({ length: 10 }, () => borrow(url, CPU, (state) => progress.push(state)));
  const models = await Promise.all(loans.map(({ model }) => model));
  assert.equal(new Set(models).size, 1);
  assert.equal(engine.alive.models, 1);
  assert.equal(workers.length, 1);
  assert.equal(requests.filter((line) => line.endsWith('.safetensors')).length, 1);
  assert.ok(progress.length >= 10);
  const other = borrow(url, { ...CPU, variant: 'fp16' }, () => {});
  await assert.rejects(other.model, { type: 'checkpoint' });
  other.release();
  for (const loan of loans.slice(1)) loan.release();
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(engine.alive.models, 1);
  loans[0].release();
  await soon(() => engine.alive.models === 0);
  const again = borrow(url, CPU, () => {});
  assert.notEqual(await again.model, models[0]);
  again.release();
});

withModel('a load that nobody waits for any more is ended, and one that failed is tried again', async ({ url, missing }) => {
  const loan = borrow(url, CPU, () => {});
  loan.release();
  await assert.rejects(loan.model, { type: 'aborted' });
  const first = borrow(missing, CPU, () => {});
  await assert.rejects(first.model, { type: 'fetch' });
  const second = borrow(missing, CPU, () => {});
  assert.notEqual(second.model, first.model);
  await assert.rejects(second.model, { type: 'fetch' });
  for (const loan of [first, second]) loan.release();
});

withModel('runs of a shared model take turns; one that nobody sees gives way, and who leaves the queue is forgotten', async ({ url }) => {
  const [a, b, c] = Array.from({ length: 3 }, () => borrow(url, CPU, () => {}));
  await a.model;
  const order = [];
  const never = new AbortController().signal;
  await a.begin(never);
  const [leaving, waits] = [new AbortController(), b.begin(never).then(() => order.push('b'))];
  const left = c.begin(leaving.signal);
  leaving.abort();
  await assert.rejects(left, { type: 'aborted' });
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual(order, []);
  a.interrupt = () => {
    order.push('a interrupted');
    a.end();
  };
  a.pause(true);
  await waits;
  assert.deepEqual(order, ['a interrupted', 'b']);
  b.release(); // in the middle of its run
  await c.begin(never);
  for (const loan of [a, c]) loan.release();
});

withModel('a model that the page has loaded is lent to elements, and stays the page’s', async ({ url }) => {
  const model = await Noiseball.load(url, { device: 'cpu' });
  const loan = borrowGiven(model);
  assert.equal(await loan.model, model);
  loan.release();
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(engine.alive.models, 1);
  const again = borrowGiven(model);
  await again.begin(new AbortController().signal);
  again.release();
  model.dispose();
});
