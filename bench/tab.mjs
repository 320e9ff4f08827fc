/**
 * What a tab takes for a pipeline, in headless Chromium: the module's memory, and the most that the processes of the page and of the
 * GPU have held.
 *
 *   npm run build && node bench/tab.mjs FOLDER [devices=cpu,gpu] [steps=1] [runs=1] [guidance=1]
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { serve } from '../tools/build/serve.mjs';
import { root } from '../tools/setup/shell.mjs';
import { launch } from './browsers.mjs';

const [folder, devices = 'cpu,gpu', steps = '1', runs = '1', guidance = '1'] = process.argv.slice(2);
if (!folder) throw new Error('name a folder');
const bytesOf = (path) =>
  statSync(path).isDirectory() ? readdirSync(path).reduce((sum, name) => sum + bytesOf(join(path, name)), 0) : statSync(path).size;
const mb = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
const site = await serve({ folder: root });
const model = await serve({ folder: resolve(folder), headers: { 'access-control-allow-origin': '*' } });
console.log(`${folder}: ${mb(bytesOf(folder))} of files, ${largest()}`);

/** The largest tensor of all weights. */
function largest() {
  const files = readdirSync(folder, { recursive: true }).filter((path) => path.endsWith('.safetensors'));
  const sizes = files.flatMap((path) => {
    const bytes = readFileSync(join(folder, path));
    const header = JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE())).toString());
    return Object.entries(header).map(([name, { data_offsets: [from, to] = [0, 0] }]) => [to - from, name]);
  });
  const [size, name] = sizes.reduce((a, b) => (b[0] > a[0] ? b : a));
  return `the largest tensor ${name}, ${mb(size)}`;
}

/** The most memory that this program's browser has held in a process of a kind, by the system's count. */
function peak(kind) {
  const processes = new Map();
  for (const id of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const [status, command] = ['status', 'cmdline'].map((name) => readFileSync(`/proc/${id}/${name}`, 'utf8'));
      const number = (name) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? 0);
      processes.set(Number(id), { parent: number('PPid'), bytes: 1024 * number('VmHWM'), command });
    } catch {} // it has ended
  }
  const isOurs = (id) => id === process.pid || (processes.has(id) && isOurs(processes.get(id).parent));
  const ours = [...processes].filter(([id, { command }]) => command.includes(`--type=${kind}`) && isOurs(id));
  return mb(Math.max(...ours.map(([, { bytes }]) => bytes)));
}

const TEXT = ['text/worker.js', 'pkg-text/noiseball_text.js'];
const PLAIN = ['worker.js', 'pkg/noiseball.js'];

/** In a worker: bytes of its module's memory. Where the module has started, starting it once more gives what it exports. */
async function memoryOf(script) {
  const { default: init } = await import(script);
  return init().then(
    ({ memory }) => memory.buffer.byteLength,
    () => 0,
  );
}

for (const device of devices.split(',')) {
  const browser = await launch('chromium');
  const page = await browser.newPage();
  page.setDefaultTimeout(0);
  await page.goto(`${site.url}www/data/digits.js`); // any page of the site: only its modules are wanted
  const tell = async (when) => {
    const modules = await Promise.all(
      page.workers().map((worker) => worker.evaluate(memoryOf, worker.url().replace(...(worker.url().includes('/text/') ? TEXT : PLAIN)))),
    );
    console.log(
      `${device}, ${when}: modules ${modules.map(mb).join(' + ')}; at most ${peak('renderer')} in the page's process, ${peak('gpu-process')} in the GPU's`,
    );
  };
  await tell('nothing loaded');
  const info = await page.evaluate(
    async ({ site, model, device }) => {
      const { Noiseball } = await import(`${site}www/noiseball.js`);
      const began = performance.now();
      globalThis.model = await Noiseball.load(model, { device, memory: Number.POSITIVE_INFINITY });
      const { activationBytes, parameters } = globalThis.model.info;
      return { activationBytes, parameters, seconds: (performance.now() - began) / 1000 };
    },
    { site: site.url, model: model.url, device },
  );
  console.log(`${info.parameters} parameters; activations ${mb(info.activationBytes)} at most; loaded in ${info.seconds.toFixed(2)} s`);
  await tell('loaded');
  for (let run = 0; run < Number(runs); run += 1) {
    const times = await page.evaluate(
      async ({ steps, guidance, seed }) => {
        const began = performance.now();
        const times = [];
        const options = { prompt: 'a red heart', guidance, sampler: 'ddim', steps, seed };
        for await (const _ of globalThis.model.sample(options)) times.push(performance.now() - began);
        return times;
      },
      { steps: Number(steps), guidance: Number(guidance), seed: run },
    );
    console.log(`  steps after ${times.map((time) => (time / 1000).toFixed(2)).join(', ')} s`);
    await tell(`run ${run + 1}`);
  }
  await browser.close();
}
await site.close();
await model.close();
