// The two sides of a comparison in a browser: the same network, the same start, the same DDIM steps, the same end. Each
// side loads a model of bench/cache/ onto a device ('gpu' or 'cpu') and runs its steps for a batch, timing each.

import { Noiseball } from '../www/noiseball.js';

const ORT = {
  gpu: { module: 'ort.webgpu.min.mjs', provider: 'webgpu' },
  cpu: { module: 'ort.wasm.min.mjs', provider: 'wasm' },
};
const ORT_FOLDER = new URL('./node_modules/onnxruntime-web/dist/', import.meta.url).href;

export const SIDES = {
  noiseball: (model, device) => NoiseballSide.load(model, device),
  ort: (model, device) => OrtSide.load(model, device),
};

/** The public API, as a page's author would call it: its times hold what the worker and the previews cost. */
class NoiseballSide {
  constructor(engine, facts) {
    Object.assign(this, { engine, facts });
  }

  static async load(model, device) {
    const [facts, engine] = await Promise.all([json(model, 'run.json'), Noiseball.load(address(model, ''), { device })]);
    return new NoiseballSide(engine, facts);
  }

  /** Milliseconds of each step, and the result, `[batch, channels, height, width]`. */
  async run(batch) {
    const { seed, label, steps } = this.facts;
    const labels = label === null ? undefined : [label];
    const times = [];
    let latents;
    let before = performance.now();
    for await (const step of this.engine.sample({ sampler: 'ddim', steps: steps.length, rng: 'torch', seed, batch, labels })) {
      times.push(performance.now() - before);
      before = performance.now();
      latents = step.latents;
    }
    return { times, latents };
  }

  async dispose() {
    this.engine.dispose();
  }
}

/** onnxruntime-web as its documentation has it: one session, inputs and results on the host, one thread. */
class OrtSide {
  constructor(ort, session, facts, start) {
    Object.assign(this, { ort, session, facts, start });
  }

  static async load(model, device) {
    const { module, provider } = ORT[device];
    const ort = await import(ORT_FOLDER + module);
    ort.env.wasm.wasmPaths = ORT_FOLDER;
    ort.env.wasm.numThreads = 1;
    const [facts, bytes] = await Promise.all([json(model, 'run.json'), file(model, 'model.onnx')]);
    const session = await ort.InferenceSession.create(new Uint8Array(bytes), {
      executionProviders: [provider],
      graphOptimizationLevel: 'all',
    });
    return new OrtSide(ort, session, facts, model);
  }

  /** As NoiseballSide's. */
  async run(batch) {
    const { label, shape, steps } = this.facts;
    const { Tensor } = this.ort;
    const x = new Float32Array(await file(this.start, `start-${batch}.bin`));
    const times = [];
    for (const { timestep, a, b } of steps) {
      const before = performance.now();
      const inputs = { x: new Tensor('float32', x, [batch, ...shape]), timestep: new Tensor('float32', [timestep], []) };
      if (label !== null) inputs.label = new Tensor('int64', new BigInt64Array(batch).fill(BigInt(label)), [batch]);
      const { epsilon } = await this.session.run(inputs);
      for (let i = 0; i < x.length; i += 1) x[i] = a * x[i] + b * epsilon.data[i];
      epsilon.dispose();
      times.push(performance.now() - before);
    }
    return { times, latents: x };
  }

  async dispose() {
    await this.session.release();
  }
}

/** How far a result is from PyTorch's, relative to PyTorch's largest number. */
export async function distance(model, batch, latents) {
  const expected = new Float32Array(await file(model, `end-${batch}.bin`));
  if (latents.length !== expected.length) throw new Error(`${latents.length} numbers for ${expected.length}`);
  let [largest, worst] = [0, 0];
  for (let i = 0; i < expected.length; i += 1) {
    largest = Math.max(largest, Math.abs(expected[i]));
    // Math.max gives NaN where one is NaN.
    worst = Math.max(worst, Math.abs(expected[i] - latents[i]));
  }
  return worst / largest;
}

function address(model, name) {
  return new URL(`./cache/${model}/${name}`, import.meta.url).href;
}

async function file(model, name) {
  const response = await fetch(address(model, name));
  if (!response.ok) throw new Error(`${address(model, name)}: HTTP status ${response.status}`);
  return response.arrayBuffer();
}

async function json(model, name) {
  return JSON.parse(new TextDecoder().decode(await file(model, name)));
}
