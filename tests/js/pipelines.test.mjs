// Pipelines of several networks, from a folder to a picture, by the module that pages load for them: what Python made of the same.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test, { before } from 'node:test';
import { Noiseball } from '../../www/noiseball.js';
import * as text from '../../www/pkg-text/noiseball_text.js';
import * as engine from './fake-engine.mjs';
import { caseOf, filesOf, optionsOf, relativeError } from './golden-pipelines.mjs';
import { checkpointFiles, FakeCaches, installWorker, served, serveFiles } from './web-fakes.mjs';

let workers;

before(() => {
  text.initSync({ module: readFileSync(new URL('../../www/pkg-text/noiseball_text_bg.wasm', import.meta.url)) });
  globalThis.caches = new FakeCaches();
  workers = installWorker(engine, { isSecureContext: true, navigator: {} }, text);
});

/** A folder's files as a reader chose them. */
const chosen = (files) =>
  Object.entries(files).map(([path, body]) =>
    Object.assign(new File([body], path.split('/').at(-1)), { webkitRelativePath: `mine/${path}` }),
  );

async function collect(run) {
  const steps = [];
  for await (const step of run) steps.push(step);
  return steps;
}

test('a pipeline is opened by a worker of its own; a model of one network does not start that', async () => {
  const server = await serveFiles({ ...served(checkpointFiles()) });
  const one = await Noiseball.load(`${server.url}model/`);
  assert.deepEqual([one.info.pipeline, one.info.name], [undefined, 'model']);
  assert.ok(!workers.some(({ url }) => String(url).includes('/text/')));
  assert.equal(server.requests.filter((request) => request.endsWith('model_index.json')).length, 1);
  one.dispose();
  await server.close();

  const golden = caseOf('sd1_negative');
  const pipelines = await serveFiles(served(filesOf(golden)));
  const model = await Noiseball.load(`${pipelines.url}model/`);
  assert.equal(workers.filter(({ url }) => String(url).endsWith('/www/text/worker.js')).length, 1);
  const { pipeline, width, height, steps, guidance, sampler } = model.info;
  assert.deepEqual([width, height, steps, guidance, sampler], [8, 8, 50, 7.5, 'ddim']);
  assert.deepEqual(
    pipeline.parts.map(({ name }) => name),
    ['text_encoder', 'vae.encoder', 'unet', 'vae.decoder'],
  );
  // All that a run needs is there: the next one asks for nothing more.
  const asked = pipelines.requests.length;
  for await (const _ of model.sample(optionsOf(golden))) break;
  const steps2 = await collect(model.sample(optionsOf(golden)));
  assert.ok(relativeError(steps2.at(-1).decoded, golden.picture.values) < 1e-4);
  assert.equal(pipelines.requests.length, asked);
  await assert.rejects(collect(model.sample({ prompt: 'a', signal: AbortSignal.abort() })), { type: 'aborted' });
  model.dispose();
  await pipelines.close();
});

/** One of each kind of pipeline, and of what it can be given. */
const KINDS = [
  'sd1_negative',
  'sd1_several_seeds',
  'turbo',
  'sd2_v',
  'lcm',
  'xl_negative',
  'to_image_resized',
  'inpaint_weak',
  'dit',
  'ldm_vq',
];

for (const name of KINDS) {
  test(`${name}: the picture is Python’s`, async () => {
    const golden = caseOf(name);
    const model = await Noiseball.load(chosen(filesOf(golden)));
    const steps = await collect(model.sample(optionsOf(golden)));
    const last = steps.at(-1);
    const errors = ['picture', 'latents'].map((what) => relativeError(last[what === 'picture' ? 'decoded' : what], golden[what].values));
    assert.ok(Math.max(...errors) < 1e-4, `${name}: ${errors}`);
    const [batch, , height, width] = golden.picture.shape;
    assert.deepEqual([last.batch, last.height, last.width], [batch, height, width]);
    assert.equal(steps[0].start.length, 4 * batch * height * width);
    for (const { pictures, predicted } of steps)
      assert.deepEqual([pictures.length, predicted.length], Array(2).fill(4 * batch * height * width));
    model.dispose();
  });
}

test('a prompt is shown as it is read', async () => {
  const model = await Noiseball.load(chosen(filesOf(caseOf('sd1_negative'))));
  const { words, tokens, most, cut } = await model.tokens('A Red  heart, zzyzx');
  assert.deepEqual(
    words.map(({ text, pieces }) => [text, pieces.join('·')]),
    [
      ['a', 'a'],
      ['red', 'red'],
      ['heart,', 'heart·,'],
      ['zzyzx', 'zz·y·z·x'],
    ],
  );
  assert.ok(tokens > 5 && most === 30 && cut === '');
  const long = await model.tokens('star '.repeat(40));
  assert.deepEqual([long.tokens, long.words.length, long.cut], [30, 30, Array(10).fill('star').join(' ')]);
  assert.deepEqual(await model.tokens(''), { words: [], tokens: 0, most: 30, cut: '' });
  await assert.rejects(model.tokens(7), { type: 'invalid-option' });
  model.dispose();
});

test('what a pipeline has no use for, and what cannot be, is refused by its name', async () => {
  const model = await Noiseball.load(chosen(filesOf(caseOf('sd1_negative'))));
  const picture = { data: new Uint8ClampedArray(4 * 64).fill(9), width: 8, height: 8 };
  const wrong = {
    prompt: [{ prompt: 7 }, { prompt: ['a', null] }, {}],
    negativePrompt: [{ prompt: 'a', negativePrompt: {} }],
    prompt2: [{ prompt: 'a', prompt2: 'b' }],
    labels: [{ prompt: 'a', labels: [1] }],
    attention: [{ prompt: 'a', attention: 1 }],
    noise: [{ prompt: 'a', noise: [1] }],
    onPrediction: [{ prompt: 'a', onPrediction: () => {} }],
    seed: [
      { prompt: 'a', seed: -1 },
      { prompt: 'a', seed: 'x' },
      { prompt: 'a', seed: [1, 2, 3] },
    ],
    height: [
      { prompt: 'a', height: 9 },
      { prompt: 'a', height: NaN },
      { prompt: 'a', height: 1e9 },
    ],
    steps: [{ prompt: 'a', steps: 0 }],
    batch: [{ prompt: 'a', batch: 0 }],
    strength: [
      { prompt: 'a', strength: 0.5 },
      { prompt: 'a', init: picture, strength: 0 },
    ],
    init: [
      { prompt: 'a', init: [1, 2] },
      { prompt: 'a', init: { data: [1], width: 8, height: 8 } },
    ],
    mask: [
      { prompt: 'a', mask: picture },
      { prompt: 'a', init: picture, mask: 'all' },
    ],
    sampler: [{ prompt: 'a', sampler: 'magic' }],
    guidanceInterval: [{ prompt: 'a', guidanceInterval: [1] }],
  };
  for (const [name, each] of Object.entries(wrong)) {
    for (const options of each) {
      // The engine has the option's name in snake case.
      const named = new RegExp(`\`(${name}|${name.replace(/[A-Z2]/g, (c) => `_${c.toLowerCase()}`)})\``);
      await assert.rejects(collect(model.sample(options)), (error) => error.type === 'invalid-option' && named.test(error.message), name);
    }
  }
  for (const call of [model.noise(1), model.measure(picture, 'grey'), model.bitsPerDim(picture)])
    await assert.rejects(call, { type: 'unsupported-architecture' });
  assert.equal((await collect(model.sample({ prompt: 'a', steps: 1 }))).length, 1, 'the model is still usable');
  model.dispose();
});

test('what a run reads is told, and no longer read once the run was stopped', async (t) => {
  const golden = caseOf('to_image_resized');
  const files = served(filesOf(golden));
  const server = await serveFiles(files);
  t.after(() => server.close());
  t.after(() => server.close());
  const loads = [];
  const model = await Noiseball.load(`${server.url}model/`, { onProgress: (progress) => loads.push(progress) });
  // One bar for all parts: what is still to come counts from the first part on.
  const share = ({ loaded, total }) => loaded / total;
  const words = loads.filter(({ file }) => file === 'text_encoder/model.safetensors').map(share);
  assert.ok(words.at(-1) < 0.5, String(words));
  assert.equal(share(loads.findLast(({ stage }) => stage === 'download')), 1);

  // The encoder is first needed by a run that begins with a picture.
  const vae = '/model/vae/diffusion_pytorch_model.safetensors';
  globalThis.caches = new FakeCaches();
  files[vae].stalls = true;
  const controller = new AbortController();
  const told = [];
  const onProgress = (progress) => {
    told.push(progress);
    controller.abort();
  };
  const options = { ...optionsOf(golden), onProgress };
  await assert.rejects(collect(model.sample({ ...options, signal: controller.signal })), { type: 'aborted' });
  assert.equal(told.at(-1).file, 'vae/diffusion_pytorch_model.safetensors');
  while (!server.requests.includes(`LEFT ${vae}`)) await new Promise((done) => setTimeout(done, 5));
  files[vae].stalls = false;
  const steps = await collect(model.sample(options));
  assert.ok(relativeError(steps.at(-1).decoded, golden.picture.values) < 1e-4);
  const { loaded, total } = told.at(-1);
  assert.deepEqual([loaded, total], [files[vae].body.length, files[vae].body.length]);
  model.dispose();
});

test('where words act is what Python finds, in each step and on average', async () => {
  const { cases } = JSON.parse(readFileSync(new URL('../fixtures/attention.json', import.meta.url), 'utf8'));
  const expected = cases.find(({ name }) => name === 'sd1_several');
  const golden = caseOf('sd1_several');
  const model = await Noiseball.load(chosen(filesOf(golden)));
  assert.equal(model.info.pipeline.attention, true);
  const steps = await collect(model.sample({ ...optionsOf(golden), attention: true }));
  const sums = [];
  for (const [i, { attention }] of steps.entries()) {
    assert.deepEqual(
      attention.map(({ words }) => words),
      expected.words,
    );
    for (const [j, { now, height, width }] of attention.entries()) {
      const { shape, values } = expected.steps[i][j];
      assert.deepEqual([expected.words[j].length, height, width], shape);
      assert.ok(relativeError([...now], values) < 2e-5);
      sums[j] = values.map((value, k) => value / steps.length + (sums[j]?.[k] ?? 0));
    }
  }
  for (const [j, { mean }] of steps.at(-1).attention.entries()) assert.ok(relativeError([...mean], sums[j]) < 2e-5);
  const [plain] = await collect(model.sample({ ...optionsOf(golden), steps: 1 }));
  assert.equal(plain.attention, undefined);
  model.dispose();
});

test('a folder that is not whole is an error with a type', async () => {
  const files = filesOf(caseOf('turbo'));
  const without = (path) => Object.fromEntries(Object.entries(files).filter(([name]) => name !== path));
  const { 'model_index.json': index, 'unet/config.json': unet } = files;
  const broken = [
    [without('vae/config.json'), 'checkpoint'],
    [without('tokenizer/vocab.json'), 'checkpoint'],
    [without('text_encoder/model.safetensors'), 'checkpoint'],
    [{ ...files, 'unet/diffusion_pytorch_model.safetensors': Buffer.alloc(100) }, 'checkpoint'],
    [{ ...files, 'tokenizer/merges.txt': Buffer.from('no merge at all here\n') }, 'checkpoint'],
    [{ ...files, 'unet/config.json': JSON.stringify({ ...JSON.parse(unet), cross_attention_dim: 9 }) }, 'checkpoint'],
    [{ ...files, 'model_index.json': index.replace('StableDiffusionPipeline', 'KandinskyPipeline') }, 'unsupported-architecture'],
  ];
  const takes = (part) => ({
    type: 'out-of-memory',
    message: new RegExp(`\`${part}\` takes \\d+ MB for its weights and \\d+ MB for a batch of 1`),
  });
  await assert.rejects(Noiseball.load(chosen(files), { memory: 1e5 }), takes('unet'));
  // Parts of a large one are loaded in the course of a run; that it is too large is known before.
  const words = JSON.stringify({
    ...JSON.parse(files['text_encoder/config.json']),
    vocab_size: 2 ** 20,
    num_hidden_layers: 40,
    intermediate_size: 2 ** 16,
  });
  const large = { ...files, 'text_encoder/config.json': words };
  await assert.rejects(Noiseball.load(chosen(large), { memory: 1e7 }), takes('text_encoder'));
  (await Noiseball.load(chosen(large))).dispose();
  for (const [given, type] of broken) await assert.rejects(Noiseball.load(chosen(given)), { type });
  // What has no parts beside a network is not a pipeline, whatever it calls itself.
  const { unet: _, ...parts } = JSON.parse(index);
  await assert.rejects(Noiseball.load(chosen({ ...files, 'model_index.json': JSON.stringify(parts) })), { type: 'checkpoint' });
});
