// Files over a network that fails in every usual way, through a cache that must never hold half a file.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import test, { beforeEach, afterEach } from 'node:test';
import { evict, purge, remember, storedFiles } from '../../www/cache.js';
import { download, downloadBytes } from '../../www/download.js';
import { FakeCaches, serveFiles } from './web-fakes.mjs';

const BODY = Buffer.from(Array.from({ length: 200_000 }, (_, i) => i % 251));
let files, server, url;

beforeEach(async () => {
  globalThis.caches = new FakeCaches();
  files = { '/w': { body: BODY, headers: { etag: '"1"' } } };
  server = await serveFiles(files);
  url = `${server.url}w`;
});
afterEach(() => server.close());

test('a file arrives whole, with progress up to its length', async () => {
  const seen = [];
  const bytes = await downloadBytes(url, { onProgress: (loaded, total) => seen.push([loaded, total]) });
  assert.deepEqual(Buffer.from(bytes), BODY);
  assert.deepEqual(seen[0], [0, BODY.length]);
  assert.deepEqual(seen.at(-1), [BODY.length, BODY.length]);
});

test('the second visit asks only whether the file changed', async () => {
  await downloadBytes(url, {});
  const bytes = await downloadBytes(url, {});
  assert.deepEqual(Buffer.from(bytes), BODY);
  assert.deepEqual(server.requests, ['GET /w', 'HEAD /w']);
});

test('a changed file is downloaded again and replaces the stored one', async () => {
  await downloadBytes(url, {});
  files['/w'] = { body: 'new', headers: { etag: '"2"' } };
  assert.equal(Buffer.from(await downloadBytes(url, {})).toString(), 'new');
  assert.equal(Buffer.from(await downloadBytes(url, {})).toString(), 'new');
  assert.deepEqual(server.requests, ['GET /w', 'HEAD /w', 'GET /w', 'HEAD /w']);
});

test('a weak ETag is the same file, and a date with a length will do', async () => {
  await downloadBytes(url, {});
  files['/w'].headers = { etag: 'W/"1"' };
  await downloadBytes(url, {});
  assert.deepEqual(server.requests, ['GET /w', 'HEAD /w']);

  await purge();
  files['/w'].headers = { 'last-modified': 'Tue, 01 Sep 2026 00:00:00 GMT' };
  await downloadBytes(url, {});
  await downloadBytes(url, {});
  assert.deepEqual(server.requests.slice(2), ['GET /w', 'HEAD /w']);
  files['/w'].body = 'another length, one date';
  assert.equal((await downloadBytes(url, {})).length, 24);
});

test('a file that cannot be checked is downloaded on every visit', async () => {
  files['/w'].headers = {};
  await downloadBytes(url, {});
  await downloadBytes(url, {});
  assert.deepEqual(server.requests, ['GET /w', 'HEAD /w', 'GET /w']);
});

test('without a network the stored file serves, and a stored absence too', async () => {
  await downloadBytes(url, {});
  assert.equal(await downloadBytes(`${server.url}none`, { optional: true }), null);
  await server.close();
  assert.deepEqual(Buffer.from(await downloadBytes(url, {})), BODY);
  assert.equal(await downloadBytes(`${server.url}none`, { optional: true }), null);
});

test('without a network and without a stored file the error says what may be wrong', async () => {
  await server.close();
  await assert.rejects(downloadBytes(url, {}), { type: 'fetch', message: /could not reach .*Access-Control-Allow-Origin/ });
});

test('a connection cut once is tried again, with a new sink and without storing the half', async () => {
  files['/w'].cutAfter = [70_000];
  const sinks = [];
  const open = (length) =>
    sinks.push({ length, loaded: 0, freed: 0, push: (chunk) => (sinks.at(-1).loaded += chunk.length), free: () => sinks.at(-1).freed++ }) &&
    sinks.at(-1);
  const sink = await download(url, { open });
  assert.equal(sink, sinks[1]);
  assert.deepEqual(
    sinks.map(({ length, loaded, freed }) => [length, loaded === BODY.length, freed]),
    [
      [BODY.length, false, 1],
      [BODY.length, true, 0],
    ],
  );
  assert.deepEqual(server.requests, ['GET /w', 'GET /w']);
});

test('a connection cut twice is an error that says so, and nothing is stored', async () => {
  files['/w'].cutAfter = [70_000, 70_000];
  await assert.rejects(downloadBytes(url, {}), { type: 'fetch', message: /was cut after \d+ of 200000 bytes/ });
  assert.deepEqual(caches.urls, []);
  assert.equal(server.requests.length, 2);
});

test('a stored file shorter than it was announced is not believed', async () => {
  await downloadBytes(url, {});
  const [store] = caches.stores.values();
  store.get(url).body = store.get(url).body.slice(0, 1000);
  assert.deepEqual(Buffer.from(await downloadBytes(url, {})), BODY);
});

test('each HTTP status says what it means; only absence may be optional', async () => {
  for (const [status, pattern] of [
    [404, /no such file.*Check the address/],
    [401, /asks for a login/],
    [429, /refuses further requests/],
    [500, /HTTP status 500/],
  ]) {
    files['/s'] = { body: 'x', status };
    await assert.rejects(downloadBytes(`${server.url}s`, {}), { type: 'fetch', message: pattern });
  }
  await assert.rejects(downloadBytes(`${server.url}s`, { optional: true }), { type: 'fetch' });
  for (const status of [403, 404, 410]) {
    files['/s'] = { body: 'x', status };
    assert.equal(await downloadBytes(`${server.url}s`, { optional: true }), null);
  }
});

test('a front page sent instead of a missing file is a missing file', async () => {
  files['/spa.json'] = { body: '<!doctype html>', headers: { 'content-type': 'text/html; charset=utf-8' } };
  assert.equal(await downloadBytes(`${server.url}spa.json`, { optional: true }), null);
});

test('an abort half way ends at once, stores nothing, and the next download works', async () => {
  const controller = new AbortController();
  const promise = downloadBytes(url, { signal: controller.signal, onProgress: (loaded) => loaded > 0 && controller.abort() });
  await assert.rejects(promise, { type: 'aborted' });
  assert.deepEqual(caches.urls, []);
  assert.deepEqual(Buffer.from(await downloadBytes(url, {})), BODY);
  await assert.rejects(downloadBytes(url, { signal: AbortSignal.abort() }), { type: 'aborted' });
});

test('a sink that refuses ends the download with its own error, and the file is not stored', async () => {
  const refusal = Object.assign(new Error('not safetensors'), { type: 'checkpoint' });
  const open = () => ({
    push: () => {
      throw refusal;
    },
  });
  await assert.rejects(download(url, { open }), refusal);
  assert.deepEqual(caches.urls, []);
});

test('refused, missing and forbidden storage change nothing but the next visit', async () => {
  caches.refuse = true;
  await downloadBytes(url, {});
  delete globalThis.caches;
  await downloadBytes(url, {});
  globalThis.caches = {
    open: () => Promise.reject(new DOMException('no', 'SecurityError')),
    delete: () => Promise.reject(new Error('no')),
  };
  assert.deepEqual(Buffer.from(await downloadBytes(url, {})), BODY);
  await purge();
  assert.deepEqual(await storedFiles(), { files: 0, bytes: 0 });
  assert.deepEqual(server.requests, ['GET /w', 'GET /w', 'GET /w']);
});

test('a disk that is slower than the network is waited for, and one that fills up is not', async () => {
  files['/w'].body = Buffer.alloc(40_000_000, 7);
  const cache = await globalThis.caches.open('noiseball-1');
  for (const fills of [false, true]) {
    let goOn;
    const waits = new Promise((resolve) => (goOn = resolve));
    const put = async (_url, response) => {
      const reader = response.body?.getReader();
      await reader?.read();
      await waits;
      if (fills) {
        await reader?.cancel();
        throw new DOMException('no room', 'QuotaExceededError');
      }
      while (reader && !(await reader.read()).done);
    };
    globalThis.caches = { open: async () => ({ ...cache, put }) };
    let loaded = 0;
    const whole = download(url, { open: () => ({ push: (chunk) => (loaded += chunk.length) }) });
    let before = -1;
    while (loaded === 0 || loaded > before) {
      before = loaded;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.ok(loaded > 4e6 && loaded < 1e7, `${loaded} bytes`);
    goOn();
    await whole;
    assert.equal(loaded, 4e7);
  }
});

test('what is stored is counted, and purge forgets every file', async () => {
  assert.deepEqual(await storedFiles(), { files: 0, bytes: 0 });
  assert.equal(caches.stores.size, 0, 'looking makes no cache');
  await downloadBytes(url, {});
  await downloadBytes(`${url}/none`, { optional: true });
  await remember('a note', 'of ours');
  assert.equal(caches.urls.length, 3);
  assert.deepEqual(await storedFiles(), { files: 1, bytes: BODY.length });
  await purge();
  assert.deepEqual(caches.urls, []);
});

test('a file with a hash is that file, or it does not come; nothing of it is stored', async () => {
  const integrity = `sha256-${createHash('sha256').update(BODY).digest('base64')}`;
  for (let i = 0; i < 2; i++) assert.deepEqual(Buffer.from(await downloadBytes(url, { integrity })), BODY);
  assert.deepEqual(server.requests, ['GET /w', 'GET /w']);
  await downloadBytes(url, {}); // stored, whatever it is
  files['/w'] = { body: 'another', headers: { etag: '"1"' } };
  await assert.rejects(downloadBytes(url, { integrity }), { type: 'fetch', message: /not the one that `integrity` names: sha256-/ });
});

test('two addresses of the same bytes keep them once; one that says so beforehand is not even downloaded', async () => {
  const size = 2 ** 24;
  const large = Buffer.alloc(size, 7);
  const hash = createHash('sha256').update(large).digest('hex');
  files['/one'] = { body: large, headers: { etag: '"one"' } };
  files['/two'] = { body: large, headers: { etag: '"two"' } };
  files['/hub'] = { body: large, headers: { etag: `"${hash}"` } };
  const at = (path) => `${server.url}${path}`;
  const stored = () => [...caches.stores.values()].flatMap((store) => [...store.values()].map(({ body }) => body?.byteLength ?? 0));
  const total = () => stored().reduce((sum, length) => sum + length, 0);
  for (const path of ['one', 'two', 'hub']) assert.deepEqual(Buffer.from(await downloadBytes(at(path), {})), large);
  assert.ok(total() < size + 1000, `${total()} bytes stored`);
  assert.deepEqual(await storedFiles(), { files: 3, bytes: size });
  for (const path of ['one', 'two', 'hub']) assert.deepEqual(Buffer.from(await downloadBytes(at(path), {})), large);
  assert.deepEqual(server.requests.slice(3), ['HEAD /one', 'HEAD /two', 'HEAD /hub']);
  // Whose bytes are gone is downloaded again.
  await evict(at('one'));
  assert.deepEqual(Buffer.from(await downloadBytes(at('two'), {})), large);
  assert.deepEqual(server.requests.slice(6), ['GET /two']);
  // What becomes another file at one address stays what it was at the other.
  await downloadBytes(at('one'), {});
  files['/two'] = { body: Buffer.alloc(size, 8), headers: { etag: '"newer"' } };
  assert.equal((await downloadBytes(at('two'), {}))[0], 8);
  assert.deepEqual(Buffer.from(await downloadBytes(at('one'), {})), large);
  // What a server claims of its file is believed of nobody else's.
  files['/liar'] = { body: Buffer.alloc(size, 1), headers: { etag: `"${'a'.repeat(64)}"` } };
  files['/other'] = { body: Buffer.alloc(size, 2), headers: { etag: `"${'a'.repeat(64)}"` } };
  await downloadBytes(at('liar'), {});
  assert.equal((await downloadBytes(at('other'), {}))[0], 2);
  await purge();
  assert.equal(caches.stores.size, 0);
});
