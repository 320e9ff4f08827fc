// Types of the package's entry `noiseball`.

/** A checkpoint's files with their paths, as `Training.source()` of `noiseball/train` gives them. */
export interface CheckpointFiles {
  readonly kind: 'files';
  readonly name: string;
  readonly files: readonly { readonly path: string; readonly file: File }[];
}

/**
 * The paths of a checkpoint's files, such as `unet/config.json`, with their addresses: absolute, or relative to the page. For files that
 * do not lie in one folder, as after a bundler that gives them names of their own. Others are not asked for.
 */
export type CheckpointAddresses = { readonly [path: string]: string | URL };

/**
 * A folder's address; a model on the Hugging Face hub, `hf:org/name[@revision][/subfolder]`; a map of paths to addresses,
 * as `noiseball/models/pixel-faces-16` is one; or the files of a diffusers folder.
 */
export type Source =
  | string
  | URL
  | CheckpointAddresses
  | readonly File[]
  | FileList
  | DataTransfer
  | DataTransferItemList
  | readonly FileSystemEntry[]
  | ResolvedSource;

/** Where a source leads. `Noiseball.load` takes it as it takes the source. */
export type ResolvedSource =
  | CheckpointFiles
  | { readonly kind: 'url'; readonly url: string; readonly name: string }
  | { readonly kind: 'urls'; readonly urls: Readonly<Record<string, string>>; readonly name: string };

/**
 * Where a source leads, before anything is downloaded: to say which site a model is from, or to keep what was dropped. Call it within a
 * drop's handler. Rejects with a NoiseballError of type 'invalid-option' or 'checkpoint'.
 */
export function resolveSource(source: Source, base?: string): Promise<ResolvedSource>;

export type Device = 'auto' | 'gpu' | 'cpu';

export interface LoadProgress {
  /** 'download': bytes of all files together. 'compile': 0 of 1, then 1 of 1. 'sample': steps of a run that `every` passes over. */
  stage: 'download' | 'compile' | 'sample';
  loaded: number;
  /** Null while a server does not say how long its file is. */
  total: number | null;
  /** The file that moved last; null while there is none. */
  file: string | null;
}

export interface LoadOptions {
  /** Ends the load, at any stage, with an error of type 'aborted'. */
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: LoadProgress) => void) | undefined;
  /**
   * Which of several weights, as in Python: 'fp16' for `diffusion_pytorch_model.fp16.safetensors`. Left out, the plain ones; where
   * there are none, the only others, and an error of type 'invalid-option' that names them where there are several.
   */
  variant?: string | undefined;
  /**
   * Hashes of the files by their paths, as HTML's `integrity` has them: `{'unet/config.json': 'sha256-…'}`. The browser refuses a file
   * that is another one, and a file without a hash is not read. For models at addresses.
   */
  integrity?: Readonly<Record<string, string>> | undefined;
  /** 'auto' (the default) takes the GPU and falls back to the CPU; `info.device.reason` then says why. */
  device?: Device | undefined;
  /**
   * The most bytes that the model and its runs may take, by an estimate; `Infinity` for no limit. By default half of the device's memory,
   * on a phone a quarter. A model that cannot fit is an error of type 'out-of-memory' before its weights are downloaded.
   */
  memory?: number | undefined;
}

/** An option of a sampler. `default` holds where neither the caller nor the checkpoint's scheduler_config.json says; null is −∞. */
export type SamplerOption = { readonly name: string; readonly doc: string } & (
  | { readonly type: 'flag'; readonly default: boolean }
  | { readonly type: 'whole' | 'real'; readonly min: number | null; readonly max: number; readonly default: number | null }
  | { readonly type: 'choice'; readonly choices: readonly string[]; readonly default: string }
  | { readonly type: 'list'; readonly whole: boolean; readonly default: null }
);

export interface SamplerInfo {
  readonly name: string;
  /** Who described it, and what it is good for. */
  readonly paper: string;
  /** The scheduler classes of diffusers that it stands for. */
  readonly classes: readonly string[];
  /** The steps of a run that names none; null for all of the model's timesteps. */
  readonly defaultSteps: number | null;
  /** How often a run of N steps asks the network, by the sampler's defaults: `perStep · N + more`; null where the run finds out. */
  readonly evaluations: { readonly perStep: number; readonly more: number } | null;
  readonly options: readonly SamplerOption[];
}

/** Every sampler with the options that it has; docs/solvers.md shows the same table. */
export function samplers(): SamplerInfo[];

export type Numbers = Float32Array | readonly number[];

/** `[channels, height, width]` numbers in [-1, 1] such as `latents`, or RGBA pixels of the model's size such as `getImageData()` gives. */
export type PictureLike = Numbers | { readonly data: Uint8ClampedArray | Uint8Array; readonly width: number; readonly height: number };

/** What `onPrediction` is told. A step of several evaluations of the network makes as many predictions. */
export interface Prediction {
  /** The step's, 0 for the first. */
  index: number;
  total: number;
  timestep: number;
  /** The noise's share of the variance where the network was asked, 0 to 1. */
  noise: number;
  batch: number;
  width: number;
  height: number;
  /** x̂₀, `[batch, channels, height, width]`. */
  estimate: Float32Array<ArrayBuffer>;
}
/**
 * What `sample` takes of a sampler's own options in one text, `solverOrder=3,grid=karras`, as links and attributes have them. What this
 * sampler does not have, or not so, is left out.
 */
export function readSamplerOptions(sampler: string, text: string): SamplerOptions;

/** The text of such options. */
export function writeSamplerOptions(options: SamplerOptions): string;

/** A word of a prompt, as the tokenizer of the model's text encoder reads it. */
export interface PromptWord {
  /** In lower case, as it was looked up. */
  text: string;
  /** What it is cut into: the word itself where the vocabulary has it. */
  pieces: string[];
  /** Whether the vocabulary lacks one of its characters. */
  unknown: boolean;
}

export interface PromptTokens {
  /** Those that fit. */
  words: PromptWord[];
  /** How many tokens they take, and how many fit. */
  tokens: number;
  most: number;
  /** What is left out because the prompt is too long, as Python leaves it out; empty where all of it fits. */
  cut: string;
}

/** Where the words of a picture's prompt acted, in maps `[words, height, width]` of the latents' size: see the option `attention`. */
export interface WordMaps {
  /** As `PromptWord.text`. */
  words: string[];
  height: number;
  width: number;
  /** In this step: how much each pixel looked at each word, 0 to 1. */
  now: Float32Array<ArrayBuffer>;
  /** The same, averaged over the steps so far. */
  mean: Float32Array<ArrayBuffer>;
}

/** What a run may be given. An option that the sampler has no use for is refused: `samplers()` tells which it has. */
export interface SampleOptions extends SamplerOptions {
  /** The sampler's name, one of `samplers()`; by default the one that the checkpoint's scheduler names. */
  sampler?: string | undefined;
  /** Steps of the sampler, 1 to `info.trainTimesteps`; by default the sampler's number. */
  steps?: number | undefined;
  /** A whole number from 0 (the default) to 2^53 − 1. The same seed gives the same pictures. Of a pipeline also a list, one for each picture. */
  seed?: number | readonly number[] | undefined;
  /** How many pictures, 1 (the default) to 1024. */
  batch?: number | undefined;
  /** Class numbers, one for all pictures or one a picture. Left out, `info.nullLabel`, which stands for any class; needed where `info.classes` is a number and there is none. */
  labels?: number[] | undefined;
  /** 'philox' (the default, the same on every device) or 'torch' (what PyTorch's CPU generator gives). */
  rng?: 'philox' | 'torch' | undefined;
  /** What the pictures are to show, for models that take words (`info.pipeline.prompt`): one text, or several with `batch` pictures of each. */
  prompt?: string | readonly string[] | undefined;
  /** What the second text encoder of SDXL is told; by default the same. */
  prompt2?: string | readonly string[] | undefined;
  /** What they are not to show: one text for all, or one a prompt. */
  negativePrompt?: string | readonly string[] | undefined;
  /** Height in pixels of a pipeline's pictures, as far as it can be chosen; by default `info.height`. With `init` and no mask it is that of `init`. */
  height?: number | undefined;
  /** Width in the same way. */
  width?: number | undefined;
  /**
   * How strongly to keep to `labels`, 0 to 100: classifier-free guidance. 1, the default, is without. Needs labels, and a model with a
   * `nullLabel` or a `negativeLabel`. Of a pipeline: to the prompt, by default `info.guidance`.
   */
  guidance?: number | undefined;
  /** How far the guided answer's deviation is brought back to that of the unguided, 0 (the default) to 1. */
  guidanceRescale?: number | undefined;
  /** The noise levels to guide at, by their σ/α, the lower one first and both included; by default all. */
  guidanceInterval?: readonly [number, number] | undefined;
  /** The class number to keep away from, in place of `info.nullLabel`. */
  negativeLabel?: number | undefined;
  /**
   * A picture to begin with, or of which `mask` keeps a part: for SDEdit and inpainting. One for all, or of numbers one a picture. A pipeline
   * takes pixels of any size.
   */
  init?: PictureLike | undefined;
  /** How much of the run is made of `init`, above 0 to 1: of N steps the last ⌊N · strength⌋. By default 0.8, and 1 with a `mask`. */
  strength?: number | undefined;
  /**
   * 1 where to paint anew and 0 where to keep `init`, which then is exact in the result: `[height, width]` numbers, or as many a
   * picture; of pixels how white and opaque they are. With `strength` 1 the result does not depend on what lies under it.
   */
  mask?: PictureLike | undefined;
  /** What `init` was measured by, in place of a mask: keeps the measurement, and makes the rest. For 'x2' and 'x4' `init` has half or a quarter of the size. */
  restore?: Restore | undefined;
  /** How often every `jumpLength` steps are made (RePaint), so that what is new fits what is kept: 1 (the default) to 100. */
  resamplings?: number | undefined;
  /** How many steps a resampling goes back; 10 by default. */
  jumpLength?: number | undefined;
  /** Go the other way with ddim, from `init` to the noise that it is made of: the last step's `latents`, for `noise`. */
  invert?: boolean | undefined;
  /** The noise to start from in place of the seed's, `[channels, height, width]` of deviation 1, or as many a picture: of `noise()`, `slerp` or `invert`. */
  noise?: Numbers | undefined;
  /**
   * Is told each prediction of the finished pictures and may return another, `[batch, channels, height, width]` finite numbers, also by a
   * promise: the run goes on as if the network had said that. What it throws ends the run. Slower, as all numbers then come to the page
   * at every evaluation.
   */
  onPrediction?: ((prediction: Prediction) => undefined | Numbers | Promise<undefined | Numbers>) | undefined;
  /**
   * Of a model that takes words: whether each step tells where they acted, in `step.attention`. A word's map is the weight that the network's
   * cross-attention gives its tokens, averaged over heads and over all attentions to the text. Costs some per cent of a run; false by default.
   */
  attention?: boolean | undefined;
  /**
   * Gives every so-many-eth step and the last, or with 0 the last alone; 1 by default. A GPU takes several of the others in one submission, of
   * 16 ms at most, and copies nothing back for them. `onProgress` is told of them. While none is given only `signal` ends the run.
   */
  every?: number | undefined;
  /** Ends the run, within one network evaluation or what a GPU has begun, with an error of type 'aborted'. */
  signal?: AbortSignal | undefined;
  /**
   * Is told how far the files are that a run reads: those of a pipeline too large to stay in memory, part by part. `total` covers the parts that
   * are still to come, by what those before took for each parameter. With `every`, also how many steps are done of those that it does not give.
   */
  onProgress?: ((progress: LoadProgress) => void) | undefined;
  /** Pause between two steps while the page cannot be seen, as in a tab behind others; false by default. */
  pauseWhenHidden?: boolean | undefined;
}

/** The samplers' own options. Left out, the checkpoint's scheduler_config.json says, or the sampler's default holds. */
export interface SamplerOptions {
  /** Fresh noise in each step: 0 adds none, 1 as much as DDPM. */
  eta?: number | undefined;
  /** Derive the predicted noise from the clipped prediction. */
  useClippedModelOutput?: boolean | undefined;
  /** How the steps are spread over the training's timesteps. */
  timestepSpacing?: 'leading' | 'linspace' | 'trailing' | undefined;
  /** The timesteps of the run, from the greatest on, in place of a number of steps. */
  timesteps?: readonly number[] | undefined;
  /** The levels σ/α of the run, from the greatest on, in place of a number of steps; a last 0 is where the last step ends. */
  sigmas?: readonly number[] | undefined;
  /** End at the clean image, not at the level of timestep 0. */
  setAlphaToOne?: boolean | undefined;
  /** How the noise levels lie between the greatest and the least. */
  grid?: 'timesteps' | 'karras' | 'exponential' | 'beta' | 'ays' | 'ays-xl' | 'ays-video' | 'flow' | 'lu' | undefined;
  /** Whether the last step arrives at no noise or at the least level. */
  finalSigmasType?: 'zero' | 'sigma_min' | undefined;
  /** Levels of the timesteps, or evenly spread logarithms from the greatest to the least. */
  interpolationType?: 'linear' | 'log_linear' | undefined;
  /** What a network for v is told: the timestep, or a quarter of the logarithm of sigma. */
  timestepType?: 'discrete' | 'continuous' | undefined;
  /** The grid's least level; 0 for the schedule's. */
  sigmaMin?: number | undefined;
  /** The grid's greatest level; 0 for the schedule's. */
  sigmaMax?: number | undefined;
  /** Shifts the times of the flow grid: above 1 toward noise, below toward data. */
  flowShift?: number | undefined;
  /** Timesteps of a lower log-ratio of signal to noise are left out. */
  lambdaMinClipped?: number | undefined;
  /** Solves for the data (++) or the noise; sde adds fresh noise. */
  algorithmType?: 'dpmsolver++' | 'dpmsolver' | 'sde-dpmsolver++' | 'sde-dpmsolver' | 'data_prediction' | 'noise_prediction' | undefined;
  /** The solver's order. */
  solverOrder?: number | undefined;
  /** The solver's variant. */
  solverType?: 'midpoint' | 'heun' | 'bh1' | 'bh2' | undefined;
  /** Lower the order in the last steps of a run of fewer than 15. */
  lowerOrderFinal?: boolean | undefined;
  /** Make the last step one of order 1. */
  eulerAtFinal?: boolean | undefined;
  /** Solve for the data, not for the noise. */
  predictX0?: boolean | undefined;
  /** How many evaluations a step looks back on. */
  order?: number | undefined;
  /** How much noise is put back, over all steps. */
  sChurn?: number | undefined;
  /** The least sigma that noise is put back at. */
  sTmin?: number | undefined;
  /** The greatest sigma that noise is put back at. */
  sTmax?: number | undefined;
  /** The deviation of the noise that is put back. */
  sNoise?: number | undefined;
  /** The predictor's order. */
  predictorOrder?: number | undefined;
  /** The corrector's order. */
  correctorOrder?: number | undefined;
  /** Fresh noise from timestep 200 to 800: 0 adds none, 1 as much as the reverse SDE. */
  tau?: number | undefined;
  /** The equation whose reverse is followed: variance-preserving, below it, or variance-exploding. */
  sde?: 'vp' | 'sub-vp' | 've' | undefined;
  /** The corrector's ratio of signal to noise. */
  snr?: number | undefined;
  /** The corrector's steps at each level. */
  correctSteps?: number | undefined;
  /** The time that the last step starts from. */
  samplingEps?: number | undefined;
  /** Whether the corrector measures each picture, or the whole batch as diffusers does. */
  norms?: 'picture' | 'batch' | undefined;
  /** The size of Langevin's steps, as a share of the level's variance. */
  stepRatio?: number | undefined;
  /** Langevin's steps at each level. */
  langevinSteps?: number | undefined;
  /** The error that a step may make, absolute and relative. */
  tolerance?: number | undefined;
  /** After how many evaluations of the network the run gives up. */
  maxEvaluations?: number | undefined;
  /** Begin without the three steps of four evaluations each. */
  skipPrkSteps?: boolean | undefined;
  /** How many timesteps the model was distilled at. */
  originalInferenceSteps?: number | undefined;
  /** How fast the model's answer takes over from its input as noise grows. */
  timestepScaling?: number | undefined;
  /** Go to the data in each step, and back with fresh noise. */
  stochasticSampling?: boolean | undefined;
  /** The last time before the data, which the others are stretched for; 0 for as it comes. */
  shiftTerminal?: number | undefined;
}

/**
 * What was measured of `init`, to be restored: 'grey' (its channels' mean, to be colourised), 'x2' and 'x4' (the mean of squares of so
 * many pixels, to be super-resolved), or 'blur:S' by a Gaussian of S pixels' deviation, above 0 to 32.
 */
export type Restore = 'grey' | 'x2' | 'x4' | `blur:${number}`;

/** Where a denoiser is asked. */
export interface DenoiseLevel {
  /** The clean image's share, `alpha² + sigma² = 1`. */
  alpha: number;
  /** The noise's share. */
  sigma: number;
  /** How many images. */
  batch: number;
  width: number;
  height: number;
}

/**
 * A denoiser: x̂₀, finite and as many numbers, of noisy images `x = alpha · x₀ + sigma · ε`, `[batch, channels, height, width]`; also by
 * a promise. The best there can be is the mean of x₀ where x is known, `E[x₀ | x]`.
 */
export type Denoise = (x: Float32Array, level: DenoiseLevel) => Numbers | Promise<Numbers>;

export interface DenoiserOptions {
  /** `[channels, height, width]`; points on the plane are `[2, 1, 1]`. */
  shape: readonly [number, number, number];
  /**
   * What a scheduler_config.json holds: the noise levels, and defaults of options. By default DDPM's of 1,000 timesteps without
   * clipping. `prediction_type` means nothing here; the samplers flow-euler and flow-heun need a flow's `_class_name`.
   */
  scheduler?: Readonly<Record<string, unknown>> | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: LoadProgress) => void) | undefined;
}

export interface LikelihoodOptions {
  /** 'ode' (the default): by the probability-flow ODE. 'bound': the variational bound, for models with a table of β. */
  method?: 'ode' | 'bound' | undefined;
  /** The ODE's steps, each of four evaluations and twice as many for every probe; 40 by default. */
  steps?: number | undefined;
  /** Random directions along which the ODE's divergence is measured; 1 by default. */
  probes?: number | undefined;
  /** At how many of its timesteps the bound is evaluated, 2 to `info.trainTimesteps`; 100 by default. */
  timesteps?: number | undefined;
  /** The pictures' class; by default `info.nullLabel`, needed as in `sample`. */
  label?: number | undefined;
  /** Of the random directions, and of the bound's noise; 0 by default. */
  seed?: number | undefined;
  signal?: AbortSignal | undefined;
  /** Is told the evaluations that were made, and how many there will be. */
  onProgress?: ((progress: { loaded: number; total: number }) => void) | undefined;
}

export interface Step {
  /** 0 for the first step. */
  index: number;
  total: number;
  /** The training timestep that this step started from: high means noisy. */
  timestep: number;
  /** The noise's share of the pictures' variance at that timestep, 0 to 1. */
  noise: number;
  batch: number;
  width: number;
  height: number;
  /** x_t after the step, as RGBA, `[batch, height, width, 4]`; the result, after the last step. */
  pictures: Uint8ClampedArray<ArrayBuffer>;
  /** The network's prediction x̂₀ of the finished pictures, in the same layout. */
  predicted: Uint8ClampedArray<ArrayBuffer>;
  /** On the first step only: the pure noise that it started from, in the same layout. */
  start?: Uint8ClampedArray<ArrayBuffer>;
  /** On the last step only: the exact result, `[batch, channels, height, width]` in [-1, 1]; of a pipeline, what its decoder was given. Of a model that `Noiseball.of` made, x of every step. */
  latents?: Float32Array<ArrayBuffer>;
  /** On the last step of a pipeline: what its decoder made, `[batch, 3, height, width]`, before it is clamped to [-1, 1]. */
  decoded?: Float32Array<ArrayBuffer>;
  /** On the last step of a pipeline: what there is to know, such as what a prompt was cut of. */
  notes?: string[];
  /** Where it was asked for: where the words of each picture acted. */
  attention?: WordMaps[];
  /** Of a model that `Noiseball.of` made: the prediction x̂₀ as numbers. */
  estimate?: Float32Array<ArrayBuffer>;
  /** Of a model that `Noiseball.of` made: the level of `latents`, which are `alpha · x₀ + sigma · ε`, of any norm. */
  alpha?: number;
  sigma?: number;
  /** On the first step of a model that `Noiseball.of` made: the noise that it started from, of deviation 1. */
  startLatents?: Float32Array<ArrayBuffer>;
}

/** Where a model runs. */
export interface DeviceInfo {
  kind: 'gpu' | 'cpu';
  /** The graphics adapter's name, or 'CPU'. */
  name: string;
  /**
   * Why not the GPU: an error type, or 'software-adapter' where the only adapter is a program on the CPU. Null where
   * the GPU runs or the CPU was asked for.
   */
  reason: ErrorType | 'software-adapter' | null;
}

/** What a model takes here, in bytes: estimates, on the safe side. */
export interface ModelMemory {
  /** The most that it and its runs may take: the option `memory` of `Noiseball.load`. */
  budget: number;
  /** The model. */
  model: number;
  /** Each picture of a run; twice that with guidance. */
  picture: number;
  /** How many pictures fit at a time, at most 1024; half as many with guidance. Of a run of more, `sample` says 'out-of-memory'. */
  batch: number;
}

/** A network of a pipeline. */
export interface PipelinePart {
  /** Its folder's name; of an autoencoder's halves with `.encoder` or `.decoder`. */
  name: string;
  parameters: number;
  /** Of one evaluation for one picture. */
  flops: number;
  activationBytes: number;
}

/** What there is to know of a pipeline of several networks. Its steps show latents by a linear map to colours, the last one what was decoded. */
export interface PipelineInfo {
  /** The class in diffusers. */
  className: string;
  /** In the order in which they run. */
  parts: PipelinePart[];
  /** Whether it takes a prompt, a negative one, a picture to begin with, and a mask. */
  prompt: boolean;
  negativePrompt: boolean;
  init: boolean;
  mask: boolean;
  /** Whether its network looks at the prompt by cross-attention, so that the option `attention` tells where words acted. */
  attention: boolean;
  /** Pixels of a picture to one of the latents, along each side. */
  scaleFactor: number;
}

export interface ModelInfo {
  name: string;
  /** Null, or left out, for a model of one network. */
  pipeline?: PipelineInfo | null;
  /** Of a pipeline: the steps and the scale of guidance that Python's takes by default. */
  steps?: number;
  guidance?: number;
  /** How many weights. */
  parameters: number;
  /** Floating-point operations of one evaluation for one picture. */
  flops: number;
  /** Memory of the activations for one picture, in bytes. */
  activationBytes: number;
  channels: number;
  width: number;
  height: number;
  /** The classes' names, where the model has classes and names for them. */
  labels: string[] | null;
  /** How many classes; null for a model without. */
  classes: number | null;
  /** The class that means 'any', where the model was trained with one. */
  nullLabel: number | null;
  scheduler: string;
  /** The sampler that the scheduler names: the default of `sample`. */
  sampler: string;
  trainTimesteps: number;
  /** Keys of the configuration and weights files that mean nothing here. */
  unknownKeys: string[];
  notes: string[];
  device: DeviceInfo;
  memory: ModelMemory;
}

export type ErrorType =
  | 'insecure-context'
  | 'no-webgpu'
  | 'no-adapter'
  | 'wrong-results'
  | 'limit'
  | 'out-of-memory'
  | 'device-lost'
  | 'fetch'
  | 'checkpoint'
  | 'unsupported-architecture'
  | 'invalid-option'
  | 'busy'
  | 'disposed'
  | 'dataset'
  | 'diverged'
  | 'resume'
  | 'content-security-policy'
  | 'no-browser'
  | 'aborted';

export const ERROR_TYPES: readonly ErrorType[];

export class NoiseballError extends Error {
  constructor(type: ErrorType, message: string, options?: { cause?: unknown });
  readonly type: ErrorType;
}

/**
 * Loads the workers and wasm modules from a copy of the package's folder `www/` at this address, absolute or relative to the page: for
 * bundlers that do not carry them along, such as esbuild and Rollup. Call it before anything else.
 */
export function loadFilesFrom(address: string | URL): void;

/** The sampler and steps to begin with where nobody chose: the model's own, or few steps of ddim where its own go through all timesteps. */
export function usualRun(info: Pick<ModelInfo, 'sampler'> | null): { sampler: string; steps: number };

/**
 * Draws a batch, such as a step's `pictures`, as a grid, each pixel as one of the canvas's: near a square, or with so many `columns`;
 * `below` are empty rows of pixels below each picture. `enlarge` shows it larger.
 */
export function drawGrid(
  canvas: HTMLCanvasElement | OffscreenCanvas,
  pictures: Uint8ClampedArray,
  shape: { batch: number; width: number; height: number },
  columns?: number,
  below?: number,
): void;

/** Draws a canvas on another, each pixel a crisp square of `scale` pixels. */
export function enlarge(from: HTMLCanvasElement | OffscreenCanvas, to: HTMLCanvasElement | OffscreenCanvas, scale: number): void;

/** Between the noise of two pictures along the sphere that it lies near (Song et al. 2021): `a` at 0, `b` at 1. Throws type 'invalid-option'. */
export function slerp(a: ArrayLike<number>, b: ArrayLike<number>, share: number): Float32Array<ArrayBuffer>;

export class Noiseball {
  private constructor();

  /**
   * Loads a checkpoint. Pass a drop's DataTransfer within the event's handler: browsers empty it afterwards.
   * Rejects with a NoiseballError.
   */
  static load(source: Source, options?: LoadOptions): Promise<Noiseball>;

  /**
   * A model without a network: `denoise`, which is asked on this page, takes its place, for toys whose best answer is known. `sample()` has every
   * sampler, editing and `onPrediction`, but no classes. An answer that is not finite ends the run with type 'invalid-option', which says the step.
   */
  static of(denoise: Denoise, options: DenoiserOptions): Promise<Noiseball>;

  /** How many files the cache of downloaded checkpoints holds, and how many bytes they have. */
  static cached(): Promise<{ files: number; bytes: number }>;

  /** Empties the cache of downloaded checkpoints. */
  static purge(): Promise<void>;

  /** Where it was loaded from, for `load` to load it once more; null for a model that `Noiseball.of` made. */
  readonly source: ResolvedSource | null;

  /** Another object after the model had to be loaded again: see `sample`. */
  readonly info: ModelInfo;

  /**
   * Samples a batch, step by step. The first `next()` rejects with type 'busy' while another run is going on;
   * leaving the loop stops the run. A run rejects with type 'device-lost' when the GPU is taken away; the next one
   * first loads the model again, from the cache, its address or its files, and then may reject as `load` does.
   */
  sample(options?: SampleOptions): AsyncGenerator<Step, void, void>;

  /** A prompt as the model's text encoder takes it. Rejects with type 'invalid-option' where the model takes none. */
  tokens(prompt: string): Promise<PromptTokens>;

  /** The noise that a run of this seed begins with, for one picture, `[channels, height, width]`. */
  noise(seed: number): Promise<Float32Array<ArrayBuffer>>;

  /**
   * What an operator leaves of a picture, `[channels, height, width]` numbers of the model's size: a grey one, one of squares, a blurred
   * one. Rejects with type 'invalid-option' where the model's pictures cannot be measured so.
   */
  measure(picture: PictureLike, operator: Restore): Promise<Float32Array<ArrayBuffer>>;

  /**
   * Bits that the model takes for each number of each picture: the negative logarithm of its likelihood over the number of its numbers,
   * or a bound above that. Pictures' values are rounded to bytes'. It counts as a run: one at a time, type 'busy' otherwise.
   */
  bitsPerDim(pictures: PictureLike, options?: LikelihoodOptions): Promise<Float64Array<ArrayBuffer>>;

  /** Frees the model's memory; a run in progress ends with an error of type 'disposed'. */
  dispose(): void;
}
