/** A folder's address, an `org/name` hub id, or the files of a diffusers folder. */
export type Source = string | URL | File[] | FileList | DataTransfer | DataTransferItemList | FileSystemEntry[];

export type Device = 'auto' | 'gpu' | 'cpu';

export interface LoadProgress {
  /** 'download': bytes of all files together. 'compile': 0 of 1, then 1 of 1. */
  stage: 'download' | 'compile';
  loaded: number;
  /** Null while a server does not say how long its file is. */
  total: number | null;
  /** The file that moved last; null while compiling. */
  file: string | null;
}

export interface LoadOptions {
  /** Ends the load, at any stage, with an error of type 'aborted'. */
  signal?: AbortSignal;
  onProgress?: (progress: LoadProgress) => void;
  /** 'auto' (the default) takes the GPU and falls back to the CPU; `info.device.reason` then says why. */
  device?: Device;
}

export interface SampleOptions {
  /** The sampler's name; by default the one that the checkpoint's scheduler names. */
  sampler?: string;
  /** Network evaluations, 1 to `info.trainTimesteps`; by default diffusers' number: 50 for DDIM, all for DDPM. */
  steps?: number;
  /** A whole number from 0 (the default) to 2^53 − 1. The same seed gives the same pictures. */
  seed?: number;
  /** How many pictures, 1 (the default) to 1024. */
  batch?: number;
  /** How much of the removed noise DDIM puts back: 0 (none, the default) to 1 (as much as DDPM). */
  eta?: number;
  /** DDIM: derive the predicted noise from the clipped prediction, as diffusers' option of that name does. */
  useClippedModelOutput?: boolean;
  /** Class numbers, one for all pictures or one a picture. Left out, `info.nullLabel`, which stands for any class; needed where `info.classes` is a number and there is none. */
  labels?: number[];
  /** 'philox' (the default, the same on every device) or 'torch' (what PyTorch's CPU generator gives). */
  rng?: 'philox' | 'torch';
  /** Ends the run, within one network evaluation, with an error of type 'aborted'. */
  signal?: AbortSignal;
  /** Pause between two steps while the page cannot be seen, as in a tab behind others; false by default. */
  pauseWhenHidden?: boolean;
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
  pictures: Uint8ClampedArray;
  /** The network's prediction x̂₀ of the finished pictures, in the same layout. */
  predicted: Uint8ClampedArray;
  /** On the last step only: the exact result, `[batch, channels, height, width]` in [-1, 1]. */
  latents?: Float32Array;
}

export interface ModelInfo {
  name: string;
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
  device: {
    kind: 'gpu' | 'cpu';
    /** The graphics adapter's name, or 'CPU'. */
    name: string;
    /**
     * Why not the GPU: an error type, or 'software-adapter' where the only adapter is a program on the CPU. Null where
     * the GPU runs or the CPU was asked for.
     */
    reason: ErrorType | 'software-adapter' | null;
  };
}

export interface PrepareOptions {
  signal?: AbortSignal;
  onProgress?: (progress: { stage: 'read'; done: number; total: number }) => void;
  /** Height and width in pixels, 4 to 256; by default the first picture's, down to a multiple of 8, at most 32. */
  size?: number;
  /** Makes grey of colours. */
  grey?: boolean;
  /** Keeps what is outside the middle square, with white beside it. */
  whole?: boolean;
  /** False ignores the folders' names. */
  classes?: boolean;
  /** How many of 'faces' are drawn, 1 to 20,000; 2,000 by default. They are the same ones each time, and no two are alike. */
  count?: number;
}

/** A recipe as JSON text or as an object: see docs/training.md. */
export type Recipe = string | object;

/** The data sets that come with the package: pictures, then points of the plane, then bits. */
export type BundledData = 'digits' | 'faces' | 'kanji' | 'swiss-roll' | 'moons' | 'two-gaussians' | 'ring' | 'grid' | 'heartbeat';

/**
 * Networks of three sizes for pictures. For points a data set's name with an objective (`bound`, `score`, `ddpm`, `edm`, `flow`),
 * such as 'swiss-roll-bound'; for bits 'heartbeat-binomial'.
 */
export type Preset = 'tiny' | 'small' | 'medium' | (string & {});

export interface TrainingPlan {
  recipe: string;
  /** How many weights. */
  parameters: number;
  /** Floating-point operations of one step. */
  flops: number;
  /** Bytes while training, by estimate. */
  memory: number;
  trainTimesteps: number;
}

/** Something to train on. */
export interface TrainingData {
  readonly info: {
    count: number;
    channels: number;
    width: number;
    height: number;
    /** The classes' names and numbers of pictures; empty without classes. */
    names: string[];
    counts: number[];
    /** Points are two numbers (`channels`), bits -1 or 1; both are pictures of one pixel to the rest of the engine. */
    kind: 'pictures' | 'points' | 'bits';
  };
  /** The first 200 of what was left out, and why. */
  readonly skipped: { name: string; why: string }[];
  readonly skippedCount: number;
  /** Where a bundled set is from; null for files. */
  readonly about: { name: string; about: string; licence: string; source: string; toy?: string } | null;
  /** Whether its worker has gone, and it with it. */
  readonly lost: boolean;
  /** The recipe of a preset, or a recipe checked, and what it takes. */
  plan(options?: { preset?: Preset; recipe?: Recipe; steps?: number }): Promise<TrainingPlan>;
  /**
   * Items after a timestep of the recipe's forward process (null: clean). Pictures are RGBA `[batch, height, width, 4]`, points and
   * bits numbers `[batch, channels]`. With them the level: `alpha x0 + sigma epsilon`, and for bits a mean of `alpha x0`.
   */
  show(options: {
    indices: number[];
    recipe?: Recipe;
    timestep?: number | null;
    seed?: number;
    flip?: boolean;
  }): Promise<
    | { pictures: Uint8ClampedArray; alpha: number; sigma: number; batch: number; width: number; height: number }
    | { values: Float32Array; alpha: number; sigma: number; batch: number; channels: number }
  >;
  /** Takes steps for two to four seconds and throws them away. */
  measure(options: { recipe: Recipe; device?: Device; signal?: AbortSignal }): Promise<{
    secondsPerStep: number;
    device: ModelInfo['device'];
    /** The module's memory in bytes. */
    heap: number | null;
  }>;
  dispose(): void;
}

export interface TrainOptions {
  data: TrainingData;
  /** By default 'tiny' for pictures, for points and bits the first of their objectives: 'swiss-roll-bound', 'moons-ddpm'. */
  preset?: Preset;
  /** Stretches a preset to another length. */
  steps?: number;
  /** Instead of a preset. */
  recipe?: Recipe;
  device?: Device;
  name?: string;
  /** A checkpoint to begin from; its network and schedule replace the recipe's. */
  from?: Source;
  /** False trains on every picture; otherwise, of 200 and more, every twentieth is kept out for the held-out loss. */
  heldOut?: boolean;
}

export interface TrainingProgress {
  state: 'running' | 'paused' | 'ended';
  step: number;
  steps: number;
  /** Steps a second; null at first. */
  rate: number | null;
  /** Milliseconds. */
  left: number | null;
  learningRate: number;
}

/** The same noise sampled: pictures, or points or bits. */
export type TrainingFrame =
  | { step: number; batch: number; width: number; height: number; pictures: Uint8ClampedArray }
  | { step: number; batch: number; channels: number; values: Float32Array };

export type TrainingEvent =
  | ({ type: 'start' | 'state'; saved: number; kept: boolean; id: string | null } & TrainingProgress)
  | ({ type: 'steps'; points: { step: number; count: number; sum: number; bands: { count: number; sum: number }[] }[] } & TrainingProgress)
  | { type: 'frame'; frame: TrainingFrame }
  /** `bound` is K in bits and its standard error, where the objective is the bound of 2015. */
  | { type: 'held-out'; step: number; loss: number; bound?: { step: number; bits: number; error: number } }
  | { type: 'saved'; step: number; kept: boolean; problem: string | null; bytes: number }
  | { type: 'not-kept'; problem: string }
  | { type: 'split'; accumulate: number }
  | { type: 'recovering'; error: { type: ErrorType; message: string } }
  | ({ type: 'failed'; error: { type: ErrorType; message: string; fatal: boolean }; wentBack?: boolean } & Partial<TrainingProgress>);

/** A run of training: it goes on by itself. Iterate over it for its events; it has one reader. */
export interface Training extends AsyncIterable<TrainingEvent> {
  readonly progress: TrainingProgress | null;
  /** Saves, and computes nothing until `resume`. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Ends the run where it is; it can still be exported and sampled. */
  stop(): Promise<void>;
  /** The peak rate, above 0 and at most 1, from the next step on. */
  setLearningRate(rate: number): Promise<void>;
  /** The averaged weights of now, for `Noiseball.load`; of points and bits it rejects with type 'unsupported-architecture'. */
  source(name: string): Promise<Source>;
  /**
   * A ZIP archive of a diffusers folder (layout A): averaged weights, model card, recipe, losses. Of points and bits, which diffusers
   * has no network for, the weights are one safetensors file, with samples as CSV beside it.
   */
  export(): Promise<Blob>;
  /** The run's whole state, for browsers that keep none. */
  state(): Promise<Blob>;
  /** Ends the run and frees its memory; what was kept of it stays. */
  close(): Promise<void>;
}

export interface KeptRun {
  id: string;
  name: string;
  step: number;
  steps: number;
  /** Milliseconds since 1970. */
  when: number;
}

export type ErrorType =
  | 'insecure-context'
  | 'no-webgpu'
  | 'no-adapter'
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
  | 'aborted';

export const ERROR_TYPES: readonly ErrorType[];

export class NoiseballError extends Error {
  constructor(type: ErrorType, message: string, options?: { cause?: unknown });
  readonly type: ErrorType;
}

export class Noiseball {
  private constructor();

  /**
   * Loads a checkpoint. Pass a drop's DataTransfer within the event's handler: browsers empty it afterwards.
   * Rejects with a NoiseballError.
   */
  static load(source: Source, options?: LoadOptions): Promise<Noiseball>;

  /**
   * Reads pictures to train on: files as `load` takes them (PNG, JPEG, WebP, GIF with every frame, NPY, NPZ, IDX, or a ZIP of such), or a
   * set that comes with the package. Folders within are classes; an array of one number an image has its classes. Loads the training module, some 3 MB.
   */
  static prepare(source: Source | BundledData, options?: PrepareOptions): Promise<TrainingData>;

  /** Starts to train. One run at a time: the one before is closed. */
  static train(options: TrainOptions): Promise<Training>;

  /** The runs kept in this browser, newest first. */
  static runs(): Promise<KeptRun[]>;

  /** Goes on with a kept run exactly where it was saved; on the CPU it ends in the same bytes as one that never stopped. */
  static continueRun(id: string, options?: { device?: Device }): Promise<Training>;

  /** Deletes a kept run. */
  static removeRun(id: string): Promise<void>;

  /** Empties the cache of downloaded checkpoints. */
  static purge(): Promise<void>;

  /** Another object after the model had to be loaded again: see `sample`. */
  readonly info: ModelInfo;

  /**
   * Samples a batch, step by step. The first `next()` rejects with type 'busy' while another run is going on;
   * leaving the loop stops the run. A run rejects with type 'device-lost' when the GPU is taken away; the next one
   * first loads the model again, from the cache, its address or its files, and then may reject as `load` does.
   */
  sample(options?: SampleOptions): AsyncGenerator<Step, void, void>;

  /** Frees the model's memory; a run in progress ends with an error of type 'disposed'. */
  dispose(): void;
}
