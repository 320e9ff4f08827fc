// A stand-in for the training module: losses that fall, no network. It keeps count of what is alive. `channels` are those of points
// or bits, where it stands in for such.

export const alive = { trainings: 0, models: 0, runs: 0, parts: 0 };

/** What was computed for samples and losses. */
export const work = { evaluations: 0 };

export function fakeTrainer({ steps, divergeAt = Infinity, channels, evaluations = 1 }) {
  class Training {
    constructor(step = 0) {
      Object.assign(this, { step_: step, read: step, rate: 0.1 });
      alive.trainings++;
    }

    static async resume(_file, state) {
      return new Training(new Float64Array(state.slice().buffer)[0]);
    }

    facts() {
      return { step: this.step_, steps, parameters: 100, recipe: '{}' };
    }

    step() {
      this.step_++;
    }

    async losses() {
      if (this.step_ > divergeAt) throw Object.assign(new Error('training diverged by step 1'), { type: 'diverged' });
      const done = Array.from({ length: this.step_ - this.read }, (_, i) => this.read + i);
      this.read = this.step_;
      return {
        steps: Float64Array.from(done),
        means: Float32Array.from(done, (step) => 1 / (1 + step)),
        levels: Float32Array.from(done.flatMap(() => [0.1, 0.9])),
        losses: Float32Array.from(done.flatMap((step) => [1 / (1 + step), 1 / (1 + step)])),
      };
    }

    async held_out(_data, goOn) {
      await this.long(goOn);
      return 1 / (1 + this.step_);
    }

    async bound(_data, goOn) {
      await this.long(goOn);
      return channels === 2 ? { bits: this.step_ / 100, error: 0.1 } : undefined;
    }

    async sample(count, _seed, goOn) {
      await this.long(goOn);
      return new Float32Array(count * channels).fill(this.step_);
    }

    /** Many small parts, between which it asks whether to go on. */
    async long(goOn) {
      for (let i = 0; i < evaluations; i++, work.evaluations++) {
        if (!(await goOn())) throw Object.assign(new Error('stopped'), { type: 'aborted' });
      }
    }

    learning_rate() {
      return this.rate;
    }

    set_learning_rate(rate) {
      this.rate = rate;
    }

    async save() {
      return new Uint8Array(Float64Array.of(this.step_).buffer);
    }

    async model() {
      alive.models++;
      let left = Math.max(2, evaluations);
      return {
        info: () => ({ classes: null, nullLabel: null, trainTimesteps: 1000 }),
        sample({ batch }) {
          alive.runs++;
          return {
            next: async () => (
              work.evaluations++, left-- > 0 ? { width: 2, height: 2, pictures: new Uint8ClampedArray(batch * 16) } : undefined
            ),
            free: () => alive.runs--,
          };
        },
        free: () => alive.models--,
      };
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
  const part = () => {
    alive.parts++;
    return { free: () => alive.parts--, noised: (_recipe, indices) => ({ values: new Float32Array(indices.length * channels).fill(7) }) };
  };
  return { engine: { Training, zip: (files) => files }, training: new Training(), part };
}
