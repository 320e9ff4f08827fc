/**
 * The static site in dist/: its pages, www/ and the modules, in the repository's own layout with relative URLs
 * only, so that any file host serves it from any sub-path. Modules are measured and checked on the way.
 */
import { cpSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { brotliCompressSync, constants, gunzipSync, gzipSync } from 'node:zlib';
import { root, SetupError, step } from '../setup/shell.mjs';

/** Where the site is put together. */
export const DIST = join(root, 'dist');

/** The site's pages. */
export const PAGES = ['index.html', 'story.html'];

/** Bytes that a page may download: for sampling as much as for a photograph in a blog post, for training what burn takes. */
export const BUDGETS = [
  { folder: 'pkg', coding: 'gzip', bytes: 265_000 },
  { folder: 'pkg-train', coding: 'gzip', bytes: 5_200_000 },
];

/** Copies the site to dist/ and reports its modules: `{ path, gzip, brotli }` each, sizes in bytes. */
export function assembleSite() {
  rmSync(DIST, { recursive: true, force: true });
  for (const page of PAGES) cpSync(join(root, page), join(DIST, page));
  cpSync(join(root, 'www'), join(DIST, 'www'), { recursive: true, filter: (path) => isSite(basename(path)) });
  const modules = readdirSync(DIST, { recursive: true }).filter((path) => /\.wasm(\.gz)?$/.test(path));
  const sizes = modules.map((path) => checkModule(join(DIST, path)));
  step(`the site is in ${relative(root, DIST)}/: any static file host can serve it, from any folder`);
  return sizes;
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

/** Whether a file or folder of this name belongs to the site: tests and hidden files do not. */
export function isSite(name) {
  return !name.startsWith('.') && !/\.test\.m?js$/.test(name) && name !== 'tests';
}

function checkModule(path) {
  const file = readFileSync(path);
  const bytes = path.endsWith('.gz') ? gunzipSync(file) : file;
  const gzip = gzipSync(bytes, { level: 9 }).length;
  const brotli = compressWithBrotli(bytes).length;
  step(`${relative(DIST, path)}: ${kilobytes(bytes.length)}, ${kilobytes(gzip)} gzip, ${kilobytes(brotli)} brotli`);
  const shims = commandExports(bytes);
  if (shims.length > 0) {
    throw new SetupError(
      `${relative(DIST, path)} re-runs its static constructors on every call (exports ${shims[0]} and ${shims.length - 1} more).\n` +
        'Its #[wasm_bindgen(start)] function must call `__wasm_call_ctors` once; see docs/development.md.',
    );
  }
  return { path: relative(DIST, path), gzip, brotli };
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

// Quality 9 comes within 3 % of a file host's 11 in a tenth of the time.
function compressWithBrotli(bytes) {
  return brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 9, [constants.BROTLI_PARAM_LGWIN]: 24 } });
}

function kilobytes(length) {
  return `${Math.round(length / 1000).toLocaleString('en')} kB`;
}
