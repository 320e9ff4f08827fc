import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { versions } from '../../tools/build/version.mjs';
import { shortenImports } from '../../tools/build/imports.mjs';
import { orderFunctions } from '../../tools/build/order.mjs';
import {
  addressed,
  BUDGETS,
  checkFloats,
  checkSize,
  commandExports,
  isSite,
  printsFloats,
  serviceWorker,
} from '../../tools/build/site.mjs';
import { older } from '../../tools/setup/rust.mjs';
import { lockedVersion, root, SetupError } from '../../tools/setup/shell.mjs';
import { counts } from '../../tools/test/counts.mjs';
import { rustdocCall } from '../../tools/test/lint.mjs';

const section = (id, bytes) => [id, bytes.length, ...bytes];

/** A wasm module with an empty function exported as `name`. */
function moduleExporting(name) {
  const types = section(1, [1, 0x60, 0, 0]);
  const functions = section(3, [1, 0]);
  const exports = section(7, [1, name.length, ...Buffer.from(name), 0, 0]);
  const code = section(10, [1, 2, 0, 0x0b]);
  return Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...types, ...functions, ...exports, ...code]);
}

test('a module that re-runs its constructors is noticed', () => {
  assert.deepEqual(commandExports(moduleExporting('sample.command_export')), ['sample.command_export']);
  assert.deepEqual(commandExports(moduleExporting('sample')), []);
});

test('what a module imports gets short names, in its script too', () => {
  const string = (text) => [text.length, ...Buffer.from(text)];
  const names = ['__wbg_next_0123456789abcdef', '__wbg_nextElement_0123456789abcdef'];
  const imports = names.flatMap((name) => [...string('./noiseball_bg.js'), ...string(name), 0, 0]);
  const sections = [...section(1, [1, 0x60, 0, 0]), ...section(2, [2, ...imports])];
  const module = Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...sections]);
  const script = `const import0 = {\n        ${names[0]}: 1,\n        ${names[1]}: 2,\n};\nreturn { "./noiseball_bg.js": import0 };`;
  const short = shortenImports(module, script);
  assert.equal(short.script, 'const import0 = {\n        f0: 1,\n        f1: 2,\n};\nreturn { "m": import0 };');
  const found = WebAssembly.Module.imports(new WebAssembly.Module(short.module));
  assert.deepEqual(
    found.map(({ module, name }) => [module, name]),
    [
      ['m', 'f0'],
      ['m', 'f1'],
    ],
  );
  assert.throws(() => shortenImports(module, script.replace(names[1], 'other')), /the script has 0 of __wbg_nextElement/);
});

test('functions that resemble each other stand together, and are called by their new numbers', () => {
  // Function 0 is imported and 1 to 3 are the module's; 1 and 3 are alike, and only 3 adds what 2 gives.
  const sum = (last) => [...Array(9).fill([0x41, 1, 0x6a]).flat(), ...last, 0x0b];
  const bodies = [
    [0x41, 0, ...sum([])],
    [0x41, 40, 0x0b],
    [0x41, 0, ...sum([0x10, 2, 0x6a])],
  ].map((body) => [0, ...body]);
  const sections = [
    ...section(1, [1, 0x60, 0, 1, 0x7f]),
    ...section(2, [1, 1, 0x6d, 1, 0x66, 0, 0]),
    ...section(3, [3, 0, 0, 0]),
    ...section(4, [1, 0x70, 0, 2]),
    ...section(7, [4, 1, 0x61, 0, 1, 1, 0x62, 0, 2, 1, 0x63, 0, 3, 1, 0x74, 1, 0]),
    ...section(9, [1, 0, 0x41, 0, 0x0b, 2, 2, 3]),
    ...section(10, [3, ...bodies.flatMap((body) => [body.length, ...body])]),
  ];
  const module = orderFunctions(Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...sections]));
  const { a, b, c, t } = new WebAssembly.Instance(new WebAssembly.Module(module), { m: { f: () => 7 } }).exports;
  assert.deepEqual([a(), b(), c(), t.get(0)(), t.get(1)()], [9, 40, 49, 40, 49]);
  assert.deepEqual(
    [a, b, c].map((f) => Number(f.name)),
    [1, 3, 2],
  );
});

test('a module over its budget is refused, with the number', () => {
  for (const { folder, coding, bytes } of BUDGETS) {
    const sizes = { path: `www/${folder}/a.wasm`, gzip: 0, brotli: 0 };
    checkSize({ ...sizes, [coding]: bytes });
    assert.throws(
      () => checkSize({ ...sizes, [coding]: bytes + 7 }),
      new RegExp(`${folder}/a\\.wasm is ${bytes + 7} bytes with ${coding}, 7 more`),
    );
  }
});

test('a sampling module with code for printing floats is refused, and told by an assertion of that code', () => {
  const found = printsFloats(Buffer.from('...assertion failed: d.mant > 0assertion failed: d.plus > 0'));
  assert.throws(() => checkFloats({ path: 'www/pkg/a.wasm', printsFloats: found }), /text::number/);
  checkFloats({ path: 'www/pkg-train/a.wasm', printsFloats: found });
  checkFloats({ path: 'www/pkg/a.wasm', printsFloats: printsFloats(Buffer.from('assertion failed: other')) });
});

test('tests and hidden files stay out of the site', () => {
  assert.deepEqual(['noiseball.js', 'a.test.js', '.DS_Store', 'tests', 'config.json'].map(isSite), [true, false, false, false, true]);
});

test('versions are read from a lock file, whole names only', () => {
  const lock = '[[package]]\nname = "wasm-bindgen-futures"\nversion = "0.4.1"\n\n[[package]]\nname = "wasm-bindgen"\nversion = "0.2.3"\n';
  assert.equal(lockedVersion('wasm-bindgen', lock), '0.2.3');
  assert.throws(() => lockedVersion('wasm', lock), SetupError);
});

test('Rust versions compare by number', () => {
  assert.deepEqual(
    [older('1.95', '1.95'), older('1.9', '1.95'), older('1.100', '1.95'), older('2.0', '1.95')],
    [false, true, false, false],
  );
});

test('closing lines are counted', () => {
  const cargo = 'test result: ok. 3 passed; 0 failed; 1 ignored\nnoise\ntest result: FAILED. 2 passed; 4 failed; 0 ignored\n';
  assert.deepEqual(counts.cargo(cargo), { passed: 5, failed: 4 });
  assert.deepEqual(counts.node('ℹ tests 5\nℹ pass 3\nℹ fail 1\nℹ cancelled 1\n'), { passed: 3, failed: 2 });
  assert.deepEqual(counts.playwright('  1 failed\n    [chromium] › a.spec.mjs\n  1 flaky\n  7 passed (3.1s)\n'), { passed: 7, failed: 2 });
});

test('the call that makes documentation is that of its tests, without what is for tests', () => {
  const call = `CARGO=/bin/cargo /bin/rustdoc --edition=2024 --crate-name noiseball --test src/lib.rs --test-run-directory /a --no-run --cfg 'feature="cli"' --extern a=/b.rlib --test-args --list`;
  assert.deepEqual(rustdocCall(`   Doc-tests noiseball\n     Running \`${call}\`\n0 tests\n`), [
    ...['/bin/rustdoc', '--edition=2024', '--crate-name', 'noiseball', 'src/lib.rs', '--cfg', 'feature="cli"', '--extern', 'a=/b.rlib'],
  ]);
  assert.equal(rustdocCall('     Running `rustc --test src/lib.rs`\n'), null);
});

test('the npm package and the crate have one version', () => {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url)));
  assert.equal(lockedVersion('noiseball'), version);
});

test('every manifest has the same version', () => {
  const { 'package.json': version, ...others } = versions();
  assert.match(version, /^\d+\.\d+\.\d+/);
  for (const [path, other] of Object.entries(others)) assert.equal(other, version, path);
});

test('the card’s address is told where the site’s is known, and nothing of it elsewhere', () => {
  const page = readFileSync(join(root, 'index.html'), 'utf8');
  assert.doesNotMatch(addressed(page), /og:image|og:url/);
  for (const url of ['https://example.org/noiseball', 'https://example.org/noiseball/']) {
    const built = addressed(page, url);
    assert.match(built, /<meta property="og:image" content="https:\/\/example\.org\/noiseball\/www\/site\/card\.png">/);
    assert.match(built, /<meta property="og:url" content="https:\/\/example\.org\/noiseball\/">/);
  }
  const story = addressed(readFileSync(join(root, 'story.html'), 'utf8'), 'https://example.org/', 'story.html');
  assert.match(story, /<meta property="og:url" content="https:\/\/example\.org\/story\.html">/);
  assert.throws(() => addressed(page, 'no address'), TypeError);
});

test('the service worker has the files of one version, and another version where one of them is another', () => {
  const folder = mkdtempSync(join(tmpdir(), 'noiseball-site-'));
  const source = readFileSync(join(root, 'sw.js'), 'utf8');
  const made = () => {
    const script = serviceWorker(source, folder);
    return { files: JSON.parse(script.match(/const FILES = (.*);/)[1]), version: script.match(/const VERSION = '(.*)';/)[1] };
  };
  mkdirSync(join(folder, 'www', 'pkg-train'), { recursive: true });
  mkdirSync(join(folder, 'www', 'models', 'm'), { recursive: true });
  writeFileSync(join(folder, 'index.html'), 'page');
  writeFileSync(join(folder, 'www', 'pkg-train', 'big.wasm.gz'), 'wasm');
  writeFileSync(join(folder, 'www', 'models', 'm', 'config.json'), '{}');
  const first = made();
  assert.deepEqual(
    Object.entries(first.files).map(([path, [hash, atOnce]]) => [path, hash.length, atOnce]),
    [
      ['index.html', 64, true],
      ['www/pkg-train/big.wasm.gz', 64, false],
    ],
  );
  assert.match(first.version, /^[0-9a-f]{16}$/);
  assert.equal(made().version, first.version);
  writeFileSync(join(folder, 'index.html'), 'pagf');
  assert.notEqual(made().version, first.version);
  rmSync(folder, { recursive: true });
});
