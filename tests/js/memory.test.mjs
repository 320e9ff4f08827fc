// The memory that a model may take on a device, and what is known of it before a download.

import assert from 'node:assert/strict';
import test from 'node:test';
import { budgetOf, checkRun, memoryOf, Weights } from '../../www/memory.js';

const GIB = 2 ** 30;

test('a phone gives a quarter of its memory, others half; unknown is little', () => {
  const iPhone = 'Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1';
  const mac = 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/19.0 Safari/605.1.15';
  const budgets = [
    { deviceMemory: 8, userAgentData: { mobile: false } },
    { deviceMemory: 4, userAgentData: { mobile: true } },
    { deviceMemory: 0.5, userAgentData: { mobile: true } },
    { userAgent: iPhone, maxTouchPoints: 5 },
    { userAgent: mac, maxTouchPoints: 5 }, // an iPad
    { userAgent: mac, maxTouchPoints: 0 },
    {},
  ].map((navigator) => budgetOf(navigator) / GIB);
  assert.deepEqual(budgets, [4, 1, 0.125, 0.5, 0.5, 4, 4]);
});

test('the index of shards says how large all of them are, before the first comes', () => {
  const index = (json) => new TextEncoder().encode(JSON.stringify(json));
  const weights = new Weights(10e9);
  assert.throws(() => weights.index(index({ metadata: { total_size: 6e9 } })), {
    type: 'out-of-memory',
    message: /needs about 12 GB of memory, and a tab may take 8.1 GB/, // what WebAssembly can address
  });
  const small = new Weights(10e9);
  small.index(index({ metadata: { total_size: 3e9 } }));
  small.index(new Uint8Array(3)); // the engine's matter
  small.file('a', 1e9);
  small.file('b', 1e9);
  assert.equal(small.size, 3e9);
  small.file('a', 2e9);
  small.file('a', 1e9); // a download that began anew
  assert.equal(small.size, 3e9);
  assert.throws(() => small.file('c', 3e9), { type: 'out-of-memory' });
});

test('what a config says of a model is enough to know that it cannot fit', () => {
  const needs = (budget, ...said) => new Weights(budget).needs(said);
  needs(1e9, 5e8, 3e6, 1e8); // 500 MB and 96 MB for a picture, and 100 million weights of a byte at least, twice
  assert.throws(() => needs(7e8, 5e8, 3e6, 1e8), {
    type: 'out-of-memory',
    message: /needs about 796 MB of memory, and a tab may take 700 MB/,
  });
  assert.throws(() => needs(Infinity, 0, 0, 5e9), { type: 'out-of-memory' }); // more than WebAssembly can address
  const weights = new Weights(1e9);
  weights.needs([5e8, 3e6, 1e8]);
  weights.file('a', 1.9e8);
  assert.throws(() => weights.file('a', 2.1e8), { type: 'out-of-memory', message: /needs about 1.0 GB/ });
});

test('a run that cannot fit says so; one that WebAssembly could not hold neither', () => {
  const info = { activationBytes: 1e9, channels: 3, width: 512, height: 512 };
  const here = { budget: Infinity, weights: 1e8, kind: 'cpu', buffer: Infinity };
  assert.equal(memoryOf(info, here).batch, 3);
  assert.equal(memoryOf(info, { ...here, kind: 'gpu' }).batch, 1024);
  const phone = memoryOf(info, { ...here, budget: GIB });
  assert.equal(phone.batch, 0);
  assert.throws(() => checkRun({ memory: phone }, { batch: 1, guided: false }), {
    type: 'out-of-memory',
    message: /^one picture needs about 1.2 GB of memory, and a tab may take 1.1 GB on this device. Use a model with smaller pictures/,
  });
  checkRun({ memory: memoryOf(info, here) }, { batch: 'many', guided: false }); // the engine says what is wrong with it
});
