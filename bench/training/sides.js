// The two sides of a comparison in training: the same network from the same weights, the same pictures, batch, objective and
// optimiser, on the same device. Each warms up in `verify`, which tells the mean loss of its first steps.

import { prepare as prepareData, train } from '../../www/training.js';
import { readZip } from '../../www/zip.js';
import { TfTrainer, TfUNet } from './tfjs.js';

const VERIFIED = 2; // steps
const SECONDS = 4; // that a measurement of tfjs lasts at least

export const SIDES = {
  noiseball: (backend, work) => NoiseballSide.load(backend, work),
  tfjs: (backend, work) => TfSide.load(backend, work),
};

let prepared = null;

/** Data, recipe, and the weights that both begin with. */
function prepare({ set, preset, batch }) {
  return (prepared ??= (async () => {
    const data = await prepareData(set);
    const recipe = JSON.parse((await data.plan({ preset })).recipe);
    Object.assign(recipe, { batch, accumulate: 1, flip: false });
    // The least rate, so that the losses of the first steps are of the same weights.
    const still = { ...recipe, optimiser: { ...recipe.optimiser, learning_rate: 1e-12, warmup: 0 }, steps: VERIFIED };
    const run = await train({ data, recipe: still, device: 'cpu', heldOut: false });
    let [sum, count] = [0, 0];
    for await (const event of run) {
      for (const point of event.type === 'steps' ? event.points : []) {
        sum += point.sum;
        count += point.count;
      }
      if (event.type === 'state' && event.state === 'ended') break;
    }
    const archive = await readZip(await run.export(), 'the run');
    await run.close();
    const read = (path) => archive.find((entry) => entry.path === path).file.arrayBuffer();
    const config = JSON.parse(new TextDecoder().decode(await read('unet/config.json')));
    const tensors = safetensors(new Uint8Array(await read('unet/diffusion_pytorch_model.safetensors')));
    return { data, recipe, loss: sum / count, config, tensors };
  })());
}

/** The tensors of a file in 32-bit floats. */
function safetensors(bytes) {
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  const values = ([start, end]) => new Float32Array(bytes.slice(8 + length + start, 8 + length + end).buffer);
  const entries = Object.entries(header).filter(([key]) => key !== '__metadata__');
  return Object.fromEntries(entries.map(([key, { shape, data_offsets }]) => [key, { shape, values: values(data_offsets) }]));
}

/** The public API: what the page itself measures before a run. */
class NoiseballSide {
  static async load(device, work) {
    return Object.assign(new NoiseballSide(), { device, ...(await prepare(work)) });
  }

  async verify() {
    await this.run();
    return this.loss;
  }

  async run() {
    const { secondsPerStep } = await this.data.measure({ recipe: this.recipe, device: this.device });
    return secondsPerStep;
  }
}

class TfSide {
  static async load(backend, work) {
    const { data, recipe, config, tensors } = await prepare(work);
    const root = new URL('../node_modules/@tensorflow/', import.meta.url).href;
    await script(`${root}tfjs/dist/tf.min.js`);
    if (backend === 'webgpu') await script(`${root}tfjs-backend-webgpu/dist/tf-backend-webgpu.min.js`);
    if (backend === 'wasm') {
      await script(`${root}tfjs-backend-wasm/dist/tf-backend-wasm.min.js`);
      tf.wasm.setWasmPaths(`${root}tfjs-backend-wasm/dist/`);
    }
    if (!(await tf.setBackend(backend))) throw new Error(`tfjs has no backend ${backend} here`);
    await tf.ready();
    const { channels, width, height, names } = data.info;
    const [batch, plane] = [recipe.batch, width * height];
    const { pictures } = await data.show({ indices: Array.from({ length: batch }, (_, i) => i) });
    const images = Float32Array.from({ length: batch * plane * channels }, (_, i) => {
      const [pixel, channel] = [Math.floor(i / channels), i % channels];
      return pictures[4 * pixel + channel] / 127.5 - 1;
    });
    const trainer = new TfTrainer(new TfUNet(config, tensors), 0);
    const labels = names.length > 0 ? Array.from({ length: batch }, (_, i) => i % names.length) : undefined;
    return Object.assign(new TfSide(), {
      trainer,
      images,
      shape: [batch, height, width, channels],
      labels,
      rate: recipe.optimiser.learning_rate,
    });
  }

  async verify() {
    let loss = 0;
    for (let i = 0; i < VERIFIED; i++) loss += await this.trainer.step(this.images, this.shape, this.labels, true);
    this.trainer.setLearningRate(this.rate);
    return loss / VERIFIED;
  }

  async run() {
    const began = performance.now();
    let steps = 0;
    // Losses are read at the end alone, as Noiseball does.
    for (let last = false; !last; steps++) {
      last = performance.now() - began > 1000 * SECONDS;
      await this.trainer.step(this.images, this.shape, this.labels, last);
    }
    return (performance.now() - began) / 1000 / steps;
  }
}

function script(src) {
  return new Promise((resolve, reject) => {
    document.head.append(
      Object.assign(document.createElement('script'), { src, onload: resolve, onerror: () => reject(new Error(`no ${src}`)) }),
    );
  });
}
