// The parts of the page that need no document: the scrubber's memory and what the page says.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import test from 'node:test';
import { root } from '../../tools/setup/shell.mjs';
import { ERROR_TYPES } from '../../www/errors.js';
import { History } from '../../www/elements/history.js';
import { isModel, isPictures } from '../../www/site/dropped.js';
import { LoadingBar, loading, TITLES } from '../../www/site/words.js';
import { amount, bytes, deviceSentence, duration, moment, roughly } from '../../www/words.js';

test('the site is made of what every page can have: it imports the package’s entries alone', () => {
  const own = /^www\/(site|story)\//;
  const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const entries = Object.values(exports).map((entry) => posix.normalize(entry.default ?? entry));
  const within = (folder) =>
    readdirSync(join(root, folder), { recursive: true }).map((path) => posix.join(folder, path.replaceAll('\\', '/')));
  const sources = [...within('www/site'), ...within('www/story'), 'index.html', 'story.html'].filter((path) => /\.(js|html)$/.test(path));
  const imports = sources.flatMap((path) => {
    const text = readFileSync(join(root, path), 'utf8').replace(/^\s*(\/\/|\*|\/\*).*$/gm, '');
    const form = path.endsWith('.html') ? /<script [^>]*src="([^"]+)"/g : /\b(?:from|import|import\()\s*'([^']+)'/g;
    return [...text.matchAll(form)].map(([, name]) => ({ path, of: posix.join(posix.dirname(path), name) }));
  });
  assert.deepEqual(
    imports.filter(({ of }) => !own.test(of) && !entries.includes(of)),
    [],
  );
  for (const name of ['noiseball', 'elements', 'training', 'words', 'forward', 'painting'])
    assert.ok(
      imports.some(({ of }) => of === `www/${name}.js`),
      `${name}.js was not found: this test looks in the wrong places`,
    );
});

const step = (index, total, size = 100) => ({
  index,
  total,
  pictures: new Uint8ClampedArray(size),
  predicted: new Uint8ClampedArray(size),
});

test('a run that fits is kept whole', () => {
  const history = new History(4000);
  for (let i = 0; i < 20; i++) history.add(step(i, 20));
  assert.deepEqual(
    history.steps.map(({ index }) => index),
    Array.from({ length: 20 }, (_, i) => i),
  );
});

test('a run over the budget is thinned evenly, with its ends kept at every moment', () => {
  const history = new History(2000); // ten states
  for (let i = 0; i < 1000; i++) {
    history.add(step(i, 1000));
    assert.ok(history.bytes <= 2000);
    assert.equal(history.steps[0].index, 0);
    assert.equal(history.steps.at(-1).index, i);
  }
  const kept = history.steps.map(({ index }) => index);
  const gaps = kept.slice(1, -1).map((index, i) => index - kept[i]);
  assert.equal(new Set(gaps).size, 1, `uneven: ${kept}`);
  assert.ok(kept.length >= 5, `too thin: ${kept}`);
});

test('states larger than the budget still leave the first and the last', () => {
  const history = new History(10);
  for (let i = 0; i < 7; i++) history.add(step(i, 7));
  assert.deepEqual(
    history.steps.map(({ index }) => index),
    [0, 6],
  );
});

test('numbers read as people say them', () => {
  assert.deepEqual([bytes(0), bytes(999), bytes(4_194_304), bytes(52_300_000)], ['0 B', '999 B', '4.2 MB', '52 MB']);
  assert.deepEqual([amount(950), amount(1_234_567), amount(999_900)], ['950', '1.2 million', '1.0 million']);
  assert.deepEqual([duration(1234), duration(59_400), duration(59_600), duration(83_000)], ['1.2 s', '59 s', '1 min 0 s', '1 min 23 s']);
});

test('an estimate is as exact as it can be, and no more', () => {
  assert.deepEqual([90_000, 543_000, 4_569_000, 7_200_000, 86_000_000, 300_000_000].map(roughly), [
    '1 min 30 s',
    '9 min',
    '1 h 16 min',
    '2 h',
    '23 h 53 min',
    '3 days',
  ]);
  for (let time = 1; time < 1e10; time *= 1.37) assert.doesNotMatch(roughly(time), /6\d (s|min)|[1-9]\d+ min \d+ s/, `${time}`);
  assert.equal(duration(4_569_000), '1 h 16 min');
});

test('a state says how much noise is left in the pictures that are shown', () => {
  assert.equal(moment({ index: 0, total: 20, noise: 0.9871 }), 'Step 0 of 20: pure noise');
  assert.equal(moment({ index: 7, total: 20, noise: 0.512 }), 'Step 7 of 20 · noise left: 51 %');
  assert.equal(moment({ index: 19, total: 20, noise: 0.0012 }), 'Step 19 of 20 · noise left: 0.1 %');
  assert.equal(moment({ index: 20, total: 20, noise: null }), 'Step 20 of 20: finished');
  assert.equal(moment({ index: 7, total: 20, noise: null }), 'Step 7 of 20: stopped here');
});

test('a load’s bar runs to its end once', () => {
  const bar = new LoadingBar();
  const at = (file, loaded, total) => bar.take({ stage: 'download', file, loaded, total });
  const fractions = [
    at('unet/config.json', 900, 900),
    at('noiseball_bg.wasm', 5000, 5000),
    at('unet/a.safetensors', 5000, 10_000),
    at('unet/a.safetensors', 10_000, 10_000),
    at('unet/b.safetensors', 10_000, 20_000),
    bar.take({ stage: 'compile', loaded: 0, total: 1, file: null }),
  ];
  assert.ok(fractions[1] < 0.01, 'what is small says little');
  assert.deepEqual(fractions.slice(2), [0.45, 0.9, 0.9, 0.95], 'never back');
  assert.deepEqual(
    fractions,
    fractions.toSorted((a, b) => a - b),
  );
  assert.equal(bar.take({ stage: 'compile', loaded: 1, total: 1, file: null }), 1);
});

test('what belongs to the page’s other part is known by its files’ names', () => {
  const files = (...paths) => ({ kind: 'files', files: paths.map((path) => ({ path })) });
  const model = ['m/model_index.json', 'm/unet/config.json', 'm/unet/diffusion_pytorch_model.safetensors'];
  for (const paths of [model, ['unet/diffusion_pytorch_model.bin'], ['x.safetensors'], [...model, 'm/samples.png']]) {
    assert.deepEqual([isModel(files(...paths)), isPictures(files(...paths))], [true, false], `${paths}`);
  }
  const many = Array.from({ length: 20 }, (_, i) => `cats/${i}.JPG`);
  for (const paths of [many, ['digits.npz'], ['train-images-idx3-ubyte.gz'], ['a.png', 'notes.txt']]) {
    assert.deepEqual([isModel(files(...paths)), isPictures(files(...paths))], [false, true], `${paths}`);
  }
  // Pictures to train on may lie beside a model, or beside other JSON; what is in an archive nobody knows.
  for (const paths of [[...many, 'out/unet/diffusion_pytorch_model.safetensors'], [...many, 'config.json'], ['x.zip'], ['notes.txt']]) {
    assert.deepEqual([isModel(files(...paths)), isPictures(files(...paths))], [false, false], `${paths}`);
  }
  assert.equal(isPictures({ kind: 'url', url: 'https://example.org/a.png' }), false);
});

test('a load says how far it is, also where nobody knows how far it has to go', () => {
  assert.equal(loading({ stage: 'download', loaded: 1e6, total: 4e6 }, 'm'), 'Loading m: 1.0 MB of 4.0 MB');
  assert.equal(loading({ stage: 'download', loaded: 1e6, total: null }, 'm'), 'Loading m: 1.0 MB');
  assert.equal(loading({ stage: 'compile', loaded: 0, total: 1 }, 'm'), 'Preparing m…');
});

test('every error but an abort has a title, and every device its sentence', () => {
  assert.deepEqual(Object.keys(TITLES).sort(), ERROR_TYPES.filter((type) => type !== 'aborted').sort());
  assert.deepEqual(deviceSentence({ kind: 'gpu', name: 'acme one', reason: null }), {
    sentence: 'Running on the GPU: acme one.',
    more: '',
  });
  assert.equal(deviceSentence({ kind: 'cpu', name: 'CPU', reason: null }).sentence, 'Running on the CPU.');
  assert.equal(
    deviceSentence({ kind: 'cpu', name: 'CPU', reason: 'no-adapter' }).sentence,
    'Running on the CPU: your browser found no usable GPU.',
  );
  for (const reason of ['insecure-context', 'no-webgpu', 'no-adapter', 'software-adapter', 'wrong-results', 'limit', 'out-of-memory']) {
    const { sentence, more } = deviceSentence({ kind: 'cpu', name: 'CPU', reason });
    assert.match(sentence, /^Running on the CPU: .{20,}\.$/);
    assert.match(more, /^.{20,}\.$/);
  }
});
