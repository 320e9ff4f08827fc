/**
 * Packs the package as npm does and builds small apps with it, each into a folder of target/bundlers/apps/: with every bundler, and
 * without one. `node tests/bundlers/build.mjs` builds those that sample, also through an
 * element; `--train` adds those that train.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { nodeResolve } from '@rollup/plugin-node-resolve';
import * as esbuild from 'esbuild';
import { rollup } from 'rollup';
import { compile } from 'svelte/compiler';
import { build as vite } from 'vite';
import webpack from 'webpack';

const here = import.meta.dirname;
const root = join(here, '..', '..');
const target = join(root, 'target', 'bundlers');
const source = join(target, 'source'); // the apps, with the package installed
const noiseball = join(source, 'node_modules', 'noiseball');
const names = ['sample', 'elements', 'model', ...(process.argv.includes('--train') ? ['train'] : [])];
/** Elements are the same modules and one dynamic import: one bundler that follows the worker and one that does not are enough. */
const WITH_ELEMENTS = ['vite', 'esbuild'];
/** They carry the files along that a module names, as they are: Parcel makes scripts of JSON. */
const WITH_MODEL = ['vite', 'webpack'];
const FRAMEWORKS = ['react', 'vue', 'svelte'];

/** How each builds the app of an entry into a folder. */
const BUNDLERS = {
  vite: (entry, out) =>
    vite({
      root: source,
      base: './',
      configFile: false,
      logLevel: 'error',
      build: { outDir: out, emptyOutDir: true, rollupOptions: { input: join(source, `${entry}.html`) } },
    }),

  webpack: (entry, out) =>
    new Promise((resolve, reject) => {
      const config = {
        mode: 'production',
        context: source,
        entry: `./${entry}.js`,
        output: { path: out, filename: 'app.js' },
        performance: { hints: false },
      };
      webpack(config, (error, stats) => {
        if (error || stats.hasErrors() || stats.hasWarnings())
          reject(error ?? new Error(stats.toString({ all: false, errors: true, warnings: true })));
        else resolve(page(out, entry, 'app.js'));
      });
    }),

  esbuild: async (entry, out) => {
    const options = { bundle: true, format: 'esm', minify: true, logLevel: 'error', outfile: join(out, 'app.js') };
    await esbuild.build({ ...options, entryPoints: [join(source, `${entry}-with-files.js`)] });
    page(out, entry, 'app.js');
    cpSync(join(noiseball, 'www'), join(out, 'noiseball'), { recursive: true });
  },

  rollup: async (entry, out) => {
    const bundle = await rollup({ input: join(source, `${entry}-with-files.js`), plugins: [nodeResolve({ browser: true })] });
    await bundle.write({ dir: out, format: 'es', entryFileNames: 'app.js' });
    await bundle.close();
    page(out, entry, 'app.js');
    cpSync(join(noiseball, 'www'), join(out, 'noiseball'), { recursive: true });
  },

  parcel: async (entry, out) => {
    const { Parcel } = await import('@parcel/core');
    const parcel = new Parcel({
      entries: join(source, `${entry}.html`),
      defaultConfig: join(here, 'node_modules', '@parcel', 'config-default', 'index.json'),
      mode: 'production',
      shouldDisableCache: true,
      targets: { page: { context: 'browser', includeNodeModules: true, distDir: out, publicUrl: './', optimize: true } },
      logLevel: 'error',
    });
    await parcel.run();
  },

  // esbuild once more, by somebody who does not copy the files: what happens then must say what to do.
  forgetful: async (entry, out) => {
    await esbuild.build({
      bundle: true,
      format: 'esm',
      logLevel: 'error',
      outfile: join(out, 'app.js'),
      entryPoints: [join(source, `${entry}.js`)],
    });
    page(out, entry, 'app.js');
  },

  // No bundler: an import map and the package's own files.
  bare: async (entry, out) => {
    cpSync(join(noiseball, 'www'), join(out, 'noiseball'), { recursive: true });
    cpSync(join(source, `${entry}.js`), join(out, `${entry}.js`));
    const map = { imports: { noiseball: './noiseball/noiseball.js', 'noiseball/train': './noiseball/training.js' } };
    page(out, entry, `${entry}.js`, `<script type="importmap">${JSON.stringify(map)}</script>`);
    writeFileSync(join(out, 'blank.html'), '<!doctype html><title>somebody’s page</title>');
  },
};

install();
for (const [bundler, build] of Object.entries(BUNDLERS)) {
  for (const name of names) {
    if (name === 'elements' && !WITH_ELEMENTS.includes(bundler)) continue;
    if (name === 'model' && !WITH_MODEL.includes(bundler)) continue;
    const began = Date.now();
    const out = join(target, 'apps', `${bundler}-${name}`);
    mkdirSync(out, { recursive: true });
    await build(name, out);
    if (name !== 'model') cpSync(join(noiseball, 'www', 'models', 'pixel-faces-16'), join(out, 'model'), { recursive: true });
    console.log(`${bundler}: built the app that is to ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
  }
}
await buildFrameworks();
process.exit(); // Parcel's workers

/** The same component in each framework, all in one folder. */
async function buildFrameworks() {
  const began = Date.now();
  const out = join(target, 'apps', 'frameworks');
  const svelte = {
    name: 'svelte',
    setup: (build) =>
      build.onLoad({ filter: /\.svelte$/ }, ({ path }) => ({
        contents: compile(readFileSync(path, 'utf8'), { filename: basename(path), generate: 'client' }).js.code,
      })),
  };
  await esbuild.build({
    entryPoints: FRAMEWORKS.map((name) => join(source, 'frameworks', `${name}.js`)),
    outdir: out,
    bundle: true,
    format: 'esm',
    minify: true,
    logLevel: 'error',
    conditions: ['browser'],
    nodePaths: [join(here, 'node_modules')],
    define: {
      'process.env.NODE_ENV': '"production"',
      __VUE_OPTIONS_API__: 'true',
      __VUE_PROD_DEVTOOLS__: 'false',
      __VUE_PROD_HYDRATION_MISMATCH_DETAILS__: 'false',
    },
    plugins: [svelte],
  });
  for (const name of FRAMEWORKS) page(out, name, `${name}.js`, '', `${name}.html`);
  cpSync(join(noiseball, 'www'), join(out, 'noiseball'), { recursive: true, filter: (path) => !/pkg-train|models/.test(path) });
  cpSync(join(noiseball, 'www', 'models', 'pixel-faces-16'), join(out, 'model'), { recursive: true });
  console.log(`${FRAMEWORKS.join(', ')}: built the component (${((Date.now() - began) / 1000).toFixed(1)} s)`);
}

/** The apps with the packed package among their node_modules, as after `npm install noiseball`. */
function install() {
  rmSync(target, { recursive: true, force: true });
  cpSync(join(here, 'app'), source, { recursive: true });
  for (const name of names) page(source, name, `${name}.js`);
  writeFileSync(
    join(source, 'package.json'),
    JSON.stringify({ name: 'app', private: true, type: 'module', '@parcel/resolver-default': { packageExports: true } }),
  );
  writeFileSync(join(source, 'package-lock.json'), '{}'); // where Parcel takes a project to begin
  const npm = process.env.npm_execpath;
  run(npm ? process.execPath : 'npm', [...(npm ? [npm] : []), 'pack', root, '--ignore-scripts', '--silent', '--pack-destination', target]);
  const [tarball] = readdirSync(target).filter((name) => name.endsWith('.tgz'));
  run('tar', ['-xzf', join(target, tarball), '-C', target]);
  mkdirSync(join(source, 'node_modules'));
  renameSync(join(target, 'package'), noiseball);
}

function page(folder, name, script, head = '', file = folder !== source ? 'index.html' : `${name}.html`) {
  writeFileSync(
    join(folder, file),
    `<!doctype html><meta charset="utf-8"><title>${name}</title>${head}<script type="module" src="./${script}"></script>`,
  );
}

function run(program, args) {
  const { status, error } = spawnSync(program, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  if (status !== 0) throw error ?? new Error(`\`${program} ${args[0]}\` failed`);
}
