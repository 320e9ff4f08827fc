// Pipelines that Python saved and ran (tests/fixtures/text_pipelines.json): their folders' files, made of the stream of numbers that stands
// for weights (tools/golden/stream.py), and what Python was asked and answered.

import { readFileSync } from 'node:fs';

const read = (path) => readFileSync(new URL(`../../${path}`, import.meta.url));
const FIXTURE = JSON.parse(read('tests/fixtures/text_pipelines.json'));

export const CASES = FIXTURE.cases;
export const caseOf = (name) => CASES.find((each) => each.name === name);

/** Files by their paths. */
export function filesOf({ model_index: index, scheduler, parts, pads }) {
  const files = { 'model_index.json': JSON.stringify(index), 'scheduler/scheduler_config.json': JSON.stringify(scheduler) };
  for (const [name, key] of Object.entries(parts)) {
    const { config, tensors } = FIXTURE.parts[key];
    files[`${name}/config.json`] = JSON.stringify(config);
    // Those of an autoencoder are called by what it is.
    const stream = config._class_name === 'AutoencoderKL' ? 'vae' : name;
    files[`${name}/${name.startsWith('text') ? 'model' : 'diffusion_pytorch_model'}.safetensors`] = weightsOf(key, stream, tensors);
  }
  for (const [name, pad] of Object.entries(pads)) {
    for (const file of ['vocab.json', 'merges.txt', 'tokenizer_config.json'])
      files[`${name}/${file}`] = read(`tools/models/emoji-64/model/tokenizer/${file}`);
    files[`${name}/special_tokens_map.json`] = JSON.stringify({ pad_token: pad });
  }
  return files;
}

/** What `sample` is given for what Python was. */
export function optionsOf({ arguments: given, seed }) {
  const picture = (image, channels) => {
    if (image === undefined) return undefined;
    if (image.picture) return { data: rgba(image.bytes), width: image.picture[1], height: image.picture[0] };
    return channels === 3 ? image.values.map((value) => 2 * value - 1) : image.values;
  };
  const options = {
    prompt: given.prompt,
    prompt2: given.prompt_2,
    negativePrompt: given.negative_prompt,
    guidance: given.guidance_scale,
    guidanceRescale: given.guidance_rescale,
    labels: given.class_labels,
    steps: given.num_inference_steps,
    height: given.height,
    width: given.width,
    batch: given.num_images_per_prompt ?? given.batch_size,
    init: picture(given.image, 3),
    strength: given.strength,
    mask: picture(given.mask_image, 1),
    eta: given.eta,
    seed,
    rng: 'torch',
  };
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

function rgba(rgb) {
  return Uint8ClampedArray.from({ length: (rgb.length / 3) * 4 }, (_, i) => (i % 4 === 3 ? 255 : rgb[Math.floor(i / 4) * 3 + (i % 4)]));
}

/** The largest difference, as a share of the largest number. */
export function relativeError(found, expected) {
  const most = Math.max(...expected.map(Math.abs));
  return found.length === expected.length ? Math.max(...expected.map((value, i) => Math.abs(value - found[i]))) / most : Infinity;
}

const made = new Map();

/** A safetensors file. */
function weightsOf(part, stream, tensors) {
  const key = `${part} ${stream}`;
  if (!made.has(key)) {
    const header = {};
    const values = [];
    let at = 0;
    for (const [name, shape] of Object.entries(tensors)) {
      const numbers = weight(`${stream}.${name}`, shape);
      header[name] = { dtype: 'F32', shape, data_offsets: [at, (at += 4 * numbers.length)] };
      values.push(Buffer.from(numbers.buffer));
    }
    const text = Buffer.from(JSON.stringify(header));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(text.length));
    made.set(key, Buffer.concat([length, text, ...values]));
  }
  return made.get(key);
}

function weight(key, shape) {
  const count = shape.reduce((product, side) => product * side, 1);
  const matrix = shape.length > 1 && Math.sqrt(3 / shape.slice(1).reduce((product, side) => product * side, 1));
  const [offset, scale] = matrix ? [0, matrix] : key.endsWith('.weight') ? [1, 0.25] : [0, 0.25];
  let state = [...Buffer.from(key)].reduce((hash, byte) => BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n), 0xcbf29ce484222325n);
  return Float32Array.from({ length: count }, () => {
    state = BigInt.asUintN(64, state + 0x9e3779b97f4a7c15n);
    let z = BigInt.asUintN(64, (state ^ (state >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    const uniform = Number((z ^ (z >> 31n)) >> 40n) / 2 ** 23 - 1;
    return offset + scale * uniform;
  });
}
