// What can be loaded: addresses, hub ids, chosen and dropped files.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { typed } from '../../www/site/open.js';
import { resolveSource } from '../../www/source.js';

const BASE = 'https://blog.example/posts/noise.html';

const addresses = {
  './models/faces/': ['https://blog.example/posts/models/faces/', 'faces'],
  './models/faces': ['https://blog.example/posts/models/faces/', 'faces'],
  '../faces/unet/config.json': ['https://blog.example/faces/', 'faces'],
  'https://x.example/m/model_index.json?key=1#top': ['https://x.example/m/?key=1', 'm'],
  'https://x.example/m/unet/diffusion_pytorch_model.safetensors': ['https://x.example/m/', 'm'],
  'https://x.example/flat/config.json': ['https://x.example/flat/', 'flat'],
  // Nothing is asked for at another site that the author has not named.
  'faces/v2': ['https://blog.example/posts/faces/v2/', 'v2'],
  'https://huggingface.co/google/ddpm-cifar10-32': [
    'https://huggingface.co/google/ddpm-cifar10-32/resolve/main/',
    'google/ddpm-cifar10-32',
  ],
  'https://huggingface.co/a/b/tree/v2': ['https://huggingface.co/a/b/resolve/v2/', 'a/b'],
  'https://huggingface.co/a/b/resolve/main/': ['https://huggingface.co/a/b/resolve/main/', 'a/b'],
  'models/faces/': ['https://blog.example/posts/models/faces/', 'faces'],
  'hf:google/ddpm-cifar10-32': ['https://huggingface.co/google/ddpm-cifar10-32/resolve/main/', 'google/ddpm-cifar10-32'],
  'hf:a/b@v2.1': ['https://huggingface.co/a/b/resolve/v2.1/', 'a/b'],
  'hf:a/b/small/unet': ['https://huggingface.co/a/b/resolve/main/small/', 'a/b'],
  'hf:a/b@refs/pr/1/small/': ['https://huggingface.co/a/b/resolve/refs%2Fpr%2F1/small/', 'a/b'],
  'a/b/c': ['https://blog.example/posts/a/b/c/', 'c'],
};

for (const [text, [url, name]] of Object.entries(addresses)) {
  test(`'${text}' is ${url}`, async () => assert.deepEqual(await resolveSource(text, BASE), { kind: 'url', url, name }));
}

for (const { text, folder } of JSON.parse(readFileSync(new URL('../fixtures/addresses.json', import.meta.url), 'utf8'))) {
  test(`'${text}' is the folder that the terminal makes of it`, async () =>
    assert.equal((await resolveSource(typed(text), BASE)).url, folder));
}

for (const bad of [
  '',
  'hf:',
  'hf:a',
  'hf:a/b@',
  'hf:../b',
  'hf:a/b/../../c',
  'hf:a/b?x=1',
  'javascript:alert(1)',
  'file:///etc/passwd',
  'http://',
  7,
  null,
  undefined,
  {},
  [1],
  { 'unet/config.json': 'javascript:alert(1)' },
  { 'unet/config.json': 7 },
]) {
  test(`${JSON.stringify(bad)} is refused as an option`, async () => {
    await assert.rejects(resolveSource(bad, BASE), { name: 'NoiseballError', type: 'invalid-option' });
  });
}

test('a map of paths keeps its addresses, and the folder that they share names the model', async () => {
  const source = await resolveSource(
    { 'a.json': './m/a-1.json', 'unet/b.json': new URL('https://blog.example/posts/m/unet/b.json') },
    BASE,
  );
  const urls = { 'a.json': 'https://blog.example/posts/m/a-1.json', 'unet/b.json': 'https://blog.example/posts/m/unet/b.json' };
  assert.deepEqual(source, { kind: 'urls', urls, name: 'm' });
  assert.equal((await resolveSource({ 'a.json': 'data:,1', 'b.json': 'https://a.example/x/y' })).name, 'x');
  assert.equal((await resolveSource({ 'a.json': 'https://a.example/x/y', 'b.json': 'https://b.example/x/y' })).name, 'a model');
});

test('chosen files keep their paths, and the folder names the model', async () => {
  const file = Object.assign(new File(['{}'], 'config.json'), { webkitRelativePath: 'my-model/unet/config.json' });
  const source = await resolveSource([file], BASE);
  assert.equal(source.name, 'my-model');
  assert.deepEqual(source.files, [{ path: 'my-model/unet/config.json', file }]);
});

test('loose files have no folder to be named after', async () => {
  const source = await resolveSource([new File([''], 'config.json'), new File([''], 'model.safetensors')], BASE);
  assert.deepEqual([source.name, source.files.map(({ path }) => path)], ['your files', ['config.json', 'model.safetensors']]);
});

test('a dropped folder is read to its end, below hidden names not at all', async () => {
  const entries = [folder('m', [folder('unet', many(230)), folder('.git', [leaf('config')]), leaf('labels.json')])];
  const items = entries.map((entry) => ({ webkitGetAsEntry: () => entry }));
  const source = await resolveSource({ items, files: [] }, BASE);
  assert.equal(source.files.length, 231);
  assert.equal(source.name, 'm');
  assert.equal(source.files[0].path, 'm/labels.json');
  assert.deepEqual(await resolveSource(entries, BASE), source, 'the entries themselves do too');
});

test('a drop is read before its event ends', async () => {
  let inEvent = true;
  const item = { webkitGetAsEntry: () => (inEvent ? folder('m', [leaf('config.json')]) : null) };
  const promise = resolveSource({ items: [item] }, BASE);
  inEvent = false;
  assert.equal((await promise).files.length, 1);
});

test('an entry that cannot be read says which', async () => {
  const broken = { isFile: true, fullPath: '/m/x.json', name: 'x.json', file: (_, reject) => reject(new Error('gone')) };
  await assert.rejects(resolveSource([broken], BASE), { type: 'fetch', message: /\/m\/x\.json: gone/ });
});

test('an empty folder is no checkpoint', async () => {
  await assert.rejects(resolveSource([folder('m', [])], BASE), { type: 'checkpoint' });
});

function leaf(name, path = '') {
  return { isFile: true, name, fullPath: `${path}/${name}`, file: (resolve) => resolve(new File([''], name)) };
}

function many(count) {
  return Array.from({ length: count }, (_, i) => leaf(`${i}.json`));
}

/** A FileSystemDirectoryEntry, which like Chromium's gives at most 100 entries a call. */
function folder(name, children, path = '') {
  const fullPath = `${path}/${name}`;
  const placed = children.map((child) => (child.isFile ? leaf(child.name, fullPath) : folder(child.name, child.children, fullPath)));
  const createReader = () => {
    let at = 0;
    return { readEntries: (resolve) => resolve(placed.slice(at, (at += 100))) };
  };
  return { isDirectory: true, name, fullPath, children, createReader };
}
