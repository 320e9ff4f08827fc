// A run's losses as a chart needs them: thinned to a few hundred points however long the run is, as they were and by how
// noisy the pictures were. The worker keeps them with the run's state, the page draws them.

const MOST = 400; // points
export const BANDS = 4; // from the least noisy quarter of the timesteps to the noisiest

export class Losses {
  #stride = 1; // steps of a point

  constructor({ stride = 1, points = [], heldOut = [] } = {}) {
    this.#stride = stride;
    /** One a stretch of steps: {step (the first), count, sum, bands: [{count, sum}]}. */
    this.points = points;
    /** [step, loss] each. */
    this.heldOut = heldOut;
  }

  /** Adds one step's examples: levels (0 to 1) and losses, in step. */
  add(step, levels, losses) {
    const point = { step, count: 0, sum: 0, bands: Array.from({ length: BANDS }, () => ({ count: 0, sum: 0 })) };
    for (let i = 0; i < losses.length; i++) {
      const band = point.bands[Math.min(BANDS - 1, Math.floor(levels[i] * BANDS))];
      for (const sum of [point, band]) {
        sum.count += 1;
        sum.sum += losses[i];
      }
    }
    this.merge(point);
  }

  /** Adds a point that `add` made elsewhere. */
  merge(point) {
    const last = this.points.at(-1);
    if (last && Math.floor(last.step / this.#stride) === Math.floor(point.step / this.#stride)) combine(last, point);
    else this.points.push(structuredClone(point));
    if (this.points.length > MOST) this.#thin();
  }

  addHeldOut(step, loss) {
    this.heldOut.push([step, loss]);
  }

  /** Forgets what came after a step: the run went back to it. */
  cut(step) {
    this.points = this.points.filter((point) => point.step < step);
    this.heldOut = this.heldOut.filter(([at]) => at <= step);
  }

  /** [step, mean loss] each, of all examples or of one band. */
  series(band) {
    const of = (point) => (band === undefined ? point : point.bands[band]);
    return this.points.filter((point) => of(point).count > 0).map((point) => [point.step, of(point).sum / of(point).count]);
  }

  /** A series drawn calmer: each point an average that forgets, weighted so that its start is not pulled to anything. */
  smoothed(series, memory = 0.9) {
    let [sum, weight] = [0, 0];
    return series.map(([step, loss]) => {
      sum = memory * sum + loss;
      weight = memory * weight + 1;
      return [step, sum / weight];
    });
  }

  toJSON() {
    return { stride: this.#stride, points: this.points, heldOut: this.heldOut };
  }

  #thin() {
    this.#stride *= 2;
    const before = this.points;
    this.points = [];
    for (const point of before) {
      const last = this.points.at(-1);
      if (last && Math.floor(last.step / this.#stride) === Math.floor(point.step / this.#stride)) combine(last, point);
      else this.points.push(point);
    }
  }
}

function combine(to, from) {
  to.count += from.count;
  to.sum += from.sum;
  to.bands.forEach((band, i) => {
    band.count += from.bands[i].count;
    band.sum += from.bands[i].sum;
  });
}
