// A consumer of the package's types, which does what the page does. It is compiled and never run.

import {
  drawGrid,
  ERROR_TYPES,
  enlarge,
  type ErrorType,
  type LoadProgress,
  type ModelInfo,
  Noiseball,
  NoiseballError,
  type ResolvedSource,
  readSamplerOptions,
  resolveSource,
  type Source,
  type Step,
  usualRun,
} from 'noiseball';
import { type DiffusionProcess, type DiffusionSampler, h, s } from 'noiseball/elements';
import { cloud, factors, moments, noised, normals, scheduleOf, STEPS } from 'noiseball/forward';
import kanji from 'noiseball/models/kanji-32';
import faces from 'noiseball/models/pixel-faces-16';
import { fitted, Mask } from 'noiseball/painting';
import {
  BUNDLED,
  type Bound,
  type BundledData,
  continueRun,
  Losses,
  prepare,
  removeRun,
  runs,
  type Training,
  type TrainingData,
  type TrainingEvent,
  type TrainingFrame,
  train,
} from 'noiseball/train';
import { deviceSentence, failure, progressOf, runSentence } from 'noiseball/words';

declare const context: CanvasRenderingContext2D;
declare const input: HTMLInputElement;
declare function say(text: string): void;

/** The model that the package brings, and one whose files a bundler renamed. */
export const loading: Promise<Noiseball>[] = [
  Noiseball.load(faces),
  Noiseball.load(kanji),
  Noiseball.load({ 'unet/config.json': new URL('https://a.example/config-1.json'), 'unet/model.safetensors': './w-2.bin' }),
];

/** The example of README and docs/embedding.md. */
export async function example(): Promise<void> {
  const model = await Noiseball.load('./models/pixel-faces-16/');
  for await (const step of model.sample({ sampler: 'ddim', steps: 20, seed: 7, labels: [3] })) {
    const picture = new ImageData(step.pictures, step.width, step.height * step.batch);
    context.putImageData(picture, 0, 0);
  }
  model.dispose();
}

/** Points on the plane by a function, what was measured of a picture, and how likely it is. */
export async function beyond(model: Noiseball, picture: ImageData, stop: AbortSignal): Promise<number> {
  const toy = await Noiseball.of((x, { alpha, sigma }) => x.map((v) => (alpha * v) / (alpha ** 2 + sigma ** 2)), { shape: [2, 1, 1] });
  for await (const { latents, sigma } of toy.sample({ sampler: 'heun', steps: 9, batch: 4 })) say(`${latents?.length} ${sigma}`);
  const grey = await model.measure(picture, 'grey');
  for await (const step of model.sample({ init: grey, restore: 'grey', steps: 9 })) say(String(step.index));
  for await (const step of model.sample({ init: picture, restore: 'blur:1.5' })) say(String(step.index));
  const [bits = 0] = await model.bitsPerDim(picture, {
    method: 'ode',
    steps: 9,
    signal: stop,
    onProgress: ({ loaded }) => say(`${loaded}`),
  });
  return bits;
}

/** A model that the page loads into an element, with a link's options. */
export async function lend(element: DiffusionSampler, source: Source): Promise<void> {
  const resolved: ResolvedSource = await resolveSource(source, document.baseURI);
  if (resolved.kind === 'url') say(new URL(resolved.url).host);
  element.model = Noiseball.load(resolved);
  element.addEventListener('finish', ({ detail }) => say(`${detail.milliseconds} ms`));
  const { eta } = readSamplerOptions('ddim', 'eta=0.5');
  say(`${eta ?? 0}`);
  element.speed = 'slow';
}

/** Every kind of source. */
export function sources(event: DragEvent, entry: FileSystemEntry, folder: Source): Source[] {
  const { dataTransfer } = event;
  const dropped: Source[] = dataTransfer ? [dataTransfer, dataTransfer.items, dataTransfer.files] : [];
  return [folder, 'org/name', new URL('./models/', document.baseURI), [...(input.files ?? [])], [entry], ...dropped];
}

export async function load(
  source: Source,
  device: 'auto' | 'gpu' | 'cpu' | undefined,
  signal: AbortSignal | undefined,
): Promise<Noiseball> {
  const onProgress = (progress: LoadProgress) => say(`${progress.file ?? 'preparing'}: ${progressOf(progress)}`);
  try {
    return await Noiseball.load(source, { signal, device, onProgress });
  } catch (error) {
    if (error instanceof NoiseballError) say(`${failure(error, navigator.onLine)} ${title(error.type)}: ${error.message}`);
    throw error;
  }
}

function title(type: ErrorType): string {
  return ERROR_TYPES.includes(type) ? type : 'other';
}

/** As the page lists them. */
export function facts({
  name,
  parameters,
  flops,
  activationBytes,
  labels,
  classes,
  nullLabel,
  notes,
  unknownKeys,
  device,
}: ModelInfo): string[] {
  const any = nullLabel === null ? [] : [labels?.[nullLabel] ?? `class ${nullLabel} of ${classes ?? 0}`];
  return [
    name,
    `${parameters + flops + activationBytes}`,
    ...any,
    ...notes,
    ...unknownKeys,
    `${device.kind}: ${device.name}, ${device.reason ?? ''}`,
    deviceSentence(device).sentence,
  ];
}

/** Keeps the steps, and gives the exact result. */
export async function play(model: Noiseball, signal: AbortSignal): Promise<Float32Array<ArrayBuffer> | undefined> {
  const history: Step[] = [];
  for await (const step of model.sample({ batch: 16, rng: 'torch', eta: 0.5, signal, pauseWhenHidden: true })) history.push(step);
  const last = history.at(-1);
  const grid = new OffscreenCanvas(1, 1);
  if (last) drawGrid(grid, last.predicted, last);
  enlarge(grid, context.canvas, 4);
  const { sampler, steps } = usualRun(model.info);
  say(`${model.source?.name ?? 'a formula'}: ${steps} steps of ${sampler}`);
  say(String((await Noiseball.cached()).bytes));
  await Noiseball.purge();
  return last?.latents;
}

export async function readData(source: Source | BundledData, signal: AbortSignal): Promise<TrainingData> {
  const data = await prepare(source, {
    signal,
    size: Number(input.value) || undefined,
    grey: true,
    whole: false,
    classes: true,
    count: 5000,
    onProgress: ({ done, total }) => say(`${done} of ${total}`),
  });
  const { info, skipped, skippedCount, about } = data;
  say([info.kind, ...info.names, ...info.counts, skippedCount, about?.licence ?? '', about?.toy ?? '', about?.bound?.most ?? 0].join());
  say(data.presets.join());
  for (const { name, why } of skipped) say(`${name}: ${why}`);
  const shown = await data.show({ indices: [0, 1], timestep: info.count > 0 ? 10 : null, seed: 1 });
  if ('pictures' in shown) context.putImageData(new ImageData(shown.pictures, shown.width, shown.height * shown.batch), 0, 0);
  else say(`${shown.values.length / shown.channels} items at ${shown.alpha}, ${shown.sigma}`);
  return data;
}

export async function begin(data: TrainingData, from?: Source): Promise<Training> {
  const { recipe, parameters, memory, trainTimesteps } = await data.plan({ preset: 'small', steps: 2000 });
  const { secondsPerStep, device } = await data.measure({ recipe, device: 'auto' });
  say(`${parameters} ${memory} ${trainTimesteps} ${secondsPerStep} ${device.name}`);
  return train({ data, recipe, name: 'my drawings', heldOut: true, ...(from !== undefined && { from }) });
}

/** What the page shows of a run. */
export async function watch(run: Training): Promise<void> {
  const film: TrainingFrame[] = [];
  let losses = new Losses();
  let bound: Bound | null = null;
  for await (const event of run) {
    bound = boundOf(event) ?? bound;
    switch (event.type) {
      case 'start':
        film.push(...event.film);
        losses = new Losses(event.losses);
        say([event.facts.name, event.facts.device.name, event.facts.data.kind, event.facts.data.about?.name ?? ''].join());
        say(`${event.parameters} ${JSON.parse(event.recipe).objective} ${event.losses.heldOut.length} ${event.sample?.length ?? 0}`);
        say(event.kept && event.id !== null ? `kept at ${event.saved}` : 'not kept');
        break;
      case 'steps':
        for (const point of event.points) losses.merge(point);
        say(`${runSentence(event)} ${event.learningRate}`);
        break;
      case 'frame':
        film.push(event.frame);
        break;
      case 'held-out':
        losses.addHeldOut(event.step, event.loss);
        break;
      case 'saved':
        say(event.problem ?? `${event.bytes} bytes`);
        break;
      case 'not-kept':
        say(event.problem);
        break;
      case 'split':
        say(`${event.accumulate} parts`);
        break;
      case 'recovering':
        say(event.error.type);
        break;
      case 'failed':
        if (event.wentBack) losses = new Losses(event.losses);
        say(event.error.fatal ? 'gone' : event.error.message);
        break;
      case 'state':
        if (event.state === 'ended') return;
    }
  }
  const [last] = losses.smoothed(losses.series(3)).slice(-1);
  say(`${film.length} ${last?.[1] ?? 0} ${bound?.bits ?? 0} ± ${bound?.error ?? 0}`);
}

function boundOf(event: TrainingEvent): Bound | null | undefined {
  return event.type === 'start' || event.type === 'held-out' || event.type === 'failed' ? event.bound : undefined;
}

/** What the reader can do with a run. */
export async function act(run: Training): Promise<Noiseball> {
  await run.pause();
  await run.setLearningRate(1e-4);
  await run.resume();
  await run.stop();
  say(URL.createObjectURL(await run.export()) + (await run.state()).size);
  const model = await Noiseball.load(await run.source(`after ${run.progress?.step ?? 0} steps`));
  await run.close();
  return model;
}

export async function kept(): Promise<Training | undefined> {
  const [newest, ...others] = await runs();
  for (const { id, name, step, steps, when } of others) {
    say(`${name} ${step}/${steps} ${new Date(when).toISOString()}`);
    await removeRun(id);
  }
  return newest && continueRun(newest.id, { device: 'cpu' });
}

/** Where a word acted, and a part painted anew. */
export async function words(model: Noiseball, canvas: HTMLCanvasElement, bitmap: ImageBitmap): Promise<number> {
  const init = fitted(bitmap, model.info, true, '#000');
  const brush = new Mask(canvas, say);
  brush.show(init);
  brush.rectangle(0, 0, 8, 8);
  let most = 0;
  const onProgress = ({ loaded, total }: LoadProgress) => say(`${loaded} of ${total}`);
  for await (const { attention } of model.sample({ prompt: 'a red heart', attention: true, init, mask: brush.values, onProgress })) {
    for (const { words, mean } of attention ?? []) most = Math.max(most, (mean[words.indexOf('heart')] ?? 0) * brush.painted);
  }
  return most;
}

/** The forward process by hand. */
export function forward(): number {
  const points = cloud('moons', 100);
  const schedule = scheduleOf('squaredcos_cap_v2');
  const noisy = noised(points, normals(1, points.length), factors(schedule, STEPS / 2, true), new Float32Array(points.length));
  return moments(noisy).variance;
}

/** The bundled sets are known by name. */
export const everySet: readonly BundledData[] = BUNDLED;

/** Elements are known by their tags, with their own properties, methods and events. */
export async function elements(): Promise<Blob | null> {
  const sampler: DiffusionSampler = document.createElement('diffusion-sampler');
  Object.assign(sampler, { src: 'hf:org/name', alt: 'Faces' });
  sampler.loading = 'eager';
  sampler.controls = ['seed', 'scrub'];
  sampler.seed += 1;
  sampler.steps = input.value;
  sampler.attention = 'on';
  sampler.strength = 0.6;
  sampler.initPicture = input.files?.[0] ?? null;
  sampler.addEventListener('progress', ({ detail }) => say(`${detail.totalProgress}`));
  sampler.addEventListener('load', (event) => say(event.detail.info.device.name));
  sampler.addEventListener('error', ({ detail: { type, message, sourceError } }) => say(`${title(type)}: ${message} ${sourceError.stack}`));
  sampler.addEventListener('click', ({ clientX }) => say(`${clientX}`));
  // @ts-expect-error there is no such value
  sampler.reveal = 'soon';
  // @ts-expect-error only the element says so
  sampler.running = true;
  const process: DiffusionProcess | null = document.querySelector('diffusion-process');
  process?.addEventListener('noise-change', ({ detail }) => say(`${detail.timestep} ${detail.variance}`));
  await process?.play();
  document.body.append(
    h('p', { hidden: true }, 'Text, ', h('b', {}, 'never HTML')),
    s('svg', { viewBox: '0 0 9 9' }, s('path', { d: 'M0 0h9' })),
  );
  return (await sampler.run()) ? sampler.toBlob({ mimeType: 'image/webp', qualityArgument: 0.9 }) : null;
}
