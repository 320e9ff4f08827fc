// A stand-in for the wasm module (worker.js lists what is used of it): made-up faces that fade in, no network.
// It keeps count of what is alive, so that tests can tell whether everything was freed.

export const alive = { models: 0, runs: 0 };
export const settings = { stepMilliseconds: 0 };
let losses = 0;

/** Takes the device away under every model there is. */
export function loseDevice() {
  losses++;
}

class EngineError extends Error {
  constructor(type, message) {
    super(message);
    this.type = type;
  }
}

export default async function init(options) {
  await (await options?.module_or_path)?.arrayBuffer();
}

export class WeightsReader {
  #head = [];

  constructor(name, length) {
    Object.assign(this, { name, length, loaded: 0 });
  }

  push(bytes) {
    if (this.loaded < 8) this.#head.push(...bytes.subarray(0, 8));
    this.loaded += bytes.length;
    if (this.#head.length >= 8 && (this.#head[7] || this.#head[6])) {
      throw new EngineError(
        'checkpoint',
        `${this.name} is not a readable safetensors file: its header is too long. Download or export it again`,
      );
    }
  }

  free() {}
}

export function choose_files(names) {
  const find = (...ends) => names.find((name) => ends.some((end) => name === end || name.endsWith(`/${end}`)));
  const unetConfig = find('unet/config.json', 'config.json');
  const weights = names.filter((name) => name.endsWith('.safetensors'));
  if (!unetConfig || weights.length === 0) {
    throw new EngineError(
      'checkpoint',
      `no config.json with its .safetensors here (found: ${names}). Give the folder that diffusers' save_pretrained wrote`,
    );
  }
  return {
    unetConfig,
    weights,
    schedulerConfig: find('scheduler_config.json'),
    modelIndex: find('model_index.json'),
    labels: find('labels.json'),
  };
}

export class Model {
  static async build(files, weights, device) {
    const json = (bytes) => bytes && JSON.parse(new TextDecoder().decode(bytes));
    if (weights.some(({ loaded }) => loaded < 16))
      throw new EngineError('checkpoint', `${weights[0].name} is truncated. Download or export it again`);
    let config;
    try {
      config = json(files.unetConfig);
    } catch (error) {
      throw new EngineError('checkpoint', `config.json is not the JSON that diffusers writes: ${error.message}`);
    }
    if (config._class_name !== 'UNet2DModel')
      throw new EngineError('unsupported-architecture', `${config._class_name} is not supported: only UNet2DModel is`);
    if (config.too_large && device === 'gpu') throw new EngineError('limit', 'maxBufferSize is 1 on this adapter, but this run needs 2');
    return new Model(config, json(files.labels), json(files.schedulerConfig), weights);
  }

  constructor(config, labels, scheduler, weights) {
    Object.assign(this, { config, labels, scheduler, weights, busy: false, losses });
    alive.models++;
  }

  info() {
    const { sample_size: size, in_channels: channels, num_class_embeds: classes } = this.config;
    return {
      parameters: this.weights.reduce((sum, reader) => sum + Math.floor(reader.loaded / 4), 0),
      flops: 1e8,
      activationBytes: 1e5,
      channels,
      width: size,
      height: size,
      labels: this.labels?.labels ?? null,
      classes: classes ?? null,
      nullLabel: this.labels?.null_label ?? null,
      scheduler: this.scheduler?._class_name ?? 'DDPMScheduler',
      sampler: 'ddim',
      trainTimesteps: 1000,
      unknownKeys: [],
      notes: [],
    };
  }

  lost() {
    return this.losses < losses;
  }

  sample({ sampler = 'ddim', steps = 20, seed = 0, batch = 1, eta = 0, rng = 'philox', labels = [] } = {}) {
    if (this.busy) throw new EngineError('busy', 'this model is already sampling');
    const { num_class_embeds: classes = 0 } = this.config;
    const valid = {
      sampler: ['ddim', 'ddpm'].includes(sampler),
      steps: steps >= 1,
      seed: seed >= 0,
      batch: batch >= 1,
      eta: eta >= 0 && eta <= 1,
      rng: ['philox', 'torch'].includes(rng),
      labels: labels.every((label) => label < classes),
    };
    for (const [name, fine] of Object.entries(valid)) {
      if (!fine) throw new EngineError('invalid-option', `\`${name}\` is out of its range`);
    }
    return new Run(this, { steps, seed, batch, labels, size: this.config.sample_size });
  }

  free() {
    alive.models--;
  }
}

class Run {
  #index = 0;
  #working = false;

  constructor(model, options) {
    Object.assign(this, options, { model });
    this.noise = normals(options.seed, options.batch * options.size ** 2 * 3);
    this.faces = Float32Array.from({ length: this.noise.length }, (_, i) => face(options, i));
    alive.runs++;
    model.busy = true;
  }

  async next() {
    if (this.#index === this.steps) return undefined;
    this.#working = true;
    await new Promise((resolve) => setTimeout(resolve, settings.stepMilliseconds));
    this.#working = false;
    if (this.model.lost()) throw new EngineError('device-lost', 'the GPU device was lost');
    const index = this.#index++;
    const left = (1 - (index + 1) / this.steps) ** 0.7;
    const certainty = 1 - left;
    const last = index === this.steps - 1;
    const step = {
      index,
      total: this.steps,
      timestep: Math.round(999 * (1 - index / this.steps)),
      noise: (1 - index / this.steps) ** 2,
      batch: this.batch,
      width: this.size,
      height: this.size,
      pictures: this.#paint((i) => Math.sqrt(1 - left ** 2) * this.faces[i] + left * this.noise[i]),
      predicted: this.#paint((i) => certainty ** 0.4 * this.faces[i] + 0.15 * left * this.noise[i]),
    };
    return last ? { ...step, latents: Float32Array.from(this.faces) } : step;
  }

  #paint(value) {
    const pixels = new Uint8ClampedArray((this.noise.length / 3) * 4).fill(255);
    for (let i = 0; i < this.noise.length; i++) pixels[Math.floor(i / 3) * 4 + (i % 3)] = (value(i) + 1) * 127.5;
    return pixels;
  }

  free() {
    if (this.#working) throw new Error('attempted to take ownership of Rust value while it was borrowed');
    alive.runs--;
    this.model.busy = false;
  }
}

function normals(seed, count) {
  let state = (seed + 1) | 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return Float32Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()));
}

/** The value of one colour of one pixel: a round face whose tint and smile depend on seed and class. */
function face({ seed, labels, size }, i) {
  const picture = Math.floor(i / (3 * size * size));
  const label = labels[picture % Math.max(1, labels.length)] ?? 0;
  const [x, y, colour] = [(Math.floor(i / 3) % size) / size - 0.47, (Math.floor(i / 3 / size) % size) / size - 0.47, i % 3];
  const tint = Math.cos(seed * 1.7 + picture * 2.1 + label + colour * 2.1);
  if (Math.hypot(x, y) > 0.42) return 0.75 - 0.2 * tint;
  const eye = Math.abs(Math.abs(x) - 0.16) < 0.05 && Math.abs(y + 0.1) < 0.06;
  const mouth = Math.abs(x) < 0.2 && Math.abs(y - 0.16 + (label % 2 ? 1 : -1) * x * x * 2.5) < 0.04;
  return eye || mouth ? -0.85 : 0.25 + 0.55 * tint;
}
