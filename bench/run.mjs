/**
 * `npm run bench`: Noiseball and its peers on the same networks, in real browsers and natively. Everything that is
 * compared runs in turns, so that whatever else the machine does befalls all of it. Results replace those of the same
 * cases in bench/results.json, from which the tables of docs/benchmarks.md are made.
 *
 *     npm run bench -- --where chromium,firefox,cold,training,native,processor --models pixel-faces-16 --batches 1,16 --devices gpu,cpu
 *         --rounds 10     runs of each, of two steps, after a first that must agree with PyTorch
 *         --budget 120    seconds for one side of a case; a case too slow for that is left with fewer runs, or out
 *         --threads 1,2   numbers of threads natively on the processor, beside PyTorch's
 *         --burn          natively also burn-wgpu, which takes some ten minutes to compile
 */
import { existsSync, readdirSync } from 'node:fs';
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
const MODELS = readdirSync(join(root, 'bench', 'models')).map((name) => basename(name, '.json'));

const commit = head() + (changed() ? '-dirty' : '');

await main(async () => {
  const { values } = parseArgs({
    options: {
      where: { type: 'string', default: 'chromium,firefox,cold,training,native,processor' },
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
  if (where.some((place) => !['native', 'processor'].includes(place))) {
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
  if (where.includes('native') || where.includes('processor')) {
    const features = values.burn ? 'cli,burn' : 'cli';
    run('cargo', ['build', '--locked', '--release', '--bin', 'noiseball', '--features', features]);
    const rows = [];
    for (const model of where.includes('processor') ? models : []) {
      for (const batch of batches) {
        for (const threads of values.threads.split(',').map(Number)) rows.push(...onProcessor(model, batch, { threads, rounds, budget }));
      }
    }
    if (rows.length > 0) console.log(`\n${table(rows)}`);
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
  const program = join('target', 'release', process.platform === 'win32' ? 'noiseball.exe' : 'noiseball');
  const options = { batch, device: devices.join(), runs: rounds, budget, ...(threads ? { threads } : {}) };
  const { ok, stdout, stderr } = ask(program, [
    'bench',
    join('bench', 'models', `${model}.json`),
    '--json',
    ...Object.entries(options).flatMap(([name, value]) => [`--${name}`, `${value}`]),
  ]);
  if (!ok) console.log(`  failed: ${stderr.trim()}`);
  return ok ? JSON.parse(stdout).milliseconds : [];
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
  const python = [join(root, 'bench', '.venv', 'bin', 'python'), join(root, 'bench', '.venv', 'Scripts', 'python.exe')].find(existsSync);
  if (python) {
    const { ok, stdout, stderr } = ask(python, [
      'bench/pytorch.py',
      `bench/models/${model}.json`,
      `${batch}`,
      `${threads}`,
      `${rounds}`,
      `${budget / 2}`,
    ]);
    if (ok) {
      const layouts = Object.values(JSON.parse(stdout));
      const best = layouts.reduce((a, b) => (b.processor.median < a.processor.median ? b : a));
      rows.push({ ...case_, side: 'pytorch', milliseconds: best.clock, processor: best.processor });
    } else console.log(`  PyTorch failed: ${stderr.trim()}`);
  } else console.log('  PyTorch is left out: bench/prepare.sh installs it, pinned');
  rows.forEach(keep);
  return rows;
}

/** One evaluation of the network with random weights, by `noiseball bench`. */
function native(model, batch, { devices, rounds, budget }) {
  step(`native: ${model}, batch ${batch}`);
  for (const { device, adapter, processor, ...milliseconds } of measured(model, batch, { devices, rounds, budget })) {
    const [side, place] = device === 'burn' ? ['burn', 'gpu'] : ['noiseball', device];
    keep({ where: 'native', side, device: place, adapter, model, batch, milliseconds });
  }
}
