// A run's states, kept for the scrubber within a budget of memory.

const BUDGET = 128 * 2 ** 20; // bytes

export class History {
  #budget;
  #stride = 1;

  constructor(budget = BUDGET) {
    this.#budget = budget;
    /** The kept steps, in order: the first and the newest always, the others evenly thinned. */
    this.steps = [];
  }

  add(step) {
    const previous = this.steps.at(-1);
    // The newest step took the last place only until the next one came.
    if (previous && previous.index % this.#stride !== 0) this.steps.pop();
    this.steps.push(step);
    while (this.bytes > this.#budget && this.steps.length > 2) {
      this.#stride *= 2;
      this.steps = this.steps.filter((kept) => kept === step || kept.index % this.#stride === 0);
    }
  }

  get bytes() {
    const maps = ({ attention = [] }) => attention.reduce((sum, { now, mean }) => sum + now.byteLength + mean.byteLength, 0);
    return this.steps.reduce((sum, step) => sum + step.pictures.byteLength + (step.predicted?.byteLength ?? 0) + maps(step), 0);
  }
}
