// Types of the package's entry `noiseball/words`: what the elements say, in English, for pages that show models themselves.

import type { DeviceInfo, ErrorType, LoadProgress } from './noiseball.js';
import type { TrainingProgress } from './training.js';

/** Which device runs and, where it is not the GPU, why: a sentence for everybody, and what may help, or ''. Takes `model.info.device`. */
export function deviceSentence(device: Pick<DeviceInfo, 'kind' | 'name' | 'reason'>): { sentence: string; more: string };

/**
 * A failure in one short sentence for a reader; the error's own `message` is for whoever can mend it. `what` could not be downloaded:
 * 'model' unless told; `online` is `navigator.onLine`.
 */
export function failure(error: { readonly type: ErrorType | string }, online?: boolean, what?: string): string;

/** How far a load is, 0 to 1, for a bar. It may go back while little is known: show the greatest so far. */
export function progressOf(progress: LoadProgress): number;

/** Which state of a run is shown: 0 of `total` is pure noise. `noise` is what is left in it, 0 to 1; null after a run that was stopped. */
export function moment(state: { index: number; total: number; noise: number | null }): string;

/** Where a training run is. */
export function runSentence(progress: Pick<TrainingProgress, 'state' | 'step' | 'steps' | 'rate' | 'left'>): string;

/** In how many parts a training's batch is taken where there is little memory. */
export function partsSentence(parts: number): string;

/** Steps a second: 0.25 → '4.0 s a step', 12 → '12 steps a second'. */
export function speed(rate: number): string;

/** A share, so that little is not none: 0.004 → '0.4 %'. */
export function percent(share: number): string;

/** 4194304 → '4.2 MB' */
export function bytes(count: number): string;

/** 1234567 → '1.2 million' */
export function amount(count: number): string;

/** 83000 milliseconds → '1 min 23 s' */
export function duration(milliseconds: number): string;

/** A time that is only estimated, to the minute above two: 4569000 → '1 h 16 min' */
export function roughly(milliseconds: number): string;

/** A stranger's name, key or value (a class, a file) fit to be shown: what cannot be seen or turns the text is escaped, and 160 characters at most. */
export function shown(text: string): string;

/** A text with addresses in it, without users, passwords and what follows a question mark. */
export function withoutSecrets(text: string): string;
