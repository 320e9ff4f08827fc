/**
 * `npm run bench`: Noiseball and its peers on the same networks, in real browsers and natively. Everything that is
 * compared runs in turns, so that whatever else the machine does befalls all of it. Results replace those of the same
 * cases in bench/results.json, from which the tables of docs/benchmarks.md are made.
 *
 *     npm run bench -- --where chromium,firefox,cold,training,native,processor,steps --models pixel-faces-16 --batches 1,16 --devices gpu,cpu
 *         --rounds 10     runs of each, of two steps, after a first that must agree with PyTorch
 *         --budget 120    seconds for one side of a case; a case too slow for that is left with fewer runs, or out
 *         --threads 1,2   numbers of threads natively on the processor, beside PyTorch's; `steps` are those of training there
 *         --burn          natively also burn-wgpu, which takes some ten minutes to compile
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { serve } from '../tools/build/serve.mjs';
import { buildTraining, buildWasm } from '../tools/build/wasm.mjs';
import { vulkan } from '../tools/setup/browsers.mjs';
import { npmPackages } from '../tools/setup/npm.mjs';
import { ask, main, root, run, SetupError, step } from '../tools/setup/shell.mjs';
import { inBrowser, coldStarts } from './browsers.mjs';
import { record, table } from './results.mjs';
import { inTraining } from './training.mjs';

const FACES = 'pixel-faces-16'; // the network of the first shipped model, so that figures stay comparable
const MODELS = readdirSync(join(root, 'bench', 'models')).flatMap((name) => (name.endsWith('.json') ? [basename(name, '.json')] : []));

const PROGRAM = join('target', 'release', process.platform === 'win32' ? 'noiseball.exe' : 'noiseball');
const NATIVE = ['native', 'processor', 'steps'];

const commit = head() + (changed() ? '-dirty' : '');

await main(async () => {
  const { values } = parseArgs({
    options: {
      where: { type: 'string', default: 'chromium,firefox,cold,training,native,processor,steps' },
      threads: { type: 'string', default: '1,2' },
      models: { type: 'string', default: MODELS.join() },
      batches: { type: 'string', default: '1,16' },
      devices: { type: 'string', default: 'gpu,cpu' },
      rounds: { type: 'string', default: '10' },
      budget: { type: 'string', default: '120' },
      burn: { type: 'boolean', default: false },
    },
  });
  const [where, models, devices] = [values.where, values.models, values.devices].map((list) => list.split(','));
  const [batches, rounds, budget] = [values.batches.split(',').map(Number), Number(values.rounds), Number(values.budget)];
  vulkan();
  if (where.some((place) => !NATIVE.includes(place))) {
    if (where.some((place) => ['chromium', 'firefox', 'cold'].includes(place))) prepared(models);
    npmPackages();
    npmPackages('bench');
    await buildWasm();
    if (where.includes('training')) await buildTraining();
    const { url, close } = await serve({ folder: root, only: ['www', 'bench'], port: 0 });
    for (const browser of ['chromium', 'firefox']) {
      if (where.includes(browser)) await inBrowser(browser, url, { models, batches, devices, rounds, budget }, keep);
    }
    if (where.includes('cold')) await coldStarts(url, FACES, { devices, rounds }, keep);
    if (where.includes('training')) await inTraining(url, { devices, rounds, budget }, keep);
    await close();
  }
  if (where.some((place) => NATIVE.includes(place))) {
    const features = values.burn || where.includes('steps') ? 'cli,burn' : 'cli';
    run('cargo', ['build', '--locked', '--release', '--bin', 'noiseball', '--features', features]);
    const [rows, steps] = [[], []];
    for (const threads of values.threads.split(',').map(Number)) {
      for (const model of where.includes('processor') ? models : []) {
        for (const batch of batches) rows.push(...onProcessor(model, batch, { threads, rounds, budget }));
      }
      for (const preset of where.includes('steps') ? ['tiny', 'small'] : []) steps.push(...inSteps(preset, { threads, rounds, budget }));
    }
    for (const found of [rows, steps]) if (found.length > 0) console.log(`\n${table(found)}`);
    for (const model of where.includes('native') ? models : []) {
      for (const batch of batches) native(model, batch, { devices: [...devices, ...(values.burn ? ['burn'] : [])], rounds, budget });
    }
  }
});

function head() {
  return ask('git', ['rev-parse', '--short', 'HEAD']).stdout.trim();
}

/** Whether anything but the results of other benchmarks differs from the commit. */
function changed() {
  return ask('git', ['status', '--porcelain', '--', '.', ':!bench/results.json', ':!docs/benchmarks.md']).stdout.trim() !== '';
}

function keep(found) {
  record({ ...found, commit });
}

function prepared(models) {
  const missing = models.find((model) => !existsSync(join(root, 'bench', 'cache', model, 'end-16.bin')));
  if (missing) {
    throw new SetupError(`bench/cache/ lacks ${missing}. Export the networks with PyTorch, once: bench/prepare.sh ${missing}`);
  }
}

/** `noiseball bench` of a network with random weights. */
function measured(model, batch, { devices, rounds, budget, threads }) {
  const options = { batch, device: devices.join(), runs: rounds, budget, ...(threads ? { threads } : {}) };
  return benched(join('bench', 'models', `${model}.json`), { ...options, json: true })?.milliseconds ?? [];
}

/** What `noiseball bench` prints. */
function benched(path, options) {
  const named = Object.entries(options).flatMap(([name, value]) => (value === true ? [`--${name}`] : [`--${name}`, `${value}`]));
  const { ok, stdout, stderr } = ask(PROGRAM, ['bench', path, ...named]);
  if (!ok) console.log(`  failed: ${stderr.trim()}`);
  return ok ? JSON.parse(stdout) : undefined;
}

/** One evaluation on some threads of the processor, ours and PyTorch's in the better of its memory layouts, each by the time that
 * processors worked and by the clock. */
function onProcessor(model, batch, { threads, rounds, budget }) {
  step(`processor: ${model}, batch ${batch}, ${threads} thread${threads > 1 ? 's' : ''}`);
  const case_ = { where: 'processor', device: `${threads}`, model, batch };
  const rows = measured(model, batch, { devices: ['cpu'], rounds, budget, threads }).map(({ processor, ...milliseconds }) => ({
    ...case_,
    side: 'noiseball',
    milliseconds,
    processor,
  }));
  const theirs = inPython(['bench/pytorch.py', `bench/models/${model}.json`, `${batch}`, `${threads}`, `${rounds}`, `${budget / 2}`]);
  if (theirs) rows.push({ ...case_, side: 'pytorch', ...theirs });
  rows.forEach(keep);
  return rows;
}

/** Steps of training by a preset on random pictures of 16×16, ours and those of the script that `noiseball train --to-accelerate`
 * writes for the same run. */
function inSteps(preset, { threads, rounds, budget }) {
  step(`steps of training: ${preset}, ${threads} thread${threads > 1 ? 's' : ''}`);
  const folder = mkdtempSync(join(tmpdir(), 'steps-'));
  const pictures = join(folder, 'pictures.npy');
  writeFileSync(pictures, npy([256, 3, 16, 16]));
  const script = join(folder, 'script');
  const { ok, stderr } = ask(PROGRAM, ['train', pictures, '--preset', preset, '--device', 'cpu', '--to-accelerate', script]);
  if (!ok) throw new SetupError(`noiseball train: ${stderr.trim()}`);
  const case_ = { where: 'steps', device: `${threads}`, model: preset, batch: 32 };
  const options = { train: preset, device: 'cpu', runs: 2 * rounds, budget, threads };
  const rows = [];
  const found = benched(pictures, options);
  if (found) rows.push({ ...case_, side: 'noiseball', milliseconds: found.clock, processor: found.processor });
  const theirs = inPython(['bench/training/loop.py', script, `${threads}`, `${2 * rounds}`]);
  if (theirs) rows.push({ ...case_, side: 'pytorch', ...theirs });
  rmSync(folder, { recursive: true });
  rows.forEach(keep);
  return rows;
}

/** A NumPy file of random bytes. */
function npy(shape) {
  const header = `{'descr': '|u1', 'fortran_order': False, 'shape': (${shape.join(', ')}), }`;
  const padded = `${header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11)}\n`;
  const length = Buffer.from([padded.length & 255, padded.length >> 8]);
  const bytes = randomBytes(shape.reduce((product, side) => product * side));
  return Buffer.concat([Buffer.from('\x93NUMPY\x01\x00', 'latin1'), length, Buffer.from(padded), bytes]);
}

/** What a script that times memory layouts says of the better one. */
function inPython(script) {
  const python = [join(root, 'bench', '.venv', 'bin', 'python'), join(root, 'bench', '.venv', 'Scripts', 'python.exe')].find(existsSync);
  if (!python) {
    console.log('  PyTorch is left out: bench/prepare.sh installs it, pinned');
    return undefined;
  }
  const { ok, stdout, stderr } = ask(python, ['-B', ...script]);
  if (!ok) {
    console.log(`  PyTorch failed: ${stderr.trim()}`);
    return undefined;
  }
  const layouts = Object.values(JSON.parse(stdout.trim().split('\n').at(-1)));
  const best = layouts.reduce((a, b) => (b.processor.median < a.processor.median ? b : a));
  return { milliseconds: best.clock, processor: best.processor };
}

/** One evaluation of the network with random weights, by `noiseball bench`. */
function native(model, batch, { devices, rounds, budget }) {
  step(`native: ${model}, batch ${batch}`);
  for (const { device, adapter, processor, ...milliseconds } of measured(model, batch, { devices, rounds, budget })) {
    const [side, place] = device === 'burn' ? ['burn', 'gpu'] : ['noiseball', device];
    keep({ where: 'native', side, device: place, adapter, model, batch, milliseconds });
  }
}
