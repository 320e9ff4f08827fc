// What `npm pack` puts into the package, and what happens where there is no browser.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { test } from 'node:test';
import { root } from '../../tools/setup/shell.mjs';

const manifest = JSON.parse(readFileSync(join(root, 'package.json')));
const npm = process.env.npm_execpath;
const [program, first] = npm ? [process.execPath, [npm]] : ['npm', []];
const packing = [...first, 'pack', '--dry-run', '--json', '--ignore-scripts'];
const [{ files, unpackedSize }] = JSON.parse(
  execFileSync(program, packing, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
);
const packed = new Set(files.map(({ path }) => path));
const isBuilt = (path) => /^www\/pkg(-text|-train)?\//.test(path);

/** What a module names as its own: imports and addresses, in the form that bundlers see. */
function namedBy(path) {
  const text = readFileSync(join(root, path), 'utf8').replace(/^\s*(\/\/|\*|\/\*).*$/gm, '');
  const found = text.matchAll(/(?:from|import|import\(|new URL\()\s*'(\.{1,2}\/[^']+)'/g);
  return [...found].map(([, name]) => posix.join(posix.dirname(path), name));
}

test('everything that its modules name is in the package', () => {
  const entries = Object.values(manifest.exports).flatMap((entry) => (typeof entry === 'string' ? entry : Object.values(entry)));
  const seen = new Set();
  const wanted = [...entries, ...manifest.sideEffects, manifest.main, manifest.types].map((path) => posix.normalize(path));
  for (const path of wanted) {
    if (seen.has(path)) continue;
    seen.add(path);
    if (isBuilt(path)) continue;
    assert.ok(packed.has(path), `${path} is not in the package`);
    if (/\.js$/.test(path)) wanted.push(...namedBy(path));
  }
  for (const path of [
    'www/worker.js',
    'www/text/worker.js',
    'www/train/worker.js',
    'www/data/digits.png',
    'www/data/faces.js',
    'www/elements/sampling.js',
    'www/elements/process.js',
    'www/pkg/noiseball_bg.wasm',
    'www/zip.js',
  ])
    assert.ok(seen.has(path), `${path} was not reached: this test looks in the wrong places`);
});

test('nothing else is in it but the licences and two models to begin with', () => {
  const others = [...packed].filter((path) => !path.startsWith('www/'));
  assert.deepEqual(others.sort(), ['LICENSE-APACHE', 'LICENSE-MIT', 'README.md', 'package.json']);
  for (const path of packed) assert.doesNotMatch(path, /\/(site|story|tests|node_modules)\/|\.map$|\.test\.|\/\.|pkg.*\.d\.ts$/);
  const names = readdirSync(join(root, 'www', 'models'), { withFileTypes: true }).filter((entry) => entry.isDirectory());
  // One is as large as both others: the site has it, and the package does not.
  assert.deepEqual(names.map(({ name }) => name).sort(), ['emoji-64', 'kanji-32', 'pixel-faces-16']);
  assert.ok(![...packed].some((path) => path.includes('emoji-64')));
  for (const { name } of names.filter(({ name }) => name !== 'emoji-64')) {
    const model = [...packed].filter((path) => path.startsWith(`www/models/${name}/`));
    assert.deepEqual(model.map((path) => path.slice(`www/models/${name}/`.length)).sort(), [
      'README.md',
      'labels.json',
      'model_index.json',
      'scheduler/scheduler_config.json',
      'unet/config.json',
      'unet/diffusion_pytorch_model.safetensors',
    ]);
    // Its module names the files that a checkpoint has, all of them; it is an entry, and no other module names it.
    const named = namedBy(`www/models/${name}.js`);
    assert.deepEqual(named.sort(), model.filter((path) => !path.endsWith('README.md')).sort());
    assert.equal(manifest.exports[`./models/${name}`].default, `./www/models/${name}.js`);
    const modules = [...packed].filter((path) => path.endsWith('.js') && !isBuilt(path));
    assert.deepEqual(
      modules.filter((path) => namedBy(path).includes(`www/models/${name}.js`)),
      [],
      'loaded unasked',
    );
  }
  const modules = files.filter(({ path }) => isBuilt(path)).reduce((sum, { size }) => sum + size, 0);
  assert.ok(unpackedSize - modules < 11.5e6, `${unpackedSize - modules} bytes beside the wasm modules`);
  assert.ok(
    files.every(({ size }) => size < 25 * 2 ** 20),
    'some hosts take no larger file',
  );
});

test('sampling names nothing of training, so that no bundle holds it unasked', () => {
  const seen = new Set(['www/noiseball.js']);
  for (const path of seen)
    if (!isBuilt(path) && existsSync(join(root, path)) && path.endsWith('.js')) for (const named of namedBy(path)) seen.add(named);
  assert.ok(seen.has('www/worker.js') && seen.has('www/pkg/noiseball.js'));
  assert.deepEqual(
    [...seen].filter((path) => /train|data\//.test(path)),
    [],
  );
});

test('the package can be imported where there is no browser, and says so when it is used', async () => {
  const { Noiseball, NoiseballError } = await import('noiseball');
  const { prepare, BUNDLED } = await import('noiseball/train');
  assert.equal(BUNDLED[0], 'digits');
  assert.deepEqual(Object.keys(await import('noiseball/elements')).sort(), [
    'DiffusionProcess',
    'DiffusionSampler',
    'DiffusionTrainer',
    'h',
    's',
  ]);
  for (const call of [Noiseball.load('https://example.org/model/'), prepare('digits')]) {
    await assert.rejects(
      call,
      (error) => error instanceof NoiseballError && error.type === 'no-browser' && /in the page, not on the server/.test(error.message),
    );
  }
});

test('npm is given archives by addresses that it does not take for repositories on GitHub', () => {
  const guides = ['README.md', '.github/workflows/release.yml', ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`)];
  const given = guides
    .filter((path) => /\.(md|yml)$/.test(path))
    .flatMap((path) =>
      [...readFileSync(join(root, path), 'utf8').matchAll(/npm (?:publish|install) (\S+\.tgz)/g)].map(([, file]) => [path, file]),
    );
  assert.deepEqual(
    given.filter(([, file]) => !/^(\.{0,2}\/|https:)/.test(file)),
    [],
  );
  for (const path of ['README.md', 'docs/releasing.md', '.github/workflows/release.yml'])
    assert.ok(
      given.some(([of]) => of === path),
      path,
    );
});
