// tests/fixtures/opening.json: what is in a folder, and what becomes of it, through the page's own code and the engine itself.
// The terminal is held to the same table by tests/checkpoint_fetch.rs.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import test, { after, before } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Noiseball } from '../../www/noiseball.js';
import * as engine from '../../www/pkg/noiseball.js';
import * as larger from '../../www/pkg-text/noiseball_text.js';
import { FakeCaches, installWorker, serveFiles } from './web-fakes.mjs';

const fixtures = new URL('../fixtures/', import.meta.url);
/** Pipelines of several networks are opened by another module: pipelines.test.mjs. */
const ELSEWHERE = ['a pipeline with a decoder', 'a text-to-image pipeline', 'a pipeline without a U-Net'];
const cases = JSON.parse(readFileSync(new URL('opening.json', fixtures), 'utf8')).filter(({ name }) => !ELSEWHERE.includes(name));
const checkpoint = (path) => readFileSync(new URL(`checkpoints/${path}`, fixtures));

let workers;

before(() => {
  engine.initSync({ module: readFileSync(new URL('../../www/pkg/noiseball_bg.wasm', import.meta.url)) });
  larger.initSync({ module: readFileSync(new URL('../../www/pkg-text/noiseball_text_bg.wasm', import.meta.url)) });
  workers = installWorker(engine, undefined, larger);
});

for (const { name, files: specs, variant, expect, unlisted = expect, absent = 404 } of cases) {
  const files = Object.entries(specs).map(([path, spec]) => [path, content(spec)]);

  test(`${name}: chosen files`, async () => {
    await check(expect, Noiseball.load(chosen(files), { variant, device: 'cpu' }));
  });

  test(`${name}: by address`, async () => {
    globalThis.caches = new FakeCaches();
    const served = Object.fromEntries(files.map(([path, body]) => [`/${path}`, { body, headers: { etag: '"1"' } }]));
    const server = await serveFiles(served, absent);
    after(() => server.close());
    await check(unlisted, Noiseball.load(server.url, { variant, device: 'cpu' }));
    if (unlisted.error) assert.deepEqual(caches.urls, [], 'a load that failed leaves nothing stored');
    else assert.ok(caches.urls.length > 0);
  });
}

test("PyTorch's own files are opened by the larger module, which starts where there are some", async () => {
  assert.ok(!workers.some(({ url }) => String(url).includes('/text/')), 'nothing before had any');
  for (const [pickled, same] of [
    ['pickle', 'layout-a'],
    ['pickle-shards', 'class-conditional'],
  ]) {
    globalThis.caches = new FakeCaches();
    const server = await serveFiles(Object.fromEntries(filesBelow(pickled).map(([path, body]) => [`/${path}`, { body }])));
    after(() => server.close());
    const models = [];
    for (const source of [server.url, chosen(filesBelow(pickled)), chosen(filesBelow(same))])
      models.push(await Noiseball.load(source, { device: 'cpu' }));
    assert.ok(server.requests.includes('GET /unet/config.json') && caches.urls.some((url) => url.includes('.bin')));
    const pictures = [];
    for (const model of models) for await (const { latents } of model.sample({ steps: 1, batch: 1, seed: 3 })) pictures.push(latents);
    assert.deepEqual(pictures[0], pictures[2]);
    assert.deepEqual(pictures[1], pictures[2]);
    const [{ device: _, name: __, ...found }, , { device: ___, name: ____, ...expected }] = models.map(({ info }) => info);
    assert.deepEqual({ ...found, memory: null, unknownKeys: null }, { ...expected, memory: null, unknownKeys: null });
    for (const model of models) model.dispose();
  }
  assert.equal(workers.filter(({ url }) => String(url).endsWith('/text/worker.js')).length, 1);
  const spoilt = filesBelow('pickle').map(([path, body]) => [path, path.endsWith('.bin') ? body.subarray(0, 500) : body]);
  const failed = { type: 'checkpoint', message: /cannot be read as PyTorch weights: it ends after 500 bytes/ };
  await assert.rejects(Noiseball.load(chosen(spoilt), { device: 'cpu' }), failed);
});

function filesBelow(folder) {
  const paths = readdirSync(new URL(`checkpoints/${folder}`, fixtures), { recursive: true, withFileTypes: true });
  return paths
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => relative(fileURLToPath(new URL(`checkpoints/${folder}`, fixtures)), join(parentPath, name)))
    .map((path) => [path.replaceAll('\\', '/'), checkpoint(`${folder}/${path}`)]);
}

/** Files as a reader chose them. */
function chosen(files) {
  return files.map(([path, body]) => Object.assign(new File([body], path.split('/').at(-1)), { webkitRelativePath: `mine/${path}` }));
}

test('a map of addresses is read as chosen files are, also where an address holds its file', async () => {
  globalThis.caches = new FakeCaches();
  const read = (path) => readFileSync(new URL(`../../www/models/pixel-faces-16/${path}`, import.meta.url));
  const weights = 'unet/diffusion_pytorch_model.safetensors';
  const server = await serveFiles({ '/w-8f3a.bin': { body: read(weights), headers: { etag: '"1"' } } });
  after(() => server.close());
  const map = {
    'unet/config.json': `data:application/json;base64,${read('unet/config.json').toString('base64')}`,
    'scheduler/scheduler_config.json': `data:application/json,${encodeURIComponent(read('scheduler/scheduler_config.json'))}`,
    [weights]: `${server.url}w-8f3a.bin`,
  };
  const { info } = await Noiseball.load(map, { device: 'cpu' });
  assert.equal(info.parameters > 1e6, true);
  assert.deepEqual(
    caches.urls.filter((url) => !url.startsWith('https://notes.invalid/')),
    [map[weights]],
  );
  assert.deepEqual(server.requests, ['GET /w-8f3a.bin'], 'what the map has not is not asked for');
});

async function check(expected, loading) {
  if (!expected.error) {
    const { info } = await loading;
    for (const [key, value] of Object.entries(expected.info)) assert.deepEqual(info[key], value, key);
    return;
  }
  await assert.rejects(loading, (error) => {
    assert.equal(error.type, expected.error, error.message);
    for (const part of expected.says) assert.ok(error.message.includes(part), `${part} in ${error.message}`);
    return true;
  });
}

function content({ copy, with: changes, text, spaces, tensors, weights, prefix = '', again, drop, json }) {
  if (copy) return changes ? JSON.stringify({ ...JSON.parse(checkpoint(copy)), ...changes }) : checkpoint(copy);
  if (text !== undefined) return text;
  if (spaces !== undefined) return ' '.repeat(spaces);
  if (tensors) {
    const zeros = (shape) => Buffer.alloc(4 * shape.reduce((product, size) => product * size, 1));
    return safetensors(Object.entries(tensors).map(([name, shape]) => ({ name, dtype: 'F32', shape, bytes: zeros(shape) })));
  }
  if (weights) {
    // The marker is a tensor that nobody asks for, by which the file is known again.
    const marker = { name: `marker.${weights}`, dtype: 'F32', shape: [0], bytes: Buffer.alloc(0) };
    const all = [...layoutA().filter(({ name }) => name !== drop), marker];
    const behind = (before) => all.map((tensor) => ({ ...tensor, name: before + tensor.name }));
    return safetensors([...behind(prefix), ...(again ? behind(again) : [])]);
  }
  if (json.weight_map?.['*']) {
    // `*` is every name of layout A.
    const { '*': file, ...map } = json.weight_map;
    const every = Object.fromEntries(layoutA().map(({ name }) => [name, file]));
    return JSON.stringify({ ...json, weight_map: { ...every, ...map } });
  }
  return JSON.stringify(json);
}

function layoutA() {
  const file = checkpoint('layout-a/unet/diffusion_pytorch_model.safetensors');
  const start = 8 + Number(file.readBigUInt64LE());
  const { __metadata__: _, ...tensors } = JSON.parse(file.subarray(8, start));
  return Object.entries(tensors).map(
    ([
      name,
      {
        dtype,
        shape,
        data_offsets: [from, to],
      },
    ]) => ({
      name,
      dtype,
      shape,
      bytes: file.subarray(start + from, start + to),
    }),
  );
}

function safetensors(tensors) {
  const header = {};
  let at = 0;
  for (const { name, dtype, shape, bytes } of tensors) header[name] = { dtype, shape, data_offsets: [at, (at += bytes.length)] };
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, ...tensors.map(({ bytes }) => bytes)]);
}
