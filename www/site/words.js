// What the page says: sizes, times, errors and devices in plain words.

/** What happened, for each type of error; the error's own message says what to do. */
export const TITLES = {
  'insecure-context': 'WebGPU is hidden from this page.',
  'no-webgpu': 'This browser has no WebGPU.',
  'no-adapter': 'No graphics adapter answered.',
  limit: 'The GPU cannot take this run.',
  'out-of-memory': 'Memory ran out.',
  'device-lost': 'The GPU was lost.',
  fetch: 'A file could not be read.',
  checkpoint: 'This is not a whole checkpoint.',
  'unsupported-architecture': 'This kind of model is not supported.',
  'invalid-option': 'A setting is out of range.',
  busy: 'The model is busy.',
  disposed: 'The model is gone.',
  dataset: 'There is nothing to train on.',
  diverged: 'Training diverged.',
  resume: 'This run cannot go on.',
  'content-security-policy': 'This page’s rules forbid it.',
  'no-browser': 'There is no browser here.',
};

const REASONS = {
  'insecure-context':
    'because this page was served over plain http, and browsers offer WebGPU to secure pages only. Open it over https or from localhost to use the GPU',
  'no-webgpu': 'because this browser does not offer WebGPU. A current Chrome, Edge, Firefox or Safari may',
  'no-adapter': 'because the browser has WebGPU but found no graphics adapter that it may use. Graphics drivers or a setting may block it',
  'software-adapter': 'because the only graphics adapter here is a program on the CPU, which would be slower',
  limit: 'because the model is too large for this graphics adapter',
  'out-of-memory': 'because the graphics adapter has too little free memory',
};

/** Which device runs, and why not the GPU. */
export function deviceSentence({ kind, name, reason }) {
  if (kind === 'gpu') return `Runs on the GPU: ${name}.`;
  return reason ? `Runs on the CPU, ${REASONS[reason] ?? `because of '${reason}'`}.` : 'Runs on the CPU.';
}

/** 4194304 → '4.2 MB' */
export function bytes(count) {
  return scaled(count, ['B', 'kB', 'MB', 'GB']);
}

/** 1234567 → '1.2 million' */
export function amount(count) {
  return scaled(count, ['', 'thousand', 'million', 'billion', 'trillion']).trim();
}

function scaled(count, units) {
  let power = 0;
  while (count >= 999.5 && power < units.length - 1) {
    count /= 1000;
    power++;
  }
  return `${power > 0 && count < 9.95 ? count.toFixed(1) : Math.round(count)} ${units[power]}`;
}

/** 83000 → '1 min 23 s' */
export function duration(milliseconds) {
  const seconds = milliseconds / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** Where in its run a step is. */
export function moment(step) {
  return `${step.index + 1} of ${step.total} · from t = ${Math.round(step.timestep)}, ${percent(step.noise)} noise`;
}

/** 0.004 → '0.4 %', so that little is not none. */
export function percent(share) {
  const hundredths = share * 100;
  return `${hundredths > 0 && hundredths < 1 ? hundredths.toFixed(1) : Math.round(hundredths)} %`;
}

/** What the progress of a load is. */
export function loading({ stage, loaded, total }, name) {
  if (stage === 'compile') return `Preparing ${name}…`;
  return `Loading ${name}: ${total === null ? bytes(loaded) : `${bytes(loaded)} of ${bytes(total)}`}`;
}

export function pictures(count) {
  return count === 1 ? '1 picture' : `${count} pictures`;
}
