import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { serve } from '../../tools/build/serve.mjs';

const scratch = mkdtempSync(join(tmpdir(), 'noiseball-serve-'));
const folder = join(scratch, 'site');
let site;

before(async () => {
  mkdirSync(join(folder, 'www', 'deep'), { recursive: true });
  mkdirSync(join(folder, 'private'));
  writeFileSync(join(scratch, 'outside.txt'), 'secret');
  writeFileSync(join(folder, 'private', 'key.txt'), 'secret');
  writeFileSync(join(folder, '.hidden'), 'secret');
  writeFileSync(join(folder, 'index.html'), '<!doctype html>');
  writeFileSync(join(folder, 'www', 'module.wasm'), Buffer.from([0, 97, 115, 109]));
  writeFileSync(join(folder, 'www', 'a b.js'), 'export {}');
  symlinkSync(join(scratch, 'outside.txt'), join(folder, 'www', 'link.txt'));
  site = await serve({ folder, base: '/sub/', only: ['index.html', 'www'], port: 0 });
});

after(async () => {
  await site.close();
  rmSync(scratch, { recursive: true });
});

/** A request whose path goes out as written: fetch would tidy `..` away. */
function get(path, headers = {}, method = 'GET') {
  const { port } = new URL(site.url);
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, path, headers, method, agent: false }, (response) => {
      let body = '';
      response.on('data', (chunk) => (body += chunk));
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body }));
    });
    sent.on('error', reject).end();
  });
}

test('files have their types and are checked with the server each time', async () => {
  const page = await get('/sub/');
  assert.equal(page.status, 200);
  assert.equal(page.body, '<!doctype html>');
  assert.match(page.headers['content-type'], /^text\/html/);
  assert.equal(page.headers['cache-control'], 'no-cache');
  assert.equal((await get('/sub/www/module.wasm')).headers['content-type'], 'application/wasm');
  assert.match((await get('/sub/www/a%20b.js?v=1')).headers['content-type'], /^text\/javascript/);
});

test('an unchanged file is not sent again', async () => {
  const { headers } = await get('/sub/index.html');
  const again = await get('/sub/index.html', { 'if-none-match': headers.etag });
  assert.deepEqual([again.status, again.body], [304, '']);
});

test('folders get their slash', async () => {
  const { status, headers } = await get('/sub/www/deep');
  assert.deepEqual([status, headers.location], [301, '/sub/www/deep/']);
  assert.equal((await get('/sub')).headers.location, '/sub/');
});

for (const path of [
  '/sub/www/../../outside.txt',
  '/sub/www/%2e%2e/%2e%2e/outside.txt',
  '/sub/www/..%2f..%2foutside.txt',
  '/sub/www/..%5c..%5coutside.txt',
  '/sub/www//etc/passwd',
  '/sub//etc/passwd',
  '/sub/www/link.txt',
  '/sub/.hidden',
  '/sub/private/key.txt',
  '/sub/www/nothing.js',
  '/sub/www/a%00.js',
  '/index.html',
]) {
  test(`${path} is not found`, async () => {
    assert.deepEqual(await get(path).then(({ status, body }) => [status, body]), [404, '']);
  });
}

test('what is not a request for a file is refused', async () => {
  assert.equal((await get('/sub/%zz')).status, 400);
  assert.equal((await get('/sub/', {}, 'POST')).status, 405);
  assert.equal((await get('/sub/', {}, 'HEAD')).body, '');
});

test('a port in use is passed over, unless it was asked for', async () => {
  const first = await serve({ folder });
  const second = await serve({ folder });
  assert.ok(Number(new URL(second.url).port) > Number(new URL(first.url).port));
  await assert.rejects(serve({ folder, port: new URL(first.url).port }), /Choose another port/);
  await Promise.all([first.close(), second.close()]);
});

test('closing does not wait for a browser that has stopped reading', async () => {
  writeFileSync(join(folder, 'large.bin'), Buffer.alloc(1 << 24));
  const { url, close } = await serve({ folder, port: 0 });
  const reader = connect(new URL(url).port, '127.0.0.1', () => reader.write('GET /large.bin HTTP/1.1\r\nhost: here\r\n\r\n'));
  await once(reader, 'readable');
  await close();
  reader.on('error', () => {}).destroy();
});
