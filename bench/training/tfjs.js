/**
 * The peer in training: the U-Nets of Noiseball's presets and their training step in TensorFlow.js, written as its users
 * would: NHWC, one variable a parameter, its own Adam. Bundled by the benchmark's server as plain script tags: `tf` is global.
 */

/** A diffusers `UNet2DModel` of plain and attention blocks with scale-and-shift time conditioning. */
export class TfUNet {
  /** `tensors` maps a checkpoint's keys to `{shape, values}`. */
  constructor(config, tensors) {
    this.config = config;
    this.variables = {};
    for (const [key, { shape, values }] of Object.entries(tensors)) {
      const value = tf.tidy(() => {
        const tensor = tf.tensor(values, shape);
        if (shape.length === 4) return tensor.transpose([2, 3, 1, 0]); // [out, in, 3, 3] to [3, 3, in, out]
        return shape.length === 2 && !key.includes('class_embedding') ? tensor.transpose() : tensor.clone();
      });
      this.variables[key] = tf.variable(value);
      value.dispose();
    }
  }

  weight(name) {
    return this.variables[`${name}.weight`];
  }

  conv(x, name, stride = 1) {
    const y =
      stride === 2
        ? tf.conv2d(
            tf.pad(x, [
              [0, 0],
              [1, 1],
              [1, 1],
              [0, 0],
            ]),
            this.weight(name),
            2,
            'valid',
          )
        : tf.conv2d(x, this.weight(name), 1, 'same');
    return y.add(this.variables[`${name}.bias`]);
  }

  linear(v, name) {
    return v.matMul(this.weight(name)).add(this.variables[`${name}.bias`]);
  }

  /** The linear map at every pixel. */
  pointwise(x, name) {
    const [n, h, w, c] = x.shape;
    const weight = this.weight(name);
    const matrix = weight.rank === 4 ? weight.reshape([c, -1]) : weight;
    return x
      .reshape([n * h * w, c])
      .matMul(matrix)
      .add(this.variables[`${name}.bias`])
      .reshape([n, h, w, -1]);
  }

  norm(x, name, groups) {
    const [n, h, w, c] = x.shape;
    const grouped = x.reshape([n, h * w, groups, c / groups]);
    const { mean, variance } = tf.moments(grouped, [1, 3], true);
    const normal = grouped.sub(mean).div(variance.add(this.config.norm_eps).sqrt()).reshape([n, h, w, c]);
    return normal.mul(this.weight(name)).add(this.variables[`${name}.bias`]);
  }

  resnet(x, name, time) {
    const groups = this.config.norm_num_groups;
    let h = this.conv(silu(this.norm(x, `${name}.norm1`, groups)), `${name}.conv1`);
    const [scale, shift] = this.linear(time, `${name}.time_emb_proj`).expandDims(1).expandDims(1).split(2, 3);
    h = silu(this.norm(h, `${name}.norm2`, groups).mul(scale.add(1)).add(shift));
    h = this.conv(h, `${name}.conv2`);
    return (this.weight(`${name}.conv_shortcut`) ? this.pointwise(x, `${name}.conv_shortcut`) : x).add(h);
  }

  attention(x, name, groups) {
    const [n, height, width, c] = x.shape;
    const dim = this.config.attention_head_dim;
    const normal = this.norm(x, `${name}.group_norm`, groups);
    const heads = (part) =>
      this.pointwise(normal, `${name}.${part}`)
        .reshape([n, height * width, c / dim, dim])
        .transpose([0, 2, 1, 3]);
    const scores = heads('to_q')
      .matMul(heads('to_k'), false, true)
      .mul(1 / Math.sqrt(dim))
      .softmax();
    const y = scores.matMul(heads('to_v')).transpose([0, 2, 1, 3]).reshape([n, height, width, c]);
    return x.add(this.pointwise(y, `${name}.to_out.0`));
  }

  /** `x` is `[batch, height, width, channels]`, `timesteps` and `labels` arrays of `batch` numbers. */
  forward(x, timesteps, labels) {
    const { block_out_channels: channels, layers_per_block: layers, down_block_types: down, up_block_types: up } = this.config;
    let time = this.linear(silu(this.linear(features(timesteps, channels[0]), 'time_embedding.linear_1')), 'time_embedding.linear_2');
    if (labels)
      time = time.add(tf.oneHot(tf.tensor1d(labels, 'int32'), this.config.num_class_embeds).matMul(this.weight('class_embedding')));
    time = silu(time);
    let h = this.conv(x, 'conv_in');
    const skips = [h];
    down.forEach((type, i) => {
      for (let j = 0; j < layers; j++) {
        h = this.resnet(h, `down_blocks.${i}.resnets.${j}`, time);
        if (type.startsWith('Attn')) h = this.attention(h, `down_blocks.${i}.attentions.${j}`, this.config.norm_num_groups);
        skips.push(h);
      }
      if (i + 1 < down.length) skips.push((h = this.conv(h, `down_blocks.${i}.downsamplers.0.conv`, 2)));
    });
    h = this.resnet(h, 'mid_block.resnets.0', time);
    h = this.attention(h, 'mid_block.attentions.0', this.config.attn_norm_num_groups);
    h = this.resnet(h, 'mid_block.resnets.1', time);
    up.forEach((type, i) => {
      for (let j = 0; j <= layers; j++) {
        h = this.resnet(tf.concat([h, skips.pop()], 3), `up_blocks.${i}.resnets.${j}`, time);
        if (type.startsWith('Attn')) h = this.attention(h, `up_blocks.${i}.attentions.${j}`, this.config.norm_num_groups);
      }
      if (i + 1 < up.length) {
        h = this.conv(tf.image.resizeNearestNeighbor(h, [2 * h.shape[1], 2 * h.shape[2]]), `up_blocks.${i}.upsamplers.0.conv`);
      }
    });
    return this.conv(silu(this.norm(h, 'conv_norm_out', this.config.norm_num_groups)), 'conv_out');
  }
}

const silu = (x) => x.mul(x.sigmoid());

function features(timesteps, width) {
  const half = width / 2;
  const angles = timesteps.map((t) => Array.from({ length: half }, (_, k) => t * Math.exp((-Math.log(10_000) * k) / half)));
  return tf.tensor2d(angles.map((a) => [...a.map(Math.cos), ...a.map(Math.sin)]));
}

/** One training step at a time: v-prediction on the cosine schedule, clipping, Adam, averaged weights. */
export class TfTrainer {
  constructor(network, learningRate) {
    this.network = network;
    this.optimiser = tf.train.adam(learningRate, 0.9, 0.99);
    this.averages = Object.fromEntries(Object.entries(network.variables).map(([key, v]) => [key, tf.variable(v.clone(), false)]));
    const bar = (t) => Math.cos((((t / 1000 + 0.008) / 1.008) * Math.PI) / 2) ** 2;
    this.alphaBar = [];
    for (let t = 0, product = 1; t < 1000; t++) this.alphaBar.push((product *= 1 - Math.min(0.999, 1 - bar(t + 1) / bar(t))));
  }

  setLearningRate(rate) {
    this.optimiser.learningRate = rate;
  }

  /** Trains on `images`, a Float32Array `[batch, height, width, channels]` in [-1, 1]; resolves to the loss if asked. */
  async step(images, shape, labels, read) {
    const timesteps = Array.from({ length: shape[0] }, (_, i) => Math.floor(((i + Math.random()) / shape[0]) * 1000));
    const column = (number) =>
      tf.tensor4d(
        timesteps.map((t) => number(this.alphaBar[t])),
        [shape[0], 1, 1, 1],
      );
    const loss = tf.tidy(() => {
      const alpha = column(Math.sqrt);
      const sigma = column((a) => Math.sqrt(1 - a));
      const x0 = tf.tensor4d(images, shape);
      const noise = tf.randomNormal(shape);
      const x = x0.mul(alpha).add(noise.mul(sigma));
      const target = noise.mul(alpha).sub(x0.mul(sigma));
      const { value, grads } = tf.variableGrads(() => this.network.forward(x, timesteps, labels).sub(target).square().mean());
      const names = Object.keys(grads);
      const norm = names
        .map((name) => grads[name].square().sum())
        .reduce((a, b) => a.add(b))
        .sqrt();
      const factor = tf.minimum(norm.add(1e-6).reciprocal(), 1);
      this.optimiser.applyGradients(Object.fromEntries(names.map((name) => [name, grads[name].mul(factor)])));
      for (const [key, average] of Object.entries(this.averages))
        average.assign(average.mul(0.99).add(this.network.variables[key].mul(0.01)));
      return value;
    });
    const value = read ? (await loss.data())[0] : undefined;
    loss.dispose();
    return value;
  }
}
