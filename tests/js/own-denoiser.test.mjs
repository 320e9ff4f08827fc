// What the worker and the engine do beyond sampling a network: a denoiser of the page's own, restoring, and likelihood. On the engine itself.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test, { before } from 'node:test';
import { Noiseball, samplers } from '../../www/noiseball.js';
import * as engine from '../../www/pkg/noiseball.js';
import { countModes, exactDenoiser, ring } from '../../www/story/mixture.js';
import { FakeCaches, installWorker } from './web-fakes.mjs';

const POINTS = { shape: [2, 1, 1] };
const FLOW = { _class_name: 'FlowMatchEulerDiscreteScheduler' };
const MIXTURE = { ...ring(), deviation: 0.15 };
/** Made for networks that were distilled, which a formula is not. */
const DISTILLED = new Set(['lcm', 'tcd', 'consistency']);

before(() => {
  engine.initSync({ module: readFileSync(new URL('../../www/pkg/noiseball_bg.wasm', import.meta.url)) });
  globalThis.caches = new FakeCaches();
  installWorker({ ...engine, default: async () => {} }, { isSecureContext: true, navigator: {} });
});

const exact = exactDenoiser(MIXTURE);
const denoise = (x, level) => exact(x, level, new Float32Array(x.length));

async function last(run) {
  let step;
  for await (step of run);
  return step;
}

test('every sampler brings points where a denoiser of one’s own says', async () => {
  const [noisy, flow] = [await Noiseball.of(denoise, POINTS), await Noiseball.of(denoise, { ...POINTS, scheduler: FLOW })];
  assert.deepEqual([noisy.info.sampler, flow.info.sampler, noisy.info.trainTimesteps], ['ddpm', 'flow-euler', 1000]);
  for (const { name } of samplers()) {
    const model = name.startsWith('flow-') ? flow : noisy;
    const many = ['ddpm', 'reverse-sde', 'gaussian-chain'].includes(name);
    const steps = name === 'adaptive' ? 8 : name === 'annealed-langevin' ? 20 : many ? 200 : 40;
    const { latents, estimate } = await last(model.sample({ sampler: name, steps, batch: 64, seed: 1 }));
    assert.equal(latents.length, 128, name);
    assert.ok(latents.every(Number.isFinite) && estimate.length === 128, name);
    const { outside, found } = countModes(MIXTURE, latents);
    if (!DISTILLED.has(name)) assert.ok(outside <= 20 && found === 8, `${name}: ${outside} outside, ${found} found`);
  }
  noisy.dispose();
  flow.dispose();
});

test('steps have their numbers and levels, from the noise on', async () => {
  const model = await Noiseball.of(denoise, POINTS);
  const seen = [];
  for await (const step of model.sample({ sampler: 'euler', steps: 5, batch: 2, seed: 3 })) seen.push(step);
  assert.deepEqual([...seen[0].startLatents.slice(0, 2)], [...(await model.noise(3))]);
  assert.equal(seen[1].startLatents, undefined);
  assert.ok(seen.every(({ latents, alpha }) => latents.length === 4 && alpha === 1));
  assert.ok(seen[0].sigma > seen[3].sigma && seen[4].sigma === 0);
  model.dispose();
});

test('who looks at every so-many-eth step gets the same numbers', async () => {
  const model = await Noiseball.of(denoise, POINTS);
  const run = async (every) => {
    const seen = [];
    for await (const { index, latents, estimate } of model.sample({ sampler: 'heun', steps: 10, batch: 2, every }))
      seen.push({ index, latents, estimate });
    return seen;
  };
  const all = await run(1);
  assert.equal(all.length, 10);
  assert.deepEqual(
    await run(4),
    [3, 7, 9].map((index) => all[index]),
  );
  assert.deepEqual(await run(0), [all[9]]);
  model.dispose();
});

test('the level that a denoiser is told is that of what it is given', async () => {
  // Of one Gaussian the best answer is linear, and any other level than the true one would leave another deviation.
  const narrow = exactDenoiser({ means: Float64Array.of(0.5, -0.5), deviation: 0.2 });
  const model = await Noiseball.of((x, level) => narrow(x, level, new Float32Array(x.length)), POINTS);
  for (const sampler of ['ddim', 'kdpm2', 'unipc', 'adaptive']) {
    const { latents } = await last(model.sample({ sampler, steps: 60, batch: 256, seed: 5 }));
    const x = latents.filter((_, i) => i % 2 === 0);
    const mean = x.reduce((sum, v) => sum + v) / 256;
    const deviation = Math.sqrt(x.reduce((sum, v) => sum + (v - mean) ** 2, 0) / 255);
    assert.ok(Math.abs(mean - 0.5) < 0.04 && Math.abs(deviation - 0.2) < 0.03, `${sampler}: ${mean}, ${deviation}`);
  }
  model.dispose();
});

test('what a denoiser may not say is an error that tells the step, and the next run works', async () => {
  let asked = 0;
  let answer = (x) => (++asked === 3 ? x.fill(NaN) : x);
  const model = await Noiseball.of((x) => answer(x), POINTS);
  await assert.rejects(last(model.sample({ sampler: 'ddim', steps: 5 })), { type: 'invalid-option', message: /NaN in step 3 .*alpha/ });
  for (const wrong of [undefined, null, 'text', [1], new Float32Array(3)]) {
    answer = () => wrong;
    await assert.rejects(last(model.sample({ sampler: 'ddim', steps: 5 })), { type: 'invalid-option', message: /denoise.*step 1/ });
  }
  const mine = new Error('mine');
  answer = () => {
    throw mine;
  };
  await assert.rejects(last(model.sample({ steps: 5 })), mine);
  answer = (x) => Array.from(x);
  await last(model.sample({ sampler: 'ddim', steps: 5 }));
  for (const options of [{ labels: [1] }, { labels: [0], guidance: 2 }])
    await assert.rejects(last(model.sample(options)), { type: 'invalid-option', message: /no classes|labels/ });
  await assert.rejects(model.bitsPerDim([0, 0]), { type: 'invalid-option', message: /denoiser/ });
  await assert.rejects(last(model.sample({ sampler: 'flow-euler' })), { type: 'invalid-option' });
  const controller = new AbortController();
  answer = () => new Promise(() => controller.abort());
  await assert.rejects(last(model.sample({ signal: controller.signal })), { type: 'aborted' });
  model.dispose();
  for (const given of [
    [null, POINTS],
    [denoise, {}],
    [denoise, { shape: [2, 0, 1] }],
    [denoise, { ...POINTS, scheduler: 'ddim' }],
  ])
    await assert.rejects(Noiseball.of(...given), { type: 'invalid-option' });
  await assert.rejects(Noiseball.of(denoise, { ...POINTS, scheduler: { num_train_timesteps: 0 } }), { type: 'checkpoint' });
});

test('whoever watches sees and changes what a denoiser says', async () => {
  const model = await Noiseball.of(denoise, POINTS);
  let seen = 0;
  const { latents } = await last(
    model.sample({ sampler: 'ddim', steps: 10, onPrediction: ({ estimate }) => (seen++, estimate.fill(0.25)) }),
  );
  assert.equal(seen, 10);
  assert.ok(
    latents.every((v) => Math.abs(v - 0.25) < 1e-3),
    String(latents),
  );
  model.dispose();
});

const folder = new URL('../../www/models/pixel-faces-16/', import.meta.url);
const FILES = ['model_index.json', 'labels.json', 'unet/config.json', 'scheduler/scheduler_config.json'];

function faces() {
  const weights = 'unet/diffusion_pytorch_model.safetensors';
  const files = [...FILES, weights].map((path) =>
    Object.assign(new File([readFileSync(new URL(path, folder))], path.split('/').at(-1)), { webkitRelativePath: `faces/${path}` }),
  );
  return Noiseball.load(files, { device: 'cpu' });
}

test('what was measured of a picture is kept by restoring it, and the rest is made', async () => {
  const model = await faces();
  const face = (await last(model.sample({ steps: 4, sampler: 'unipc', labels: [0], seed: 1 }))).latents.map((v) =>
    Math.min(1, Math.max(-1, v)),
  );
  for (const restore of ['grey', 'x2', 'x4', 'blur:1.5']) {
    const measured = await model.measure(face, restore);
    assert.ok(distance(measured, face) > 0.01, `${restore} takes something away`);
    const k = Number(restore[1]) || 1;
    const init = k > 1 ? measured.filter((_, i) => i % k === 0 && Math.floor((i % 256) / 16) % k === 0) : measured;
    const options = { steps: 4, sampler: 'unipc', labels: [0], seed: 2, init, restore };
    const { latents } = await last(model.sample(options));
    const again = await model.measure(latents, restore);
    assert.ok(distance(again, measured) < 0.02, `${restore}: ${distance(again, measured)}`);
    assert.ok(distance(latents, measured) > 0.01, `${restore} makes something`);
  }
  const refused = async (options) => assert.rejects(last(model.sample({ steps: 2, ...options })), { type: 'invalid-option' });
  await refused({ restore: 'grey' });
  await refused({ init: face, restore: 'gray' });
  await refused({ init: face, restore: 'blur:0' });
  await refused({ init: face, restore: 'blur:33' });
  await refused({ init: face, restore: 'x2' });
  await refused({ init: face, restore: 'grey', mask: new Float32Array(256) });
  await assert.rejects(model.measure([1], 'grey'), { type: 'invalid-option' });
  model.dispose();
});

test('a picture of its kind is likelier than noise; the work is told of, and stops', async () => {
  const model = await faces();
  const { latents } = await last(model.sample({ steps: 8, sampler: 'unipc', labels: [0], seed: 1 }));
  const both = Float32Array.from([...latents, ...latents.map((_, i) => Math.sin(i * i))]);
  const seen = [];
  const [face, noise] = await model.bitsPerDim(both, { steps: 2, label: 0, onProgress: (progress) => seen.push(progress) });
  assert.ok(face < noise - 1, `${face} and ${noise}`);
  assert.deepEqual(seen.at(-1), { loaded: 24, total: 24 });
  const bounds = await model.bitsPerDim(both, { method: 'bound', timesteps: 6 });
  assert.ok(bounds[0] < bounds[1], String(bounds));
  const controller = new AbortController();
  const stopped = model.bitsPerDim(latents, { signal: controller.signal, onProgress: () => controller.abort() });
  await assert.rejects(model.bitsPerDim(latents), { type: 'busy' });
  await assert.rejects(stopped, { type: 'aborted' });
  for (const options of [
    { method: 'guess' },
    { steps: 0 },
    { probes: 1.5 },
    { method: 'bound', timesteps: 1 },
    { label: 99 },
    { seed: -1 },
  ])
    await assert.rejects(model.bitsPerDim(latents, options), { type: 'invalid-option' });
  await assert.rejects(model.bitsPerDim([0, 1]), { type: 'invalid-option' });
  model.dispose();
});

function distance(a, b) {
  return Math.sqrt(a.reduce((sum, v, i) => sum + (v - b[i]) ** 2, 0) / a.length);
}
