// A stand-in for the wasm module (worker.js lists what is used of it): made-up faces that fade in, no network.
// It keeps count of what is alive, so that tests can tell whether everything was freed.

export const alive = { models: 0, runs: 0 };
export const settings = { stepMilliseconds: 0 };
/** What the last run was told and given. */
export const given = { told: undefined, init: undefined, mask: undefined, noise: undefined };
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

/** Wants the files of layout A: the config first, then the others, and at last the weights. */
export class Opening {
  static #ROUNDS = [
    ['unet/config.json', 'model_index.json'],
    ['scheduler/scheduler_config.json', 'labels.json'],
  ];
  #round = 0;
  #answered = new Set();
  #paths;

  constructor(place, paths, variant) {
    Object.assign(this, { place, variant, files: {}, weights: [] });
    this.#paths = paths;
    if (paths && !this.#given('unet/config.json')) throw this.#missing('unet/config.json', paths);
  }

  #missing(what, found) {
    return new EngineError('checkpoint', `no ${what} here (found: ${found}). Give the folder that save_pretrained() wrote`);
  }

  #given(name) {
    return this.#paths ? this.#paths.find((path) => path === name || path.endsWith(`/${name}`)) : name;
  }

  wanted() {
    const file = (name) => ({ path: this.#given(name), weights: false, limit: 4 << 20 });
    for (; this.#round < Opening.#ROUNDS.length; this.#round++) {
      const open = Opening.#ROUNDS[this.#round].map(file).filter(({ path }) => path && !this.#answered.has(path));
      if (open.length > 0) return open;
      if (!this.files['config.json'])
        throw new EngineError('fetch', `could not download ${this.place}: neither unet/config.json nor config.json is there`);
    }
    const name = `unet/diffusion_pytorch_model.${this.variant ? `${this.variant}.` : ''}safetensors`;
    if (this.weights.some(({ whole }) => whole)) return [];
    const path = this.#given(name);
    if (!path || this.#answered.has(path)) throw this.#missing(name, this.#paths ?? 'other files');
    return [{ path, weights: true, limit: undefined }];
  }

  needs() {
    const config = this.files['config.json'];
    return config && JSON.parse(new TextDecoder().decode(config)).needs;
  }

  give(path, bytes) {
    this.#answered.add(path);
    if (bytes.length > 4 << 20) throw new EngineError('checkpoint', `${path} is not the JSON that diffusers writes: it is too long`);
    this.files[path.split('/').at(-1)] = bytes;
  }

  absent(path) {
    this.#answered.add(path);
  }

  begin(path, length) {
    this.weights = [{ path, length, loaded: 0, head: [] }];
  }

  push(bytes) {
    const file = this.weights[0];
    if (file.loaded < 8) file.head.push(...bytes.subarray(0, 8));
    file.loaded += bytes.length;
    if (file.head.length >= 8 && (file.head[7] || file.head[6])) {
      throw new EngineError(
        'checkpoint',
        `${file.path} is not a readable safetensors file: its header is too long. Download or export it again`,
      );
    }
  }

  end() {
    const [file] = this.weights;
    if (file.loaded < 16) throw new EngineError('checkpoint', `${file.path} is truncated. Download or export it again`);
    file.whole = true;
  }

  free() {}
}

export class Model {
  static async build({ files, weights }, device) {
    const json = (bytes) => bytes && JSON.parse(new TextDecoder().decode(bytes));
    let config;
    try {
      config = json(files['config.json']);
    } catch (error) {
      throw new EngineError('checkpoint', `config.json is not the JSON that diffusers writes: ${error.message}`);
    }
    if (config._class_name !== 'UNet2DModel')
      throw new EngineError('unsupported-architecture', `${config._class_name} is not supported: only UNet2DModel is`);
    if (config.too_large && device === 'gpu') throw new EngineError('limit', 'maxBufferSize is 1 on this adapter, but this run needs 2');
    return new Model(config, json(files['labels.json']), json(files['scheduler_config.json']), weights);
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

  sample(
    { sampler = 'ddim', steps = 20, seed = 0, batch = 1, eta = 0, rng = 'philox', labels = [], every = 1 } = {},
    told,
    init,
    mask,
    noise,
    watch,
  ) {
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
    Object.assign(given, { told, init, mask, noise });
    return new Run(this, { steps, seed, batch, labels, every, watch, size: this.config.sample_size });
  }

  noise(seed) {
    return normals(seed, 192);
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
    if (this.watch) {
      const { size, batch, steps: total } = this;
      const estimate = new Float32Array(batch * 3 * size * size).fill(this.#index);
      const facts = { index: this.#index, total, timestep: 9, noise: 0.5, batch, width: size, height: size };
      const answer = await this.watch({ ...facts, estimate }).finally(() => (this.#working = false));
      if (answer) this.faces = answer;
    }
    this.#working = false;
    if (this.model.lost()) throw new EngineError('device-lost', 'the GPU device was lost');
    const isShown = () => this.#index % this.every === 0 || this.#index === this.steps;
    // Of steps that nobody looks at, several at a time.
    let together = 3;
    do this.#index++;
    while (!isShown() && --together > 0);
    const index = this.#index - 1;
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
    };
    if (!isShown()) return step;
    Object.assign(step, {
      pictures: this.#paint((i) => Math.sqrt(1 - left ** 2) * this.faces[i] + left * this.noise[i]),
      predicted: this.#paint((i) => certainty ** 0.4 * this.faces[i] + 0.15 * left * this.noise[i]),
    });
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
