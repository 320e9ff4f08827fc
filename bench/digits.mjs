/**
 * Trains the bundled digits in headless Chromium as a page would, on the CPU, and has a classifier that knows only real digits
 * read what the network then draws:
 *
 *   npm run build && node bench/digits.mjs [steps=1500] [pictures=500] [out=digits.png]
 *
 * Prints the time of the wall clock and of the processor, the share of samples read as the digit asked for, and how far each is
 * from its nearest real digit, beside the same of real digits that were kept out. Draws samples above their neighbours to `out`.
 */
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { serve } from '../tools/build/serve.mjs';
import { root } from '../tools/setup/shell.mjs';
import { launch } from './browsers.mjs';

const [steps, count, out] = [Number(process.argv[2] ?? 1500), Number(process.argv[3] ?? 500), process.argv[4] ?? 'digits.png'];
const { url, close } = await serve({ folder: `${root}/dist` });
const browser = await launch('chromium');
const page = await browser.newPage();
await page.goto(`${url}www/data/digits.js`); // any page of the site: only its modules are wanted
await page.exposeFunction('say', (text) => console.log(text));

const result = await page.evaluate(
  async ({ base, steps, count }) => {
    const { Noiseball } = await import(`${base}www/noiseball.js`);
    const { prepare, train } = await import(`${base}www/training.js`);
    const data = await prepare('digits');
    const began = performance.now();
    const run = await train({ data, preset: 'tiny', steps, device: 'cpu', name: 'digits' });
    let heldOut = null;
    for await (const event of run) {
      if (event.type === 'held-out') {
        heldOut = event.loss;
        window.say(`step ${event.step}: held-out loss ${event.loss.toFixed(4)}, ${run.progress.rate?.toFixed(2)} steps a second`);
      }
      if (event.type === 'failed') throw new Error(event.error.message);
      if (event.type === 'state' && event.state === 'ended') break;
    }
    const seconds = (performance.now() - began) / 1000;
    const model = await Noiseball.load(await run.source('digits'), { device: 'cpu' });
    const samples = [];
    for (let at = 0; at < count; at += 100) {
      const labels = Array.from({ length: Math.min(100, count - at) }, (_, i) => (at + i) % 10);
      let last;
      for await (const step of model.sample({ sampler: 'ddim', steps: 50, seed: at, batch: labels.length, labels })) last = step;
      const [length, numbers] = [64, [...last.latents]];
      for (const [i, label] of labels.entries()) samples.push({ label, x: numbers.slice(i * length, (i + 1) * length) });
    }
    const real = [];
    const all = data.info.count;
    for (let at = 0; at < all; at += 100) {
      const indices = Array.from({ length: Math.min(100, all - at) }, (_, i) => at + i);
      const { pictures } = await data.show({ indices });
      for (const i of indices.keys()) real.push(Array.from({ length: 64 }, (_, p) => pictures[(i * 64 + p) * 4] / 127.5 - 1));
    }
    await run.close();
    const facts = (await import(`${base}www/data/digits.js`)).default;
    return { seconds, heldOut, samples, real, labels: facts.labels };
  },
  { base: url, steps, count },
);
const processor = processorSeconds();
await browser.close();
await close();

const { samples, real, labels, seconds } = result;
const distance = (a, b) => Math.sqrt(a.reduce((sum, v, i) => sum + (Math.max(-1, Math.min(1, v)) - b[i]) ** 2, 0) / a.length);
/** The three nearest of the real digits vote; `but` leaves one out. */
function read(x, among = () => true) {
  const near = real
    .map((r, i) => [distance(x, r), i])
    .filter(([, i]) => among(i))
    .sort((a, b) => a[0] - b[0])
    .slice(0, 3);
  const votes = near.map(([, i]) => labels[i]);
  return { digit: votes[1] === votes[2] ? votes[1] : votes[0], distance: near[0][0], index: near[0][1] };
}
const kept = real.map((_, i) => i).filter((i) => i % 20 === 19);
const trained = (i) => i % 20 !== 19;
const readSamples = samples.map(({ x }) => read(x, trained));
const readKept = kept.map((i) => read(real[i], trained));
const share = (list, right) => (100 * list.filter(right).length) / list.length;
const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;
console.log(
  `${steps} steps in ${seconds.toFixed(0)} s (${(steps / seconds).toFixed(2)} steps a second), ${processor.toFixed(0)} s of the processor for the whole browser`,
);
console.log(`held-out loss ${result.heldOut}`);
console.log(
  `read as asked: ${share(readSamples, ({ digit }, i) => digit === samples[i].label).toFixed(1)} % of ${count} samples (real digits kept out of training: ${share(readKept, ({ digit }, i) => digit === labels[kept[i]]).toFixed(1)} %)`,
);
console.log(
  `distance to the nearest digit trained on: samples ${mean(readSamples.map((r) => r.distance)).toFixed(3)} (least ${Math.min(...readSamples.map((r) => r.distance)).toFixed(3)}), kept-out digits ${mean(readKept.map((r) => r.distance)).toFixed(3)} (least ${Math.min(...readKept.map((r) => r.distance)).toFixed(3)})`,
);
await draw(out);

/** Twenty samples a row, each above the real digit nearest to it. */
async function draw(path) {
  const { GREY, png } = await import('../tools/png.mjs');
  const [columns, rows] = [20, 4];
  const width = columns * 9 - 1;
  const height = rows * 20;
  const pixels = new Uint8Array(width * height).fill(255);
  for (let i = 0; i < columns * rows && i < samples.length; i++) {
    const put = (x, top) => {
      for (const [p, v] of x.entries()) {
        const at = (top + Math.floor(p / 8)) * width + (i % columns) * 9 + (p % 8);
        pixels[at] = Math.round(127.5 * (Math.max(-1, Math.min(1, v)) + 1));
      }
    };
    const top = Math.floor(i / columns) * 20;
    put(samples[i].x, top);
    put(real[readSamples[i].index], top + 9);
  }
  // Each pixel becomes a square of four by four.
  const line = (y) => Buffer.from(Array.from({ length: 4 * width }, (_, x) => pixels[y * width + Math.floor(x / 4)]));
  const lines = Array.from({ length: 4 * height }, (_, y) => line(Math.floor(y / 4)));
  writeFileSync(path, png(4 * width, 4 * height, GREY, lines));
}

/** Of this script's browser: the children of this process, and theirs. */
function processorSeconds() {
  const stats = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
          .replace(/^.*\) /s, '')
          .split(' ');
        return [{ pid: Number(pid), parent: Number(fields[1]), ticks: Number(fields[11]) + Number(fields[12]) }];
      } catch {
        return [];
      }
    });
  const ours = new Set([process.pid]);
  for (let grew = true; grew; ) {
    const before = ours.size;
    for (const { pid, parent } of stats) if (ours.has(parent)) ours.add(pid);
    grew = ours.size > before;
  }
  return stats.filter(({ pid }) => pid !== process.pid && ours.has(pid)).reduce((sum, { ticks }) => sum + ticks, 0) / 100;
}
