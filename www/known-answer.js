// A question whose answer is known, for a GPU that was never asked before: drivers and browsers have computed wrong or black pictures
// without an error. A small network is run there and on the processor; where they differ, the GPU is not trusted.

import { recall, remember } from './cache.js';

/** Bytes of a picture by which the two may differ: rounding alone gives one or two. */
const TOLERANCE = 4;
const OPTIONS = { sampler: 'ddim', steps: 2, seed: 7, batch: 2 };

const CONFIG = {
  _class_name: 'UNet2DModel',
  sample_size: 16,
  in_channels: 3,
  out_channels: 3,
  layers_per_block: 1,
  block_out_channels: [32, 64],
  down_block_types: ['DownBlock2D', 'AttnDownBlock2D'],
  up_block_types: ['AttnUpBlock2D', 'UpBlock2D'],
  norm_num_groups: 8,
  attention_head_dim: 16,
};
const SCHEDULER = { _class_name: 'DDIMScheduler', num_train_timesteps: 1000, beta_schedule: 'linear', clip_sample: true };

/**
 * Whether the GPU's pictures are the processor's, asked once for each adapter and browser.
 *
 * @param {any} engine the wasm module
 * @param {string} adapter its name
 * @returns {Promise<boolean>}
 */
export async function isRight(engine, adapter) {
  const key = `${adapter} ${globalThis.navigator?.userAgent}`;
  const known = await recall(key);
  if (known !== null) return known === 'right';
  const right = closest(await pictures(engine, 'cpu'), await pictures(engine, 'gpu')) <= TOLERANCE;
  await remember(key, right ? 'right' : 'wrong');
  return right;
}

/** The largest difference of two pictures' bytes. */
function closest(a, b) {
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), a.length === b.length ? 0 : 255);
}

/** What the small network draws on a device. */
async function pictures(engine, device) {
  const bytes = weights();
  const opening = new engine.Opening('known-answer', ['unet/config.json', 'scheduler/scheduler_config.json', FILE]);
  for (let wanted = opening.wanted(); wanted.length > 0; wanted = opening.wanted()) {
    for (const { path, weights } of wanted) {
      if (weights) {
        opening.begin(path, bytes.length);
        opening.push(bytes);
        opening.end();
      } else {
        opening.give(path, new TextEncoder().encode(JSON.stringify(path.startsWith('unet') ? CONFIG : SCHEDULER)));
      }
    }
  }
  const model = await engine.Model.build(opening, device);
  try {
    const run = await model.sample(OPTIONS, new Float64Array()); // neither guided nor edited
    let last;
    for (let step = await run.next(); step; step = await run.next()) last = step.pictures;
    run.free();
    return last;
  } finally {
    model.free();
  }
}

const FILE = 'unet/diffusion_pytorch_model.safetensors';

/** The network's weights, the same everywhere: each in proportion to what it sums, so that no sum is large or small. */
function weights() {
  const [a, b, time] = [32, 64, 128];
  const tensors = new Map();
  const dense = (name, out, ...inputs) => {
    tensors.set(`${name}.weight`, { shape: [out, ...inputs], reach: Math.sqrt(3 / inputs.reduce((x, y) => x * y)) });
    tensors.set(`${name}.bias`, { shape: [out], reach: 0.2 });
  };
  const norm = (name, channels) => {
    tensors.set(`${name}.weight`, { shape: [channels], reach: 0.2, around: 1 });
    tensors.set(`${name}.bias`, { shape: [channels], reach: 0.2 });
  };
  const conv = (name, out, from, size = 3) => dense(name, out, from, size, size);
  const resnet = (name, out, from) => {
    norm(`${name}.norm1`, from);
    conv(`${name}.conv1`, out, from);
    dense(`${name}.time_emb_proj`, out, time);
    norm(`${name}.norm2`, out);
    conv(`${name}.conv2`, out, out);
    if (out !== from) conv(`${name}.conv_shortcut`, out, from, 1);
  };
  const attention = (name) => {
    norm(`${name}.group_norm`, b);
    for (const part of ['to_q', 'to_k', 'to_v', 'to_out.0']) dense(`${name}.${part}`, b, b);
  };
  conv('conv_in', a, 3);
  dense('time_embedding.linear_1', time, a);
  dense('time_embedding.linear_2', time, time);
  resnet('down_blocks.0.resnets.0', a, a);
  conv('down_blocks.0.downsamplers.0.conv', a, a);
  resnet('down_blocks.1.resnets.0', b, a);
  attention('down_blocks.1.attentions.0');
  resnet('mid_block.resnets.0', b, b);
  attention('mid_block.attentions.0');
  resnet('mid_block.resnets.1', b, b);
  resnet('up_blocks.0.resnets.0', b, b + b);
  attention('up_blocks.0.attentions.0');
  resnet('up_blocks.0.resnets.1', b, b + a);
  attention('up_blocks.0.attentions.1');
  conv('up_blocks.0.upsamplers.0.conv', b, b);
  resnet('up_blocks.1.resnets.0', a, b + a);
  resnet('up_blocks.1.resnets.1', a, a + a);
  norm('conv_norm_out', a);
  conv('conv_out', 3, a);
  return safetensors(tensors);
}

/** A safetensors file of such tensors with numbers of Marsaglia's xorshift. */
function safetensors(tensors) {
  const header = {};
  let length = 0;
  for (const [name, { shape }] of tensors) {
    const end = length + 4 * shape.reduce((x, y) => x * y);
    header[name] = { dtype: 'F32', shape, data_offsets: [length, end] };
    length = end;
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const start = 8 + Math.ceil(text.length / 8) * 8;
  const file = new Uint8Array(start + length).fill(0x20, 8, start);
  new DataView(file.buffer).setBigUint64(0, BigInt(start - 8), true);
  file.set(text, 8);
  const values = new Float32Array(file.buffer, start);
  let [at, state] = [0, 0x9e3779b9];
  for (const { shape, reach, around = 0 } of tensors.values()) {
    for (const end = at + shape.reduce((x, y) => x * y); at < end; at++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      values[at] = around + reach * (state / 2 ** 31);
    }
  }
  return file;
}
