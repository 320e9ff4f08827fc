// The JavaScript API from end to end, on a stand-in engine: what it gives, how it ends, and what stays usable.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import test, { afterEach, before, beforeEach } from 'node:test';
import { ERROR_TYPES, loadFilesFrom, Noiseball, NoiseballError, slerp } from '../../www/noiseball.js';
import * as engine from './fake-engine.mjs';
import { checkpointFiles, FakeCaches, installWorker, served, serveFiles } from './web-fakes.mjs';

let files, server, url, workers;
const scope = { isSecureContext: true, navigator: {} };

before(() => (workers = installWorker(engine, scope)));
beforeEach(async () => {
  globalThis.caches = new FakeCaches();
  Object.assign(scope, {
    isSecureContext: true,
    navigator: { gpu: { requestAdapter: async () => ({ info: { vendor: 'acme', architecture: 'one', description: '' } }) } },
  });
  engine.settings.stepMilliseconds = 0;
  files = served(checkpointFiles());
  server = await serveFiles(files);
  url = `${server.url}model/`;
});
afterEach(async () => {
  await server.close();
  await soon(() => engine.alive.runs === 0);
});

test('a model loads from an address and samples', async () => {
  const seen = [];
  const model = await Noiseball.load(url, { onProgress: (progress) => seen.push(progress) });
  assert.equal(model.info.name, 'model');
  assert.deepEqual(model.info.labels, ['happy', 'sad']);
  assert.deepEqual(model.info.device, { kind: 'gpu', name: 'acme one', reason: null });
  assert.deepEqual(seen.at(-1), { stage: 'compile', loaded: 1, total: 1, file: null });
  const download = seen.filter(({ stage }) => stage === 'download').at(-1);
  assert.equal(download.loaded, download.total);

  const steps = await collect(model.sample({ steps: 4, batch: 2, seed: 1 }));
  assert.deepEqual(
    steps.map(({ index }) => index),
    [0, 1, 2, 3],
  );
  assert.equal(steps[0].pictures.length, 2 * 8 * 8 * 4);
  assert.deepEqual(
    steps.map(({ latents }) => latents?.length),
    [undefined, undefined, undefined, 2 * 3 * 8 * 8],
  );
  model.dispose();
  await soon(() => engine.alive.models === 0);
});

test('a model loads from files', async () => {
  const list = Object.entries(checkpointFiles()).map(([path, body]) =>
    Object.assign(new File([body], path.split('/').at(-1)), { webkitRelativePath: `mine/${path}` }),
  );
  const model = await Noiseball.load(list);
  assert.deepEqual([model.info.name, model.info.nullLabel, model.info.parameters], ['mine', 2, 1000]);
  model.dispose();
});

test('with hashes, only files that have theirs are read', async () => {
  const given = checkpointFiles();
  const hashes = Object.fromEntries(
    Object.entries(given).map(([path, body]) => [path, `sha256-${createHash('sha256').update(body).digest('base64')}`]),
  );
  const model = await Noiseball.load(url, { integrity: hashes });
  assert.deepEqual(model.info.labels, ['happy', 'sad']);
  model.dispose();
  const { 'labels.json': _labels, ...others } = hashes;
  const unnamed = await Noiseball.load(url, { integrity: others });
  assert.equal(unnamed.info.labels, null);
  unnamed.dispose();
  const config = Object.keys(hashes).find((path) => path.endsWith('unet/config.json') || path === 'config.json');
  await assert.rejects(Noiseball.load(url, { integrity: { ...hashes, [config]: hashes['labels.json'] } }), { type: 'fetch' });
});

test('a file within its address is held to its hash, too, and a damaged one is an error with a type', async () => {
  const given = checkpointFiles();
  const inline = (body) => `data:application/octet-stream;base64,${Buffer.from(body).toString('base64')}`;
  const urls = Object.fromEntries(Object.entries(given).map(([path, body]) => [path, inline(body)]));
  const hash = (body, kind) => `${kind}-${createHash(kind).update(body).digest('base64')}`;
  const integrity = Object.fromEntries(Object.entries(given).map(([path, body]) => [path, `sha256-AAAA ${hash(body, 'sha384')}`]));
  (await Noiseball.load(urls, { integrity })).dispose();
  const weights = 'unet/diffusion_pytorch_model.safetensors';
  // Of two kinds the stronger one counts.
  const wrong = `${hash(given[weights], 'sha256')} ${hash('another', 'sha384')}`;
  await assert.rejects(Noiseball.load(urls, { integrity: { ...integrity, [weights]: wrong } }), {
    type: 'fetch',
    message: /is not the file/,
  });
  await assert.rejects(Noiseball.load({ ...urls, [weights]: 'data:;base64,%%%' }), { type: 'fetch', message: /damaged/ });
  await assert.rejects(Noiseball.load({ ...urls, [weights]: 'data:,%E0%A4%A' }), { type: 'fetch', message: /damaged/ });
});

test('a model that cannot fit is refused before its weights are downloaded, with numbers', async () => {
  files = Object.assign(files, served({ 'unet/diffusion_pytorch_model.safetensors': Buffer.alloc(3e6) }));
  const tooLarge = { type: 'out-of-memory', message: /needs about 6.0 MB of memory, and a tab may take 5.0 MB/ };
  await assert.rejects(Noiseball.load(url, { memory: 5e6 }), tooLarge);
  const list = Object.entries(checkpointFiles({ weights: Buffer.alloc(3e6) })).map(([path, body]) =>
    Object.assign(new File([body], path.split('/').at(-1)), { webkitRelativePath: `mine/${path}` }),
  );
  await assert.rejects(Noiseball.load(list, { memory: 5e6 }), tooLarge);
  assert.equal(engine.alive.models, 0);
  (await Noiseball.load(url, { memory: 7e6 })).dispose();
  for (const memory of [0, -1, NaN, '1', {}]) await assert.rejects(Noiseball.load(url, { memory }), { type: 'invalid-option' });
});

test('a batch that does not fit is refused with the one that does; the option `memory` overrides', async () => {
  const model = await Noiseball.load(url, { memory: 1e6 });
  const { budget, picture, batch } = model.info.memory;
  assert.equal(budget, 1e6);
  assert.equal(batch, Math.floor((1e6 * (15 / 16) - 8000) / picture));
  assert.equal((await collect(model.sample({ steps: 1, batch, labels: [0] }))).length, 1);
  const refused = { type: 'out-of-memory', message: new RegExp(`Up to ${batch} fit`) };
  await assert.rejects(collect(model.sample({ steps: 1, batch: batch + 1 })), refused);
  await assert.rejects(collect(model.sample({ steps: 1, batch, labels: [0], guidance: 2 })), { type: 'out-of-memory' });
  model.dispose();
  const free = await Noiseball.load(url, { memory: Infinity });
  assert.equal((await collect(free.sample({ steps: 1, batch: batch + 1 }))).length, 1);
  free.dispose();
});

test('a GPU’s largest buffer bounds the batch, too', async () => {
  const adapter = { info: { vendor: 'acme' }, limits: { maxBufferSize: 1e9, maxStorageBufferBindingSize: 35e4 } };
  scope.navigator = { gpu: { requestAdapter: async () => adapter } };
  const model = await Noiseball.load(url);
  assert.equal(model.info.memory.batch, 3);
  model.dispose();
});

test('an address with nothing at it says what was looked for', async () => {
  await assert.rejects(Noiseball.load(`${server.url}elsewhere/`), { type: 'fetch', message: /neither unet\/config.json nor config.json/ });
});

test('a second run on a busy model is refused, and the first goes on', async () => {
  engine.settings.stepMilliseconds = 5;
  const model = await Noiseball.load(url);
  const first = collect(model.sample({ steps: 5 }));
  await assert.rejects(collect(model.sample({ steps: 5 })), { type: 'busy' });
  assert.equal((await first).length, 5);
  assert.equal((await collect(model.sample({ steps: 2 }))).length, 2);
  model.dispose();
});

test('an abort ends a run at once and leaves the model usable', async () => {
  engine.settings.stepMilliseconds = 400;
  const model = await Noiseball.load(url);
  const controller = new AbortController();
  const run = collect(model.sample({ steps: 1000, signal: controller.signal }));
  await new Promise((done) => setTimeout(done, 50));
  controller.abort();
  await assert.rejects(run, { type: 'aborted' });
  assert.equal(engine.alive.runs, 1, 'it waited for the evaluation');
  engine.settings.stepMilliseconds = 0;
  assert.equal((await collect(model.sample({ steps: 2 }))).length, 2);
  await assert.rejects(collect(model.sample({ signal: AbortSignal.abort() })), { type: 'aborted' });
  model.dispose();
});

test('who looks at every so-many-eth step gets these and the last, and is told of the others', async () => {
  const model = await Noiseball.load(url);
  const all = await collect(model.sample({ steps: 12 }));
  for (const [every, indices] of [
    [5, [4, 9, 11]],
    [1, all.map(({ index }) => index)],
    [0, [11]],
  ]) {
    const told = [];
    const steps = await collect(model.sample({ steps: 12, every, onProgress: (progress) => told.push(progress) }));
    assert.deepEqual(
      steps,
      indices.map((index) => all[index]),
    );
    assert.ok(told.every(({ stage, loaded, total, file }) => stage === 'sample' && loaded < 12 && total === 12 && file === null));
    assert.ok(every === 1 ? told.length === 0 : told.length >= 2 && told.length < 12 - steps.length, `${told.length}`);
  }
  for (const every of [-1, 2.5, NaN, Infinity, '2']) {
    await assert.rejects(collect(model.sample({ every })), { type: 'invalid-option', message: /`every` is/ });
  }
  engine.settings.stepMilliseconds = 5;
  const stop = new AbortController();
  const onProgress = ({ loaded }) => loaded >= 6 && stop.abort();
  await assert.rejects(collect(model.sample({ steps: 1e6, every: 0, onProgress, signal: stop.signal })), { type: 'aborted' });
  model.dispose();
});

test('pictures and masks become numbers', async () => {
  const model = await Noiseball.load(url);
  const pixels = (of) => ({ data: Uint8ClampedArray.from({ length: 256 }, (_, i) => of(i >> 2, i & 3)), width: 8, height: 8 });
  const init = pixels((pixel, channel) => (channel === 3 ? (pixel === 1 ? 0 : 255) : [0, 255, 51][channel]));
  const mask = pixels((pixel, channel) => (channel === 3 ? 255 : pixel < 2 ? 255 : 0));
  await collect(model.sample({ steps: 1, init, mask }));
  const at = (pixel) => [0, 1, 2].map((channel) => engine.given.init[64 * channel + pixel].toFixed(2));
  assert.deepEqual(
    [at(0), at(1)],
    [
      ['-1.00', '1.00', '-0.60'],
      ['1.00', '1.00', '1.00'],
    ],
    'and over white where nothing is',
  );
  assert.deepEqual([...engine.given.mask.slice(0, 4)], [1, 1, 0, 0]);
  await collect(model.sample({ steps: 1, init: new Array(192).fill(0.5) }));
  assert.deepEqual([engine.given.init.length, engine.given.init[7], engine.given.mask], [192, 0.5, undefined]);
  const half = { ...mask, data: mask.data.slice(0, 128), height: 4 };
  for (const bad of [
    { init: half },
    { init, mask: half },
    { init: 'a.png' },
    { init: 3 },
    { mask: { ...mask, width: 9 } },
    { onPrediction: 3 },
  ]) {
    await assert.rejects(collect(model.sample(bad)), { type: 'invalid-option' });
  }
  model.dispose();
});

test('guidance and editing are told to the engine in its order, and what belongs together is given together', async () => {
  const model = await Noiseball.load(url);
  const told = async (options) => {
    await collect(model.sample({ steps: 1, ...options }));
    return [...engine.given.told];
  };
  const nothing = [1, 0, 0, Infinity, NaN, NaN, 1, 10, 0, 0, 0];
  assert.deepEqual(await told({}), nothing);
  assert.deepEqual(await told({ guidance: undefined, negativeLabel: null }), nothing);
  const init = new Float32Array(192);
  const all = {
    guidance: 3,
    guidanceRescale: 0.7,
    guidanceInterval: [0.2, 5],
    negativeLabel: 0,
    init,
    strength: 0.5,
    mask: new Float32Array(64),
    resamplings: 4,
    jumpLength: 2,
  };
  assert.deepEqual(await told(all), [3, 0.7, 0.2, 5, 0, 0.5, 4, 2, 0, 0, 0]);
  assert.deepEqual((await told({ init, restore: 'blur:1.5' })).slice(-3), [0, 3, 1.5]);
  for (const name of ['guidance', 'init', 'mask', 'resamplings']) {
    await assert.rejects(told({ ...all, [name]: undefined }), { type: 'invalid-option', message: new RegExp(`given with ${name}$`) });
  }
  for (const [name, value] of Object.entries({
    guidance: '3',
    guidanceRescale: NaN,
    guidanceInterval: 3,
    negativeLabel: {},
    strength: true,
    resamplings: 1.5,
    jumpLength: 0,
    invert: 1,
    noise: 'loud',
  })) {
    await assert.rejects(told({ ...all, [name]: value }), { type: 'invalid-option', message: new RegExp(`^\`${name}\` is`) });
  }
  for (const bad of [[1], ['1', 2], [1, 2, 3], []]) {
    await assert.rejects(told({ guidance: 2, guidanceInterval: bad }), { type: 'invalid-option', message: /guidanceInterval/ });
  }
  model.dispose();
});

test('noise is asked for, mixed and given, and a picture is inverted', async () => {
  const model = await Noiseball.load(url);
  const [a, b] = [await model.noise(1), await model.noise(2)];
  const far = (x, y) => Math.max(...x.map((value, i) => Math.abs(value - y[i])));
  assert.ok(a.length === 192 && far(a, b) > 0.1);
  assert.ok(far(slerp(a, b, 0), a) < 1e-6 && far(slerp(a, b, 1), b) < 1e-6 && far(slerp(a, a, 0.3), a) < 1e-6);
  const middle = slerp(a, b, 0.5);
  const variance = middle.reduce((sum, value) => sum + value * value, 0) / 192;
  assert.ok(Math.abs(variance - 1) < 0.3, 'the mean of both would have half');
  await collect(model.sample({ steps: 1, noise: middle, init: new Float32Array(192), invert: true }));
  assert.deepEqual([engine.given.noise, engine.given.told.at(-3)], [middle, 1]);
  for (const bad of [
    [a, b.slice(1), 0],
    [a, b],
    [[], [], 0],
    [null, b, 0],
  ])
    assert.throws(() => slerp(...bad), { type: 'invalid-option' });
  model.dispose();
  await assert.rejects(model.noise(1), { type: 'disposed' });
});

test('a function is told every prediction, and may change it', async () => {
  const model = await Noiseball.load(url);
  const seen = [];
  const steps = await collect(
    model.sample({
      steps: 3,
      batch: 2,
      onPrediction: async ({ index, total, width, estimate }) => {
        seen.push([index, total, width, estimate.length, estimate[5]]);
        if (index === 2) return new Float32Array(estimate.length).fill(0.5);
      },
    }),
  );
  assert.deepEqual(seen, [
    [0, 3, 8, 384, 0],
    [1, 3, 8, 384, 1],
    [2, 3, 8, 384, 2],
  ]);
  assert.deepEqual(
    steps.map(({ latents }) => latents?.[9]),
    [undefined, undefined, 0.5],
  );

  const answers = [new Float32Array(3), new Float32Array(192).fill(Number.NaN), 'grey', null];
  for (const answer of answers) {
    await assert.rejects(collect(model.sample({ onPrediction: () => answer })), { type: 'invalid-option', message: /onPrediction/ });
  }
  const mine = new RangeError('mine');
  const thrown = () => {
    throw mine;
  };
  await assert.rejects(collect(model.sample({ onPrediction: thrown })), mine);

  // Whoever never answers can be left all the same.
  const controller = new AbortController();
  const onPrediction = () => new Promise(() => controller.abort());
  await assert.rejects(collect(model.sample({ signal: controller.signal, onPrediction })), { type: 'aborted' });
  assert.equal((await collect(model.sample({ steps: 2 }))).length, 2);
  model.dispose();
});

test('leaving the loop stops the run', async () => {
  const model = await Noiseball.load(url);
  for await (const step of model.sample({ steps: 9 })) if (step.index === 2) break;
  await soon(() => engine.alive.runs === 0);
  assert.equal((await collect(model.sample({ steps: 3 }))).length, 3);
  model.dispose();
});

test('a model disposed of during a run ends it, and is freed after the evaluation', async () => {
  engine.settings.stepMilliseconds = 20;
  const model = await Noiseball.load(url);
  const run = collect(model.sample({ steps: 1000 }));
  await new Promise((done) => setTimeout(done, 30));
  model.dispose();
  model.dispose();
  await assert.rejects(run, { type: 'disposed' });
  await assert.rejects(collect(model.sample()), { type: 'disposed' });
  await soon(() => engine.alive.models === 0 && engine.alive.runs === 0);
});

test('an abort during the download or the building frees everything, and the next load works', async () => {
  for (const stage of ['download', 'compile']) {
    const controller = new AbortController();
    const onProgress = (progress) => progress.stage === stage && controller.abort();
    await assert.rejects(Noiseball.load(url, { signal: controller.signal, onProgress }), { type: 'aborted' });
    await soon(() => engine.alive.models === 0);
    const model = await Noiseball.load(url);
    model.dispose();
    await soon(() => engine.alive.models === 0);
  }
  await assert.rejects(Noiseball.load(url, { signal: AbortSignal.abort() }), { type: 'aborted' });
});

test('a wrong option is an error of that type and ends nothing else', async () => {
  const model = await Noiseball.load(url);
  await assert.rejects(collect(model.sample({ sampler: 'magic' })), { type: 'invalid-option' });
  await assert.rejects(collect(model.sample({ steps: 0 })), { type: 'invalid-option' });
  assert.equal((await collect(model.sample({ steps: 1 }))).length, 1);
  model.dispose();
  await assert.rejects(Noiseball.load(url, { device: 'toaster' }), { type: 'invalid-option' });
});

test('the CPU takes over with the exact reason; a GPU asked for is refused with it', async () => {
  const cases = {
    'insecure-context': { isSecureContext: false, navigator: {} },
    'no-webgpu': { isSecureContext: true, navigator: {} },
    'no-adapter': { isSecureContext: true, navigator: { gpu: { requestAdapter: async () => null } } },
  };
  for (const [reason, faked] of Object.entries(cases)) {
    Object.assign(scope, faked);
    const model = await Noiseball.load(url);
    assert.deepEqual(model.info.device, { kind: 'cpu', name: 'CPU', reason });
    model.dispose();
    await assert.rejects(Noiseball.load(url, { device: 'gpu' }), { type: reason });
    const chosen = await Noiseball.load(url, { device: 'cpu' });
    assert.equal(chosen.info.device.reason, null);
    chosen.dispose();
  }
});

test('an adapter in software is used only where it is asked for', async () => {
  scope.navigator = { gpu: { requestAdapter: async () => ({ info: { description: 'soft', isFallbackAdapter: true } }) } };
  const model = await Noiseball.load(url);
  assert.deepEqual(model.info.device, { kind: 'cpu', name: 'CPU', reason: 'software-adapter' });
  const asked = await Noiseball.load(url, { device: 'gpu' });
  assert.deepEqual(asked.info.device, { kind: 'gpu', name: 'soft', reason: null });
  model.dispose();
  asked.dispose();
});

test('a model that the GPU cannot take goes to the CPU unless the GPU was asked for', async () => {
  replace(files, served(checkpointFiles({ config: { too_large: true } })));
  const model = await Noiseball.load(url);
  assert.deepEqual(model.info.device, { kind: 'cpu', name: 'CPU', reason: 'limit' });
  model.dispose();
  await assert.rejects(Noiseball.load(url, { device: 'gpu' }), { type: 'limit' });
});

test('files that turn out unreadable are not kept, so a repaired server is believed', async () => {
  replace(files, served(checkpointFiles({ weights: Buffer.alloc(8) }), { etag: '"same"' }));
  await assert.rejects(Noiseball.load(url), { type: 'checkpoint' });
  replace(files, served(checkpointFiles(), { etag: '"same"' }));
  (await Noiseball.load(url)).dispose();
});

test('a dead worker ends what was under way with a typed error, and the next load starts another', async () => {
  engine.settings.stepMilliseconds = 20;
  const model = await Noiseball.load(url);
  const run = collect(model.sample({ steps: 1000 }));
  await soon(() => engine.alive.runs === 1);
  const count = workers.length;
  workers.at(-1).crash('unreachable');
  await assert.rejects(run, { type: 'device-lost', message: /unreachable.*Run again/ });
  const before = engine.alive.models;
  assert.equal((await collect(model.sample({ steps: 1 }))).length, 1);
  assert.equal(workers.length, count + 1);
  assert.equal(engine.alive.models, before + 1);
  model.dispose();
  await soon(() => engine.alive.models === before);
  Object.assign(engine.alive, { models: 0, runs: 0 }); // the dead worker took its own along
});

test('a lost device ends the run; the next one loads the model again, from the cache alone', async () => {
  engine.settings.stepMilliseconds = 20;
  const model = await Noiseball.load(url);
  const [worker, { info }, { models }] = [workers.at(-1), model, { ...engine.alive }];
  const run = collect(model.sample({ steps: 1000 }));
  setTimeout(engine.loseDevice, 50);
  await assert.rejects(run, { type: 'device-lost' });
  engine.settings.stepMilliseconds = 0;
  server.requests.length = 0;
  assert.equal((await collect(model.sample({ steps: 2 }))).length, 2);
  assert.deepEqual(server.requests, []);
  assert.equal(workers.at(-1), worker);
  assert.deepEqual(model.info, info);
  engine.loseDevice(); // between two runs nobody need hear of it
  assert.equal((await collect(model.sample({ steps: 2 }))).length, 2);
  assert.equal(engine.alive.models, models);
  model.dispose();
});

test('a lost model whose files cannot be read again says so, and comes back when they can', async () => {
  const model = await Noiseball.load(url);
  engine.loseDevice();
  await Noiseball.purge();
  const kept = { ...files };
  replace(files, {});
  await assert.rejects(collect(model.sample({ steps: 1 })), { type: 'fetch' });
  replace(files, kept);
  await Noiseball.purge(); // the cache remembers what is not there
  assert.equal((await collect(model.sample({ steps: 1 }))).length, 1);
  model.dispose();
  assert.equal((await Promise.allSettled([collect(model.sample())]))[0].reason.type, 'disposed');
});

test('a run pauses while nobody can see the page, where that is wished', async () => {
  const document = Object.assign(new EventTarget(), { visibilityState: 'visible', baseURI: import.meta.url });
  const show = (state) => (Object.assign(document, { visibilityState: state }), document.dispatchEvent(new Event('visibilitychange')));
  globalThis.document = document;
  try {
    engine.settings.stepMilliseconds = 5;
    const model = await Noiseball.load(url);
    let seen = 0;
    const watch = async (options) => {
      for await (const { index } of model.sample({ steps: 30, ...options })) seen = index + 1;
    };
    const paused = watch({ pauseWhenHidden: true });
    await soon(() => seen >= 2);
    show('hidden');
    await new Promise((done) => setTimeout(done, 50));
    const before = seen;
    await new Promise((done) => setTimeout(done, 100));
    assert.equal(seen, before);
    assert.ok(before < 30);
    show('visible');
    await paused;
    assert.equal(seen, 30);

    show('hidden');
    await watch({ steps: 4 });
    assert.equal(seen, 4, 'unless asked, a run goes on');
    const controller = new AbortController();
    const stopped = watch({ pauseWhenHidden: true, signal: controller.signal });
    setTimeout(() => controller.abort(), 30);
    await assert.rejects(stopped, { type: 'aborted' });
    model.dispose();
  } finally {
    delete globalThis.document;
  }
});

test('the worker is a module of its own; a page of another site starts it through a blob', async () => {
  const restart = async () => {
    workers.at(-1).crash('start over');
    (await Noiseball.load(url)).dispose();
    return workers.at(-1);
  };
  const plain = await restart();
  assert.match(String(plain.url), /\/www\/worker\.js$/);
  loadFilesFrom('https://cdn.example/noiseball');
  try {
    const foreign = await restart();
    assert.deepEqual([plain.options, foreign.options], [{ type: 'module' }, { type: 'module' }]);
    const script = await (await fetch(foreign.url)).text();
    assert.match(script, /\nimport\("https:\/\/cdn\.example\/noiseball\/worker\.js"\)/);
  } finally {
    loadFilesFrom(new URL('../../www', import.meta.url));
  }
  assert.equal(String((await restart()).url), String(plain.url), 'from a copy of this origin without one');
});

test('a listener that throws does not break the load', async () => {
  const reported = [];
  globalThis.reportError = (error) => reported.push(error.message);
  (
    await Noiseball.load(url, {
      onProgress: () => {
        throw new Error('mine');
      },
    })
  ).dispose();
  assert.ok(reported.includes('mine'));
});

test('every error type is in the types and in the documentation', async () => {
  const read = (path) => readFile(new URL(`../../${path}`, import.meta.url), 'utf8');
  const listed = /type ErrorType =([^;]*);/.exec(await read('www/noiseball.d.ts'))[1].match(/'[^']+'/g);
  assert.deepEqual(
    listed.map((quoted) => quoted.slice(1, -1)),
    ERROR_TYPES,
  );
  const rows = (await read('docs/embedding.md')).split('\n## Errors\n')[1].match(/^\| `[a-z-]+` \| [A-Z]/gm);
  assert.deepEqual(
    rows.map((row) => row.split('`')[1]),
    ERROR_TYPES,
  );
  const { name, type, message } = new NoiseballError('busy', 'x');
  assert.deepEqual([name, type, message], ['NoiseballError', 'busy', 'x']);
});

async function collect(run) {
  const steps = [];
  for await (const step of run) steps.push(step);
  return steps;
}

function replace(target, source) {
  for (const key of Object.keys(target)) delete target[key];
  Object.assign(target, source);
}

async function soon(condition) {
  for (let i = 0; i < 200 && !condition(); i++) await new Promise((done) => setTimeout(done, 10));
  assert.ok(condition(), `not within two seconds: ${condition}`);
}
