// A stand-in for the training module: losses that fall, no network, and a loop as src/train/training_loop.rs has it. It keeps count of
// what is alive. `channels` are those of points or bits, where it stands in for such.

export const alive = { trainings: 0 };

/** What was computed for samples and losses. */
export const work = { evaluations: 0 };

const BURST = 10;
const FRAMES = 24;

export function fakeTrainer({ steps, divergeAt = Infinity, channels, evaluations = 1, failingFrames = false }) {
  class Training {
    constructor(step = 0, rate = 0.1) {
      Object.assign(this, { step_: step, steps, read: step, rate, framed: null, saved: null, stopped: false, queue: [] });
      alive.trainings++;
    }

    facts() {
      return { step: this.step_, steps: this.steps, parameters: 100, accumulate: 1, heldOut: 5, learningRate: this.rate, recipe: '{}' };
    }

    examples(count) {
      return { values: new Float32Array(count * channels).fill(7) };
    }

    async next(goOn) {
      if (this.queue.length > 0) return this.queue.shift();
      const ending = this.stopped || this.step_ >= this.steps;
      const every = Math.max(BURST, Math.ceil(this.steps / FRAMES));
      const isNext = this.framed === null || Math.floor(this.step_ / every) > Math.floor(this.framed / every);
      const framed = ending || this.step_ === 0 ? this.framed !== this.step_ : isNext && this.givenUp !== this.step_;
      if (framed) return this.frame(goOn);
      if (!this.is_saved() && (ending || !this.saved || this.saved.rate !== this.rate)) return { type: 'save-due' };
      if (ending) return undefined;
      for (let i = 1; ; i++) {
        this.step_++;
        const ends = this.step_ >= this.steps || this.step_ % every === 0;
        if (i === BURST || ends || !(await goOn('step'))) break;
      }
      return this.losses();
    }

    losses() {
      if (this.step_ > divergeAt) throw Object.assign(new Error('training diverged by step 1'), { type: 'diverged' });
      const done = Array.from({ length: this.step_ - this.read }, (_, i) => this.read + i);
      this.read = this.step_;
      return {
        type: 'steps',
        steps: Float64Array.from(done),
        means: Float32Array.from(done, (step) => 1 / (1 + step)),
        levels: Float32Array.from(done.flatMap(() => [0.1, 0.9])),
        losses: Float32Array.from(done.flatMap((step) => [1 / (1 + step), 1 / (1 + step)])),
      };
    }

    async frame(goOn) {
      try {
        await this.long(goOn);
        await this.long(goOn);
      } catch {
        this.givenUp = this.step_;
        return { type: 'given-up' };
      }
      const step = this.step_;
      this.framed = step;
      if (step > 0) {
        const bound = channels === 2 && { bound: { bits: step / 100, error: 0.1 } };
        this.queue.push({ type: 'held-out', step, loss: bound ? -step / 100 : 1 / (1 + step), ...bound });
      }
      if (failingFrames) return { type: 'frame-failed', step, error: Object.assign(new Error('no room'), { type: 'out-of-memory' }) };
      return channels
        ? { type: 'frame', step, batch: 400, channels, values: new Float32Array(400 * channels).fill(step) }
        : { type: 'frame', step, batch: 10, width: 2, height: 2, pictures: new Uint8ClampedArray(160) };
    }

    async sample(count, _seed, goOn) {
      await this.long(goOn);
      return new Float32Array(count * channels).fill(this.step_);
    }

    /** Many small parts, between which it asks whether to go on. */
    async long(goOn) {
      for (let i = 0; i < evaluations; i++, work.evaluations++) {
        if (!(await goOn('part'))) throw Object.assign(new Error('stopped'), { type: 'aborted' });
      }
    }

    stop() {
      this.stopped = true;
    }

    set_learning_rate(rate) {
      this.rate = rate;
    }

    set_steps(steps) {
      if (steps < this.step_) throw Object.assign(new Error(`at least ${this.step_}`), { type: 'invalid-option' });
      Object.assign(this, { steps, stopped: false });
    }

    is_saved() {
      return this.saved?.step === this.step_ && this.saved.rate === this.rate && this.saved.steps === this.steps;
    }

    async save() {
      this.saved = { step: this.step_, rate: this.rate, steps: this.steps };
      return new Uint8Array(Float64Array.of(this.step_, this.rate).buffer);
    }

    go_back() {
      if (!this.saved) return false;
      const { step, rate } = this.saved;
      Object.assign(this, { step_: step, read: step, rate, framed: Math.min(this.framed, step), queue: [] });
      return true;
    }

    card() {
      return '# card';
    }

    async files() {
      return [['unet/config.json', new Uint8Array([123, 125])]];
    }

    free() {
      alive.trainings--;
    }
  }
  return { engine: { zip: (files) => files }, training: new Training() };
}
