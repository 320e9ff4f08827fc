/**
 * What 2,000 steps of training leave behind, in headless Chromium: the module's memory and the GPU's buffers after the first
 * hundred steps, and at the end.
 *
 *   npm run build && node bench/flat.mjs [steps=2000] [devices=gpu,cpu]
 *
 * Digits with the tiny preset on the CPU; points with their MLP on WebGPU, so that an adapter in software gets through.
 */
import { serve } from '../tools/build/serve.mjs';
import { root } from '../tools/setup/shell.mjs';
import { launch } from './browsers.mjs';

const [steps, devices] = [Number(process.argv[2] ?? 2000), process.argv[3] ?? 'gpu,cpu'];
const { url, close } = await serve({ folder: `${root}/dist` });
const browser = await launch('chromium');

for (const [set, device] of [
  ['two-gaussians', 'gpu'],
  ['digits', 'cpu'],
].filter(([, device]) => devices.split(',').includes(device))) {
  const page = await browser.newPage();
  page.setDefaultTimeout(0);
  await page.goto(`${url}www/data/digits.js`); // any page of the site: only its modules are wanted
  await page.exposeFunction('say', (text) => console.log(`${set} on the ${device}: ${text}`));
  await page.evaluate(
    async ({ base, set, device, steps }) => {
      const live = { buffers: 0, bytes: 0 };
      // Gone is what was destroyed, or what the garbage collector found unreachable.
      const sizes = new WeakMap();
      const end = (size) => {
        live.buffers -= 1;
        live.bytes -= size;
      };
      const collected = new FinalizationRegistry(end);
      const make = GPUDevice.prototype.createBuffer;
      GPUDevice.prototype.createBuffer = function (descriptor) {
        const buffer = make.call(this, descriptor);
        live.buffers += 1;
        live.bytes += descriptor.size;
        sizes.set(buffer, descriptor.size);
        collected.register(buffer, descriptor.size, buffer);
        return buffer;
      };
      const destroy = GPUBuffer.prototype.destroy;
      GPUBuffer.prototype.destroy = function () {
        if (sizes.has(this)) {
          end(sizes.get(this));
          sizes.delete(this);
          collected.unregister(this);
        }
        return destroy.call(this);
      };
      const { default: init, ...engine } = await import(`${base}www/pkg-train/noiseball_train.js`);
      const { unpacked } = await import(`${base}www/train/unpack.js`);
      const response = await fetch(`${base}www/pkg-train/noiseball_train_bg.wasm.gz`);
      const { memory } = await init({ module_or_path: await unpacked(response) });
      const { readPictures } = await import(`${base}www/train/pictures.js`);
      const source = { kind: 'sheet', url: `${base}www/data/${set}` };
      const read = async () => (await readPictures(source, {}, { engine, signal: new AbortController().signal, report() {} })).data;
      const data = set === 'digits' ? await read() : engine.Data.toy(set, 4096);
      const recipe = engine.recipe(set === 'digits' ? 'tiny' : `${set}-ddpm`, undefined, { steps }, data);
      const training = await engine.Training.create(recipe, data, false, device);
      for (let step = 1; step <= steps; step++) {
        training.step();
        if (step % 10 === 0) await training.wait();
        if (step === 100 || step % 500 === 0) {
          const mib = (bytes) => (bytes / 2 ** 20).toFixed(1);
          window.say(
            `after ${step} steps ${mib(memory.buffer.byteLength)} MiB of module memory, ${live.buffers} buffers of ${mib(live.bytes)} MiB`,
          );
        }
      }
      training.free();
      data.free();
    },
    { base: url, set, device, steps },
  );
  await page.close();
}
await browser.close();
await close();
