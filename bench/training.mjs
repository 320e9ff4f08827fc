/**
 * Training beside TensorFlow.js in Chromium, as `npm run bench -- --where training`: the same network from the same weights on
 * the same device, in turns. Where tfjs's WebAssembly backend lacks a gradient its plain CPU backend stands in.
 */
import { step } from '../tools/setup/shell.mjs';
import { launch } from './browsers.mjs';
import { summary } from './summary.mjs';

const WORK = {
  'digits, tiny': { set: 'digits', preset: 'tiny', batch: 32 },
  'faces, small': { set: 'faces', preset: 'small', batch: 32 },
};
const PEERS = { gpu: ['webgpu'], cpu: ['wasm', 'cpu'] };

/** The mean losses of the first steps, of other noise and labels on each side, lie within this share of each other. */
const NEAR = 0.1;

export async function inTraining(url, { devices, rounds, budget }, keep) {
  const browser = await launch('chromium');
  for (const [model, work] of Object.entries(WORK)) {
    for (const device of devices) {
      step(`training in chromium ${browser.version()}: ${model}, ${device}`);
      const page = await browser.newPage();
      page.setDefaultTimeout(0);
      await page.goto(`${url}bench/training/training.html`);
      await page.waitForFunction(() => globalThis.ready);
      const adapter = device === 'gpu' ? await page.evaluate(() => globalThis.adapter()) : 'CPU, one thread';
      const common = { where: 'training', browser: `chromium ${browser.version()}`, model, batch: work.batch, device };
      const ours = await loaded(page, 'noiseball', device, work);
      let peer;
      for (const backend of PEERS[device]) {
        peer = await loaded(page, 'tfjs', backend, work);
        if (!peer.error) break;
        console.log(`  tfjs ${backend}: ${peer.error}`);
      }
      const off = Math.abs(ours.loss - peer.loss) / ours.loss;
      if (off > NEAR) peer.error = `its loss is ${peer.loss}, ours ${ours.loss}`;
      for (let round = 0; round < rounds; round += 1) {
        for (const side of [ours, peer]) {
          if (side.error || side.spent > 1000 * budget) continue;
          const began = Date.now();
          side.times.push(1000 * (await page.evaluate(([name, backend]) => globalThis.run(name, backend), [side.side, side.backend])));
          side.spent += Date.now() - began;
        }
      }
      for (const { side, backend, times, error } of [ours, peer]) {
        const milliseconds = error ? undefined : summary(times);
        keep({ ...common, side, adapter: side === 'tfjs' ? `${adapter} (tfjs: ${backend})` : adapter, milliseconds, error });
        console.log(`  ${side} ${backend}: ${error ?? `${milliseconds.median.toFixed(0)} ms a step, ${milliseconds.runs} measurements`}`);
      }
      await page.close();
    }
  }
  await browser.close();
}

async function loaded(page, side, backend, work) {
  const one = { side, backend, times: [], spent: 0 };
  try {
    one.loss = await page.evaluate((arguments_) => globalThis.load(...arguments_), [side, backend, work]);
  } catch (error) {
    one.error = error.message.split('\n')[0].slice(0, 200);
  }
  return one;
}
