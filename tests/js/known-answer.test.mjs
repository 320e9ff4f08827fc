// Whether a GPU is right, with the processor in its place.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test, { before, beforeEach } from 'node:test';
import { isRight } from '../../www/known-answer.js';
import * as engine from '../../www/pkg/noiseball.js';
import { FakeCaches } from './web-fakes.mjs';

before(() => engine.initSync({ module: readFileSync(new URL('../../www/pkg/noiseball_bg.wasm', import.meta.url)) }));
beforeEach(() => {
  globalThis.caches = new FakeCaches();
});

/** An engine whose GPU is the processor with its pictures changed, and what it was asked for. */
function gpuThat(changes) {
  const built = [];
  const build = async (opening, device) => {
    built.push(device);
    const model = await engine.Model.build(opening, 'cpu');
    if (device === 'cpu') return model;
    const sample = async (...given) => {
      const run = await model.sample(...given);
      const next = async () => {
        const step = await run.next();
        return step && { pictures: changes(step.pictures) };
      };
      return { next, free: () => run.free() };
    };
    return { sample, free: () => model.free() };
  };
  return { built, Opening: engine.Opening, Model: { build } };
}

test('an adapter that computes as the processor does is trusted, and asked once', async () => {
  const gpu = gpuThat((pictures) => pictures.map((value) => Math.min(255, value + 2)));
  assert.equal(await isRight(gpu, 'a card'), true);
  assert.equal(await isRight(gpu, 'a card'), true);
  assert.deepEqual(gpu.built, ['cpu', 'gpu']);
  await isRight(gpu, 'another card');
  assert.equal(gpu.built.length, 4);
});

for (const [what, changes] of Object.entries({
  black: (pictures) => pictures.fill(0),
  'a little off': (pictures) => pictures.map((value, i) => (i % 4 === 1 ? 255 - value : value)),
  'one number off': (pictures) => pictures.map((value, i) => (i === 900 ? value ^ 32 : value)),
})) {
  test(`an adapter whose pictures are ${what} is not, and stays so`, async () => {
    const gpu = gpuThat(changes);
    assert.equal(await isRight(gpu, 'a card'), false);
    assert.equal(await isRight(gpu, 'a card'), false);
    assert.deepEqual(gpu.built, ['cpu', 'gpu']);
  });
}

test('the pictures are no flat colour, which any wrong GPU could give', async () => {
  let seen;
  const gpu = gpuThat((pictures) => {
    seen = pictures;
    return pictures;
  });
  await isRight(gpu, 'a card');
  const inner = seen.filter((value, i) => i % 4 !== 3 && value > 0 && value < 255);
  assert.ok(new Set(inner).size > 100, `${new Set(inner).size} values`);
});
