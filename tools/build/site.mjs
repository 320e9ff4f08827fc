/**
 * The static site in dist/: its pages, www/ and the modules, in the repository's own layout with relative URLs
 * only, so that any file host serves it from any sub-path. Modules are measured and checked on the way.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, sep } from 'node:path';
import { brotliCompressSync, constants, gunzipSync, gzipSync } from 'node:zlib';
import { root, SetupError, step } from '../setup/shell.mjs';

/** Where the site is put together. */
export const DIST = join(root, 'dist');

/** The site's pages. */
export const PAGES = ['index.html', 'story.html'];

/** Bytes that a page may download: for sampling as much as for a photograph in a blog post, for pipelines half as much again, for training what burn takes. */
export const BUDGETS = [
  { folder: 'pkg', coding: 'gzip', bytes: 265_000 },
  { folder: 'pkg-text', coding: 'gzip', bytes: 400_000 },
  { folder: 'pkg-train', coding: 'gzip', bytes: 5_200_000 },
];

/** Copies the site to dist/ and reports its modules: `{ path, gzip, brotli, printsFloats }` each, sizes in bytes. */
export function assembleSite() {
  rmSync(DIST, { recursive: true, force: true });
  cpSync(join(root, 'www'), join(DIST, 'www'), { recursive: true, filter: (path) => isSite(basename(path)) });
  const card = join(DIST, 'www', 'site', 'card.png');
  for (const page of PAGES) writeFileSync(join(DIST, page), addressed(readFileSync(join(root, page), 'utf8'), process.env.SITE_URL, page));
  if (!process.env.SITE_URL) rmSync(card); // nothing else shows it
  writeFileSync(join(DIST, 'sw.js'), serviceWorker(readFileSync(join(root, 'sw.js'), 'utf8'), DIST));
  const modules = readdirSync(DIST, { recursive: true }).filter((path) => /\.wasm(\.gz)?$/.test(path));
  const sizes = modules.map((path) => checkModule(join(DIST, path)));
  step(`the site is in ${relative(root, DIST)}/: any static file host can serve it, from any folder`);
  return sizes;
}

/** A page as it is served: it works without a network, and where the site's address is known it says which picture is its card. */
export function addressed(page, url, path = 'index.html') {
  const built = page.replace('<html lang="en">', '<html lang="en" data-built>');
  if (!url) return built;
  const base = new URL(url.endsWith('/') ? url : `${url}/`);
  const card = {
    'og:url': new URL(path === 'index.html' ? '' : path, base).href,
    'og:image': new URL('www/site/card.png', base).href,
    'og:image:width': 1200,
    'og:image:height': 630,
    'og:image:alt': 'Four stages of a grid of pixel faces, from pure noise to finished pictures',
  };
  const lines = Object.entries(card).map(([name, content]) => `    <meta property="${name}" content="${content}">\n`);
  return built.replace(/(?= {4}<meta name="twitter:card")/, lines.join(''));
}

/** What is got when it is first wanted, and what www/cache.js keeps or nothing shows. */
const [LATER, NEVER] = [
  /^www\/(pkg-train|pkg-text|text\/|train|data|site\/train|elements\/example|training\.js)/,
  /^www\/models\/|\.d\.ts$|\.md$|^sw\.js$|\/card\.png$/,
];

/** The service worker with the files of this folder. */
export function serviceWorker(source, folder) {
  const files = readdirSync(folder, { recursive: true })
    .filter((path) => statSync(join(folder, path)).isFile())
    .map((path) => path.split(sep).join('/'))
    .filter((path) => !NEVER.test(path))
    .sort();
  const hash = (bytes) => createHash('sha256').update(bytes).digest('hex');
  const listed = Object.fromEntries(files.map((path) => [path, [hash(readFileSync(join(folder, path))), !LATER.test(path)]]));
  const list = JSON.stringify(listed);
  return source
    .replace('const FILES = {};', `const FILES = ${list};`)
    .replace("const VERSION = '';", `const VERSION = '${hash(list).slice(0, 16)}';`);
}

/** Fails where a module has outgrown its budget. Builds with more features may; what is shipped is tested for it. */
export function checkSize(module) {
  const budget = BUDGETS.find(({ folder }) => basename(dirname(module.path)) === folder);
  const over = budget && module[budget.coding] - budget.bytes;
  if (over > 0) {
    throw new SetupError(
      `${module.path} is ${module[budget.coding]} bytes with ${budget.coding}, ${over} more than the budget of ${budget.bytes}. Find out what came in, and leave it out.`,
    );
  }
}

/** Fails where the sampling module has Rust's own code for printing floats, which other code stands in for. */
export function checkFloats({ path, printsFloats }) {
  if (printsFloats && basename(dirname(path)) === 'pkg') {
    throw new SetupError(
      `${path} prints a float with Rust's own code, ten kilobytes of it: \`{}\` or \`{:?}\` stands for an f32 or f64 somewhere, or ` +
        '`clamp` has limits that are no constants. Print with `text::number`; see docs/development.md.',
    );
  }
}

/** Whether core's assertions about the digits of a float are in a module. */
export function printsFloats(bytes) {
  return Buffer.from(bytes).includes('assertion failed: d.mant > 0');
}

/** Whether a file or folder of this name belongs to the site: tests and hidden files do not. */
export function isSite(name) {
  return !name.startsWith('.') && !/\.test\.m?js$/.test(name) && name !== 'tests';
}

function checkModule(path) {
  const file = readFileSync(path);
  const bytes = path.endsWith('.gz') ? gunzipSync(file) : file;
  const gzip = gzipLength(bytes);
  const brotli = compressWithBrotli(bytes).length;
  step(`${relative(DIST, path)}: ${kilobytes(bytes.length)}, ${kilobytes(gzip)} gzip, ${kilobytes(brotli)} brotli`);
  const shims = commandExports(bytes);
  if (shims.length > 0) {
    throw new SetupError(
      `${relative(DIST, path)} re-runs its static constructors on every call (exports ${shims[0]} and ${shims.length - 1} more).\n` +
        'Its #[wasm_bindgen(start)] function must call `__wasm_call_ctors` once; see docs/development.md.',
    );
  }
  return { path: relative(DIST, path), gzip, brotli, printsFloats: printsFloats(bytes) };
}

/**
 * The exports that wasm-ld wrapped so that each call runs every static constructor again, which happens when
 * nobody calls `__wasm_call_ctors`. They cost a factor of a hundred.
 */
export function commandExports(bytes) {
  return WebAssembly.Module.exports(new WebAssembly.Module(bytes))
    .map(({ name }) => name)
    .filter((name) => name.endsWith('.command_export'));
}

/** Bytes that `gzip -9` makes of a module. Node's own zlib, tuned for speed, makes 0.7 % more; it stands in where there is no gzip. */
function gzipLength(bytes) {
  const { status, stdout } = spawnSync('gzip', ['-9', '-c'], { input: bytes, maxBuffer: bytes.length + 1_000_000 });
  return status === 0 ? stdout.length : gzipSync(bytes, { level: 9 }).length;
}

// Quality 9 comes within 3 % of a file host's 11 in a tenth of the time.
function compressWithBrotli(bytes) {
  return brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 9, [constants.BROTLI_PARAM_LGWIN]: 24 } });
}

function kilobytes(length) {
  return `${Math.round(length / 1000).toLocaleString('en')} kB`;
}
