// What goes into an exported archive beside the weights: the model card and the run's numbers.

/**
 * @param {{name: string, device: object, data: object, recipe: string, step: number, steps: number, parameters: number,
 *          losses: import('./losses.js').Losses}} run
 * @returns {[string, Uint8Array][]}
 */
export function cardFiles(run) {
  const text = (string) => new TextEncoder().encode(string);
  return [
    ['README.md', text(card(run))],
    ['training/recipe.json', text(`${run.recipe}\n`)],
    ['training/losses.json', text(`${JSON.stringify(curve(run.losses))}\n`)],
  ];
}

function curve(losses) {
  return { loss: losses.series(), heldOut: losses.heldOut, note: '[step, loss] each; losses are averages over the steps up to the next' };
}

/** A model card as text. */
export function card({ name, device, data, recipe, step, steps, parameters, losses }) {
  const { unet, scheduler, batch, seed, optimiser, flip, label_dropout: dropout } = JSON.parse(recipe);
  const { count, width, height, channels, names, about } = data;
  const series = losses.smoothed(losses.series());
  const rows = [
    ['network', `\`${unet._class_name}\`, ${parameters.toLocaleString('en')} parameters`],
    ['predicts', `${scheduler.prediction_type}, ${scheduler.beta_schedule} betas, T = ${scheduler.num_train_timesteps}`],
    ['steps', `${step.toLocaleString('en')} of ${steps.toLocaleString('en')}, ${batch} pictures each`],
    ['optimiser', `AdamW, learning rate ${optimiser.learning_rate}, warm-up ${optimiser.warmup} steps, then a cosine; weight decay ${optimiser.weight_decay}; gradient norm clipped at ${optimiser.clip}`],
    ['seed', String(seed)],
    ['augmentation', flip ? 'mirrored left to right at random' : 'none'],
    ...(dropout > 0 ? [['label dropout', String(dropout)]] : []),
    ['loss', series.length > 0 ? `${series.at(-1)[1].toPrecision(3)} at the end, smoothed` : 'none read'],
    ...(losses.heldOut.length > 0 ? [['held-out loss', losses.heldOut.at(-1)[1].toPrecision(3)]] : []),
    ['device', device.name],
  ];
  const classes = names.length > 0 ? ` in ${names.length} classes: ${names.slice(0, 40).join(', ')}${names.length > 40 ? ' …' : ''}` : '';
  const origin = about
    ? `${about.about}. ${about.source}. Licence: ${about.licence}.`
    : 'The pictures were read from the trainer’s own device and were not sent anywhere; what may be done with this model depends on them.';
  return `---
library_name: diffusers
pipeline_tag: unconditional-image-generation
---

# ${name}

A diffusion model of ${width} × ${height} pictures${channels === 1 ? ' in grey' : ''}, trained in a browser tab with Noiseball.
Python's diffusers opens this folder: \`DDPMPipeline.from_pretrained('.')\`.

## Data

${count.toLocaleString('en')} pictures, ${width} × ${height}, ${channels === 1 ? 'grey' : `${channels} channels`}${classes}.
${origin}

## Training

| | |
|---|---|
${rows.map(([key, value]) => `| ${key} | ${value} |`).join('\n')}

The weights are averages over training. \`training/recipe.json\` holds every setting and \`training/losses.json\` the loss curve.
`;
}
