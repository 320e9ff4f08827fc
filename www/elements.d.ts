// Types of the package's entry `noiseball/elements`, made of elements/api.js by tools/build/elements.mjs. Importing it registers the elements.

import type { ErrorType, ModelInfo, Noiseball, Source } from './noiseball.js';
import type { DataInfo, TrainingProgress } from './training.js';

export interface DiffusionSamplerEventMap
  extends Omit<
    HTMLElementEventMap,
    'progress' | 'load' | 'poster-dismissed' | 'init-change' | 'start' | 'step' | 'finish' | 'stop' | 'error'
  > {
  /** Loading: download and preparation together, from 0 once up to 1. */
  progress: CustomEvent<{ totalProgress: number }>;
  /** The model is ready. */
  load: CustomEvent<{ info: ModelInfo }>;
  /** The poster gave way to the model’s pictures. */
  'poster-dismissed': CustomEvent<null>;
  /** The reader gave another picture to begin with, or none, or painted on it. */
  'init-change': CustomEvent<null>;
  /** A run begins, in place of one that was going on, or waits for its model. */
  start: CustomEvent<null>;
  /** A step was taken: `index` of `total`, from 1, of `batch` pictures. It may not be on show yet. */
  step: CustomEvent<{ index: number; total: number; batch: number }>;
  /** A run of `batch` pictures came to its end; `milliseconds` is how long it was computed, without the time that its states were on show. */
  finish: CustomEvent<{ seed: number; milliseconds: number; batch: number }>;
  /** A run was stopped after that step, or before its first. */
  stop: CustomEvent<{ index: number; total: number } | null>;
  /** Loading or a run failed. The element says so, too, and offers to try again. */
  error: CustomEvent<{ type: ErrorType; message: string; sourceError: Error }>;
}

/** `<diffusion-sampler>`. A model that turns noise into pictures where the reader asks for it. */
export class DiffusionSampler extends HTMLElement {
  /** The model: the address of a folder, relative to the page or absolute, or `hf:org/name[@revision][/subfolder]` on the Hugging Face hub. */
  src: string;
  /** What the pictures show, for those who do not see them. */
  alt: string;
  /** Address of a picture to show until the model runs. */
  poster: string;
  /** `lazy`: the model is downloaded when it is first needed. `eager`: at once. `auto` is `lazy`. */
  loading: 'auto' | 'lazy' | 'eager';
  /** When the first run begins: when the reader presses Run; `auto`: when the element comes into view; `manual`: when `run()` or `dismissPoster()` is called. */
  reveal: 'auto' | 'interaction' | 'manual';
  /** What the reader can see and change once the model runs: names with spaces between them, or nothing for pictures alone. `init` lets them drop or choose a picture to begin with, `mask` paint over what of it is made anew. `files` lets them drop or choose a model’s folder of their own, `save` offers the pictures or the run as a file, `embed` what shows it in another page. */
  get controls(): string[];
  set controls(value: readonly string[] | string);
  /** How many pictures at a time. */
  get batch(): number;
  set batch(value: number | string);
  /** Which noise a run starts from. The same seed, the same pictures. */
  get seed(): number;
  set seed(value: number | string);
  /** What the pictures are to show, in words, where the model takes words. */
  prompt: string;
  /** What they are not to show. */
  negativePrompt: string;
  /** Address of a picture to begin with, where the model takes one; its middle is scaled to the model’s size. Another site must let yours read it. */
  init: string;
  /** How much is made anew of the picture, above 0 to 1: of N steps the last ⌊N · strength⌋ are made. Left out, 0.8, and 1 with a mask. */
  get strength(): number | null;
  set strength(value: number | string | null);
  /** Address of a picture that is white and opaque where the other is made anew; the rest is kept. */
  mask: string;
  /** Which class, where the model has classes: its name or number, `any`, or `each` for one of each in turn. Left out, `any` or else `each`. */
  label: string;
  /** How the noise is taken away: `ddpm`, `ddim`, `euler`, `euler-ancestral`, `heun`, `lms`, `dpm-multistep`, `dpm-singlestep`, `unipc`, `deis`, `kdpm2`, `kdpm2-ancestral`, `pndm`, `lcm`, `tcd`, `flow-euler`, `flow-heun`, `ipndm`, `consistency`, `sa-solver`, `dpm-sde`, `reverse-sde`, `annealed-langevin`, `gaussian-chain`, `adaptive`. Left out, it is the one that the model's own scheduler stands for, or `ddim` where that one goes through all timesteps. */
  sampler: string;
  /** In how many steps. No more than the model was trained with. */
  get steps(): number;
  set steps(value: number | string);
  /** How strongly the pictures keep to their prompt or class, where the model also knows an answer without one: 1 is as it was trained, more is clearer and less varied. Left out, 1, and for a model that takes words what Python’s pipeline has. */
  get guidance(): number;
  set guidance(value: number | string);
  /** The sampler’s own options, by the names of `samplers()`: `solverOrder=3,grid=karras`. Left out, as the model’s files say. */
  options: string;
  /** Which random generator: `philox`, the same on every device, or `torch`, whose noise for a seed is that of PyTorch. */
  rng: 'philox' | 'torch';
  /** How fast a run is shown, so that noise is seen becoming pictures: `fast` is as fast as it is computed. */
  speed: 'slow' | 'normal' | 'fast';
  /** Whether the network’s guess of the finished pictures, x̂₀, stands beside them. */
  guess: 'on' | 'off';
  /** Whether the words of the prompt stand under the pictures, for the reader to see where in them each acted: pointed at, focused or pressed, it shows its map of the network’s cross-attention. */
  attention: 'on' | 'off';
  /** `auto`: the GPU, or the CPU where there is none; the element says why. */
  device: 'auto' | 'gpu' | 'cpu';
  /** Which of several weights, as in Python: `fp16`. */
  variant: string;
  /** Hashes of the model’s files by their paths, as JSON: `{"unet/config.json": "sha256-…"}`. A file that is another one, or has none, is refused. */
  integrity: string;
  /** What to load in place of `src`: anything that `Noiseball.load` takes, such as a map of paths to addresses, which bundlers can carry along. The element loads it and frees it. */
  source: Source | null;
  /** A model that the page has loaded itself, or is loading, in place of `source` and `src`. It stays the page’s to dispose of. */
  model: Noiseball | Promise<Noiseball> | null;
  /** A picture to begin with in place of `init`: a file, pixels, a canvas. What the reader drops or chooses is here, too. */
  initPicture: ImageBitmapSource | null;
  /** The same in place of `mask`. */
  maskPicture: ImageBitmapSource | null;
  /** Whether the model is ready to run. */
  readonly loaded: boolean;
  /** Whether a run is going on, or waits to be seen. */
  readonly running: boolean;
  /** What the model is and where it runs; null until it is loaded. */
  readonly info: ModelInfo | null;
  /** Starts a run in place of the one in progress, and loads the model first where that is needed. Resolves at its end: true if it finished, false if it was stopped or failed. It does not reject; failures are `error` events. */
  run(): Promise<boolean>;
  /** Stops the load or run in progress, within one evaluation of the network. */
  stop(): void;
  /** As if the reader had pressed Run. */
  dismissPoster(): void;
  /** The pictures on show as a file, PNG unless told; null while there are none. `image/gif` and, where the browser records it, `video/webm` give the run as a film. */
  toBlob(options?: { mimeType?: string; qualityArgument?: number }): Promise<Blob | null>;
  /** The same as a `data:` address. */
  toDataURL(type?: string, encoderOptions?: number): string | null;
  /** Opens what hands out the lines that show it in another page, as the button `embed` of `controls` does. Resolves when that is closed. */
  embed(): Promise<void>;
  addEventListener<K extends keyof DiffusionSamplerEventMap>(
    type: K,
    listener: (this: DiffusionSampler, event: DiffusionSamplerEventMap[K]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject, options?: boolean | AddEventListenerOptions): void;
  removeEventListener<K extends keyof DiffusionSamplerEventMap>(
    type: K,
    listener: (this: DiffusionSampler, event: DiffusionSamplerEventMap[K]) => unknown,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(type: string, listener: EventListenerOrEventListenerObject, options?: boolean | EventListenerOptions): void;
}

export interface DiffusionTrainerEventMap
  extends Omit<HTMLElementEventMap, 'progress' | 'load' | 'poster-dismissed' | 'step' | 'frame' | 'finish' | 'error'> {
  /** Loading: the training program and the data together, from 0 once up to 1. */
  progress: CustomEvent<{ totalProgress: number }>;
  /** The data set is read. */
  load: CustomEvent<{ info: DataInfo }>;
  /** The poster gave way to the first pictures. */
  'poster-dismissed': CustomEvent<null>;
  /** Some steps were taken; the loss is smoothed. */
  step: CustomEvent<{ step: number; steps: number; loss: number }>;
  /** Pictures were drawn from the noise that is the same each time. */
  frame: CustomEvent<{ step: number }>;
  /** The training came to its end. */
  finish: CustomEvent<{ step: number; steps: number }>;
  /** Loading or training failed. The element says so, too, and offers to try again. */
  error: CustomEvent<{ type: ErrorType; message: string; sourceError: Error }>;
}

/** `<diffusion-trainer>`. Trains a small model in the reader’s tab, on pictures or points, and shows what it has learned so far. */
export class DiffusionTrainer extends HTMLElement {
  /** What to train on: `digits`, `faces`, `kanji`, `swiss-roll`, `moons`, `two-gaussians`, `ring`, `grid`, `heartbeat`, or the address of a ZIP archive of pictures, whose folders are classes. Readers can drop their own. */
  get dataset(): HTMLElement['dataset'];
  set dataset(value: string);
  /** What the pictures show, for those who do not see them. */
  alt: string;
  /** Address of a picture to show until the training begins. */
  poster: string;
  /** When training begins: when the reader presses Train; `manual`: when `run()` or `dismissPoster()` is called. */
  reveal: 'interaction' | 'manual';
  /** What the reader can see and do: names with spaces between them, or nothing for pictures alone. */
  get controls(): string[];
  set controls(value: readonly string[] | string);
  /** Which network: `tiny`, `small` or `medium`, and for points a data set’s name with an objective, such as `moons-flow`. Left out, one that suits the data. */
  preset: string;
  /** How many steps. Left out, the preset’s. */
  get steps(): number | null;
  set steps(value: number | string | null);
  /** Pictures of a step. Left out, the preset’s. */
  get batch(): number | null;
  set batch(value: number | string | null);
  /** Which random numbers. The same seed on the same device, the same model. */
  get seed(): number;
  set seed(value: number | string);
  /** Height and width in pixels that pictures are brought to. Left out, their own, up to 32. */
  get size(): number | null;
  set size(value: number | string | null);
  /** `auto`: the GPU, or the CPU where there is none, and for points. */
  device: 'auto' | 'gpu' | 'cpu';
  /** Whether the data set is read. */
  readonly loaded: boolean;
  /** Whether a run loads, goes on or is paused. */
  readonly running: boolean;
  /** What it trains on; null until that is read. */
  readonly info: DataInfo | null;
  /** Where the run is; null before the first. */
  readonly training: TrainingProgress | null;
  /** Trains from the start, in place of the run in progress. Resolves at its end: true if it was done or finished early, false if it was replaced or failed. It does not reject; failures are `error` events. */
  run(): Promise<boolean>;
  /** Holds the training. */
  pause(): Promise<void>;
  /** Goes on. */
  resume(): Promise<void>;
  /** Finishes early: the model is what it has learned so far. */
  stop(): Promise<void>;
  /** As if the reader had pressed Train. */
  dismissPoster(): void;
  /** The model as a ZIP archive of a diffusers folder, for Python and for `<diffusion-sampler>`; null before the first run. */
  export(): Promise<Blob | null>;
  /** The pictures on show as a file, PNG unless told; null while there are none. */
  toBlob(options?: { mimeType?: string; qualityArgument?: number }): Promise<Blob | null>;
  /** The same as a `data:` address. */
  toDataURL(type?: string, encoderOptions?: number): string | null;
  /** Opens what hands out the lines that show it in another page, as the button `embed` of `controls` does. Resolves when that is closed. */
  embed(): Promise<void>;
  addEventListener<K extends keyof DiffusionTrainerEventMap>(
    type: K,
    listener: (this: DiffusionTrainer, event: DiffusionTrainerEventMap[K]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject, options?: boolean | AddEventListenerOptions): void;
  removeEventListener<K extends keyof DiffusionTrainerEventMap>(
    type: K,
    listener: (this: DiffusionTrainer, event: DiffusionTrainerEventMap[K]) => unknown,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(type: string, listener: EventListenerOrEventListenerObject, options?: boolean | EventListenerOptions): void;
}

export interface DiffusionProcessEventMap extends Omit<HTMLElementEventMap, 'load' | 'noise-change' | 'error'> {
  /** It is drawn. */
  load: CustomEvent<null>;
  /** The amount of noise, or the nudge, changed. */
  'noise-change': CustomEvent<{ timestep: number; variance: number }>;
  /** The picture could not be had. The element says so, too, and offers to try again. */
  error: CustomEvent<{ type: ErrorType; message: string; sourceError: Error }>;
}

/** `<diffusion-process>`. The forward process: what noise does to a picture or a cloud of points, step by step, and the nudge to the origin that keeps its variance. */
export class DiffusionProcess extends HTMLElement {
  /** Address of a picture. Left out, points. */
  src: string;
  /** What the pictures show, for those who do not see them. */
  alt: string;
  /** Which cloud of points, where there is no `src`. Its variance is 1. */
  data: 'swiss-roll' | 'moons' | 'ring' | 'grid';
  /** How much noise each of the 1000 steps adds, by diffusers’ names: DDPM’s, or the cosine of Nichol and Dhariwal. */
  schedule: 'linear' | 'squaredcos_cap_v2';
  /** Whether each step also shrinks what is there, by √(1 − β), towards the origin. Without it the variance grows with every step. */
  nudge: 'on' | 'off';
  /** How far the process is, by the variance of the noise: 0 none, 1 that of the last step. */
  get noise(): number;
  set noise(value: number | string);
  /** Which noise. */
  get seed(): number;
  set seed(value: number | string);
  /** What there is beside the picture or the points: names with spaces between them. */
  get controls(): string[];
  set controls(value: readonly string[] | string);
  /** Whether it is drawn. */
  readonly loaded: boolean;
  /** How many of the 1000 steps are taken. */
  readonly timestep: number;
  /** Variance of the values on show, measured. */
  readonly variance: number;
  /** Adds noise to the end, from the start where it is there already, in some five seconds. Resolves when that is done or paused. */
  play(): Promise<void>;
  /** Holds it. */
  pause(): void;
  /** The picture or the points on show as a file, PNG unless told; null before they are drawn. */
  toBlob(options?: { mimeType?: string; qualityArgument?: number }): Promise<Blob | null>;
  /** Opens what hands out the lines that show it in another page, as the button `embed` of `controls` does. Resolves when that is closed. */
  embed(): Promise<void>;
  addEventListener<K extends keyof DiffusionProcessEventMap>(
    type: K,
    listener: (this: DiffusionProcess, event: DiffusionProcessEventMap[K]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject, options?: boolean | AddEventListenerOptions): void;
  removeEventListener<K extends keyof DiffusionProcessEventMap>(
    type: K,
    listener: (this: DiffusionProcess, event: DiffusionProcessEventMap[K]) => unknown,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(type: string, listener: EventListenerOrEventListenerObject, options?: boolean | EventListenerOptions): void;
}

/** Makes an HTML element: an attribute that is `true` is present, one that is `false` or `null` absent. Texts are never read as HTML. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes?: Record<string, string | number | boolean | null>,
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K];

/** The same of SVG. */
export function s<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes?: Record<string, string | number | boolean | null>,
  ...children: (Node | string)[]
): SVGElementTagNameMap[K];

declare global {
  interface HTMLElementTagNameMap {
    'diffusion-sampler': DiffusionSampler;
    'diffusion-trainer': DiffusionTrainer;
    'diffusion-process': DiffusionProcess;
  }
}
