// Types of the package's entry `noiseball/train`.

import type { CheckpointFiles, Device, DeviceInfo, ErrorType, Source } from './noiseball.js';

export { ERROR_TYPES, loadFilesFrom, NoiseballError } from './noiseball.js';
export type { CheckpointFiles, Device, DeviceInfo, ErrorType, Source } from './noiseball.js';

export interface PrepareOptions {
  signal?: AbortSignal | undefined;
  /** 'download': bytes of the training module, once a page. 'read': pictures. */
  onProgress?:
    | ((progress: { stage: 'download'; done: number; total: number | null } | { stage: 'read'; done: number; total: number }) => void)
    | undefined;
  /** Height and width in pixels, 4 to 256; by default the first picture's, down to a multiple of 8, at most 32. */
  size?: number | undefined;
  /** Makes grey of colours. */
  grey?: boolean | undefined;
  /** Keeps what is outside the middle square, with white beside it. */
  whole?: boolean | undefined;
  /** False ignores the folders' names. */
  classes?: boolean | undefined;
  /** How many of 'faces' are drawn, 1 to 20,000; 2,000 by default. They are the same ones each time, and no two are alike. */
  count?: number | undefined;
}

/** A recipe as JSON text or as an object: see docs/training.md. */
export type Recipe = string | object;

/** The data sets that come with the package: pictures, then points of the plane, then bits. */
export type BundledData = (typeof BUNDLED)[number];

/** Their names, pictures first. */
export const BUNDLED: readonly ['digits', 'faces', 'kanji', 'swiss-roll', 'moons', 'two-gaussians', 'ring', 'grid', 'heartbeat'];

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
  /** The most bytes that a run should take on this device: `TrainOptions.memory`, unless told. */
  budget: number;
  trainTimesteps: number;
}

export interface DataInfo {
  count: number;
  channels: number;
  width: number;
  height: number;
  /** The classes' names and numbers of pictures; empty without classes. */
  names: string[];
  counts: number[];
  /** Points are two numbers (`channels`), bits -1 or 1; both are pictures of one pixel to the rest of the engine. */
  kind: 'pictures' | 'points' | 'bits';
}

/** Where a bundled set is from. */
export interface DataCredit {
  name: string;
  about: string;
  licence: string;
  source: string;
  /** The name of the data's known distribution; pictures have none. */
  toy?: string;
  /** Where it is known: K in bits as the 2015 paper has it, with a `note` to it, and the most that it can be, the data's mean log density. */
  bound?: { paper: number; most: number; note: string };
}

/** Items of a data set at a level of the forward process: `alpha x0 + sigma epsilon`, and for bits a mean of `alpha x0`. */
export type ShownItems =
  | { pictures: Uint8ClampedArray<ArrayBuffer>; alpha: number; sigma: number; batch: number; width: number; height: number }
  | { values: Float32Array<ArrayBuffer>; alpha: number; sigma: number; batch: number; channels: number };

/** What may be changed of a preset or a recipe. */
export interface RecipeChanges {
  /** Another length; warm-up and the average's half-life keep their share of it. */
  steps?: number | undefined;
  /** Items of a step. */
  batch?: number | undefined;
  /** The peak learning rate, above 0 and at most 1. */
  learningRate?: number | undefined;
  /** 0 to 2^53 - 1. */
  seed?: number | undefined;
  /** Mirror pictures left to right at random. */
  flip?: boolean | undefined;
}

/** Something to train on. */
export interface TrainingData {
  readonly info: DataInfo;
  /** The first 200 of what was left out, and why. */
  readonly skipped: { name: string; why: string }[];
  readonly skippedCount: number;
  /** How arrays were understood, a sentence each: their pictures, what is black and white, whose labels are the classes. */
  readonly notes: string[];
  /** Where a bundled set is from; null for files. */
  readonly about: DataCredit | null;
  /** Whether its worker has gone, and it with it. */
  readonly lost: boolean;
  /** The presets that suit these data. Of points and bits the first is the usual one, of pictures it depends on their size. */
  readonly presets: Preset[];
  /**
   * The recipe of a preset, or a recipe, with what is to be changed in it, checked; and what it takes. `noiseball train` makes the
   * same recipe of the same preset and changes.
   */
  plan(options?: { preset?: Preset | undefined; recipe?: Recipe | undefined } & RecipeChanges): Promise<TrainingPlan>;
  /**
   * Items after a timestep of the recipe's forward process (null: clean). Pictures are RGBA `[batch, height, width, 4]`, points and
   * bits numbers `[batch, channels]`.
   */
  show(options: {
    indices: readonly number[];
    recipe?: Recipe | undefined;
    timestep?: number | null | undefined;
    seed?: number | undefined;
    flip?: boolean | undefined;
  }): Promise<ShownItems>;
  /** Takes steps for two to four seconds and throws them away. */
  measure(options: { recipe: Recipe; device?: Device | undefined; signal?: AbortSignal | undefined }): Promise<{
    secondsPerStep: number;
    device: DeviceInfo;
    /** The module's memory in bytes. */
    heap: number | null;
  }>;
  dispose(): void;
}

export interface TrainOptions extends RecipeChanges {
  data: TrainingData;
  /**
   * By default 'tiny' for pictures up to 8×8 pixels and 'small' for larger ones; for points and bits the first of their objectives:
   * 'swiss-roll-bound', 'moons-ddpm'.
   */
  preset?: Preset | undefined;
  /** Instead of a preset. */
  recipe?: Recipe | undefined;
  device?: Device | undefined;
  name?: string | undefined;
  /** A checkpoint to begin from; its network and schedule replace the recipe's. */
  from?: Source | undefined;
  /**
   * The most bytes that the run may take, by an estimate; `Infinity` for no limit of the page's. By default half of the device's memory, on a
   * phone a quarter. A batch that would take more is worked through in parts, which an event 'split' tells and which changes nothing of
   * the result; where single examples do not fit, `train` rejects with type 'out-of-memory'.
   */
  memory?: number | undefined;
  /** False trains on every picture; otherwise, of 200 and more, every twentieth is kept out for the held-out loss. */
  heldOut?: boolean | undefined;
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

/**
 * The same noise sampled: pictures, RGBA `[batch, height, width, 4]`, with each one's label where there are classes; or points or bits,
 * numbers `[batch, channels]`.
 */
export type TrainingFrame =
  | { step: number; batch: number; width: number; height: number; pictures: Uint8ClampedArray<ArrayBuffer>; labels?: number[] }
  | { step: number; batch: number; channels: number; values: Float32Array<ArrayBuffer> };

/** The examples of a stretch of steps, of which `step` is the first: how many, and the sum of their losses; the same by timestep, in quarters. */
export interface LossPoint {
  step: number;
  count: number;
  sum: number;
  bands: { count: number; sum: number }[];
}

/** All losses so far, thinned: a point is a stretch of `stride` steps. */
export interface LossCurve {
  stride: number;
  points: LossPoint[];
  /** [step, loss] each. */
  heldOut: [step: number, loss: number][];
}

/** A run's losses as a chart needs them: what events tell, thinned to at most 400 points however long the run is. */
export class Losses {
  /** Begins empty, or with the `losses` of an event 'start'. */
  constructor(curve?: Partial<LossCurve>);
  readonly points: LossPoint[];
  readonly heldOut: [step: number, loss: number][];
  /** Adds a point of an event 'steps'. */
  merge(point: LossPoint): void;
  /** Adds what an event 'held-out' says. */
  addHeldOut(step: number, loss: number): void;
  /** [step, mean loss] each: of all examples, or of a quarter of the timesteps, from 0, the least noisy, to 3. */
  series(band?: number): [step: number, loss: number][];
  /** A series drawn calmer: each loss a mean of those before it that forgets; `memory` is below 1, and 0.9 unless told. */
  smoothed(series: readonly (readonly [step: number, loss: number])[], memory?: number): [step: number, loss: number][];
}

/** The 2015 paper's K in bits, and its standard error. */
export interface Bound {
  step: number;
  bits: number;
  error: number;
}

/** What there is to show of a run, whose `start` may come in the middle of it. */
export interface TrainingStart extends TrainingProgress {
  type: 'start';
  /** The step of the newest saved state; -1 without one. */
  saved: number;
  /** Whether the browser keeps the run, and by what name. */
  kept: boolean;
  id: string | null;
  facts: { name: string; device: DeviceInfo; data: DataInfo & { about: DataCredit | null } };
  /** How many weights. */
  parameters: number;
  /** The parts that a batch is worked through in. */
  accumulate: number;
  /** How many of the data are held out. */
  heldOut: number;
  /** JSON text. */
  recipe: string;
  losses: LossCurve;
  bound: Bound | null;
  /** The frames so far. */
  film: TrainingFrame[];
  /** Of points and bits: some of the data, numbers `[count, channels]`. */
  sample?: Float32Array<ArrayBuffer>;
}

/** What went wrong. After `wentBack` the run is paused at its last state, whose losses are here; `fatal`: its worker has gone. */
export interface TrainingFailed extends Partial<TrainingProgress> {
  type: 'failed';
  error: { type: ErrorType; message: string; fatal: boolean };
  wentBack?: boolean;
  losses?: LossCurve;
  bound?: Bound | null;
}

export type TrainingEvent =
  | TrainingStart
  | ({ type: 'state'; saved: number; kept: boolean; id: string | null } & TrainingProgress)
  | ({ type: 'steps'; points: LossPoint[] } & TrainingProgress)
  | { type: 'frame'; frame: TrainingFrame }
  /** A frame could not be sampled; the run goes on. */
  | { type: 'frame-failed'; step: number; error: { type: ErrorType; message: string; fatal: boolean } }
  /** With a bound where the objective is that of 2015. */
  | { type: 'held-out'; step: number; loss: number; bound?: Bound }
  | { type: 'saved'; step: number; kept: boolean; problem: string | null; bytes: number }
  | { type: 'not-kept'; problem: string }
  | { type: 'split'; accumulate: number }
  | { type: 'recovering'; error: { type: ErrorType; message: string } }
  | TrainingFailed;

/** A run of training: it goes on by itself. Iterate over it for its events; it has one reader. */
export interface Training extends AsyncIterable<TrainingEvent> {
  readonly progress: TrainingProgress | null;
  /** Saves, and computes nothing until `resume`. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Ends the run where it is; it can still be exported and sampled. */
  stop(): Promise<void>;
  /** The peak rate, above 0 and at most 1, from the next step on; kept with the run at once. */
  setLearningRate(rate: number): Promise<void>;
  /**
   * Makes it a run of another length, of at least the steps that are done; one that has ended goes on. The learning rate goes on
   * along the cosine of the new length; warm-up and the average's half-life keep their share of it.
   */
  setSteps(steps: number): Promise<void>;
  /** The averaged weights of now, for `Noiseball.load`; of points and bits it rejects with type 'unsupported-architecture'. */
  source(name: string): Promise<CheckpointFiles>;
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
  /** What it trains on. */
  data: DataInfo & { about: DataCredit | null };
}

/**
 * Reads pictures to train on: files as `Noiseball.load` takes them (PNG, JPEG, WebP, GIF with every frame, NPY, NPZ, IDX, or a ZIP of
 * such), or a set that comes with the package. Folders within are classes; an array of one number an image has its classes. Starts the
 * training module, some 5 MB to download.
 */
export function prepare(source: Source | BundledData, options?: PrepareOptions): Promise<TrainingData>;

/** Starts to train. One run at a time: the one before is closed. */
export function train(options: TrainOptions): Promise<Training>;

/** The runs kept in this browser, newest first. Nothing is downloaded or started for it. Rejects with type 'fetch' where a browser keeps nothing. */
export function runs(): Promise<KeptRun[]>;

/**
 * Goes on with a kept run exactly where it was saved; on the CPU it ends in the same bytes as one that never stopped. `steps` makes
 * it a run of another length: see `Training.setSteps`.
 */
export function continueRun(id: string, options?: { device?: Device | undefined; steps?: number | undefined }): Promise<Training>;

/** Deletes a kept run. */
export function removeRun(id: string): Promise<void>;
