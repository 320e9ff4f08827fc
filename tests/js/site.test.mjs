// The parts of the page that need no document: the scrubber's memory and what the page says.

import assert from 'node:assert/strict';
import test from 'node:test';
import { ERROR_TYPES } from '../../www/errors.js';
import { History } from '../../www/site/history.js';
import { amount, bytes, deviceSentence, duration, loading, moment, TITLES } from '../../www/site/words.js';

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

test('a step says where it is and how noisy it began', () => {
  assert.equal(moment({ index: 0, total: 20, timestep: 950, noise: 0.9871 }), '1 of 20 · from t = 950, 99 % noise');
  assert.equal(moment({ index: 19, total: 20, timestep: 0, noise: 0.0012 }), '20 of 20 · from t = 0, 0.1 % noise');
});

test('a load says how far it is, also where nobody knows how far it has to go', () => {
  assert.equal(loading({ stage: 'download', loaded: 1e6, total: 4e6 }, 'm'), 'Loading m: 1.0 MB of 4.0 MB');
  assert.equal(loading({ stage: 'download', loaded: 1e6, total: null }, 'm'), 'Loading m: 1.0 MB');
  assert.equal(loading({ stage: 'compile', loaded: 0, total: 1 }, 'm'), 'Preparing m…');
});

test('every error but an abort has a title, and every device its sentence', () => {
  assert.deepEqual(Object.keys(TITLES).sort(), ERROR_TYPES.filter((type) => type !== 'aborted').sort());
  assert.equal(deviceSentence({ kind: 'gpu', name: 'acme one', reason: null }), 'Runs on the GPU: acme one.');
  assert.equal(deviceSentence({ kind: 'cpu', name: 'CPU', reason: null }), 'Runs on the CPU.');
  for (const reason of ['insecure-context', 'no-webgpu', 'no-adapter', 'software-adapter', 'limit', 'out-of-memory']) {
    assert.match(deviceSentence({ kind: 'cpu', name: 'CPU', reason }), /^Runs on the CPU, because .{20,}\.$/);
  }
});
