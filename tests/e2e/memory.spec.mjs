// What is left after many runs and loads, counted where the browser hands it out: GPU buffers and WebAssembly memory.
// NOISEBALL_RUNS=1000 makes the element's test as long as it is before a release.

import { readFileSync } from 'node:fs';
import { checkpoints, expect, filesBelow, inWorker, servedBelow, test } from './browser.mjs';

const COUNTING = `
  let buffers = 0;
  let memory;
  const { createBuffer } = GPUDevice.prototype;
  const { destroy } = GPUBuffer.prototype;
  const instantiate = WebAssembly.instantiateStreaming;
  GPUDevice.prototype.createBuffer = function (descriptor) {
    buffers++;
    return createBuffer.call(this, descriptor);
  };
  GPUBuffer.prototype.destroy = function () {
    buffers--;
    return destroy.call(this);
  };
  WebAssembly.instantiateStreaming = async (...source) => {
    const module = await instantiate(...source);
    memory = module.instance.exports.memory;
    return module;
  };
  const channel = new BroadcastChannel('count');
  channel.onmessage = () => channel.postMessage({ buffers, bytes: memory.buffer.byteLength });`;

for (const device of ['gpu', 'cpu']) {
  test(`200 runs and 20 loads on the ${device.toUpperCase()} leave nothing behind`, async ({ page }) => {
    await inWorker(page, COUNTING);
    await page.route('**/blank.html', (route) => route.fulfill({ contentType: 'text/html', body: '<!doctype html><title>blog</title>' }));
    await page.goto('./blank.html');
    const files = filesBelow(`${checkpoints}layout-a`).map(({ name, path }) => ({ name, base64: readFileSync(path).toString('base64') }));
    const counts = await page.evaluate(
      async ([list, device]) => {
        const { Noiseball } = await import(new URL('./www/noiseball.js', document.baseURI).href);
        const files = list.map(({ name, base64 }) => new File([Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))], name));
        const channel = new BroadcastChannel('count');
        const count = () => new Promise((resolve) => (channel.postMessage(null), (channel.onmessage = ({ data }) => resolve(data))));
        const seen = { warm: [], empty: [] };
        for (let load = 0; load < 20; load++) {
          const model = await Noiseball.load(files, { device });
          for (let run = 0; run < 10; run++) {
            // Every other one is left half way.
            for await (const { index } of model.sample({ sampler: 'ddim', steps: 2, rng: run % 3 ? 'philox' : 'torch' }))
              if (index === run % 2) break;
          }
          seen.warm.push(await count());
          model.dispose();
          await Noiseball.load(files, { device: 'cpu' }).then((other) => other.dispose()); // after the disposal's turn
          seen.empty.push(await count());
        }
        return seen;
      },
      [files, device],
    );
    // The first few warm up the allocator.
    for (const kind of ['warm', 'empty']) expect(counts[kind].slice(4), kind).toEqual(Array(16).fill(counts[kind][4]));
    expect(counts.empty[4].buffers).toBe(0);
    if (device === 'gpu') expect(counts.warm[4].buffers).toBeGreaterThan(5);
  });
}

const RUNS = Number(process.env.NOISEBALL_RUNS ?? 100);

test(`${RUNS} runs of an element leave nothing behind`, async ({ page, browserName }) => {
  await inWorker(page, COUNTING);
  await servedBelow(page, '/model/', `${checkpoints}layout-a/`);
  const html = '<!doctype html><title>blog</title><script type="module" src="./www/elements.js"></script>';
  const element = '<diffusion-sampler src="./model/" device="cpu" steps="1" batch="1"></diffusion-sampler>';
  await page.route('**/blank.html', (route) => route.fulfill({ contentType: 'text/html', body: html + element }));
  await page.addInitScript(() => {
    // A run is over as soon as it can be.
    window.matchMedia = () => ({ matches: true, addEventListener() {} });
  });
  await page.goto('./blank.html');
  await page.evaluate(() => customElements.whenDefined('diffusion-sampler').then(() => {}));
  /** WebAssembly memory, and in Chromium what of JavaScript's is alive. */
  const look = async () => {
    const { bytes, buffers } = await page.evaluate(() => {
      const channel = new BroadcastChannel('count');
      return new Promise((resolve) => (channel.postMessage(null), (channel.onmessage = ({ data }) => resolve(data))));
    });
    if (browserName !== 'chromium') return { bytes, buffers, heap: 0 };
    const session = await page.context().newCDPSession(page);
    await session.send('HeapProfiler.collectGarbage');
    const { usedSize: heap } = await session.send('Runtime.getHeapUsage');
    await session.detach();
    return { bytes, buffers, heap };
  };
  const runs = (count) =>
    page.locator('diffusion-sampler').evaluate(async (sampler, count) => {
      for (let i = 0; i < count; i++) {
        sampler.seed = i; // runs again by itself, and is replaced
        if (!(await sampler.run())) throw new Error('a run was not finished');
      }
    }, count);
  await runs(RUNS / 10);
  const before = await look();
  await runs(RUNS - RUNS / 10);
  const after = await look();
  console.log(`  ${RUNS} runs: ${after.bytes} bytes of WebAssembly, ${before.heap} and then ${after.heap} of JavaScript`);
  expect([after.bytes, after.buffers]).toEqual([before.bytes, 0]);
  expect(after.heap - before.heap).toBeLessThan(1e6);
});
