// Which of the training pictures are nearest to those that were drawn: what a model that only remembers would show twice.

/**
 * Looks through pictures a part at a time. RGBA; red, green and blue are compared, by the sum of their squared differences.
 */
export class Nearest {
  #drawn;
  #bytes;
  /** Of each drawn picture the nearest so far: its index among the data, its distance, and its pixels. */
  found;

  /**
   * @param {Uint8ClampedArray} drawn
   * @param {number} count pictures in it
   */
  constructor(drawn, count) {
    this.#drawn = drawn;
    this.#bytes = drawn.length / count;
    this.found = Array.from({ length: count }, () => ({ index: -1, distance: Infinity, pixels: new Uint8ClampedArray(this.#bytes) }));
  }

  /** Takes the data's pictures from index `first` on. */
  look(pictures, first) {
    const bytes = this.#bytes;
    for (let start = 0; start < pictures.length; start += bytes) {
      this.found.forEach((nearest, i) => {
        let distance = 0;
        for (let k = 0; k < bytes && distance < nearest.distance; k++) {
          if (k % 4 < 3) distance += (this.#drawn[i * bytes + k] - pictures[start + k]) ** 2;
        }
        if (distance >= nearest.distance) return;
        Object.assign(nearest, { index: first + start / bytes, distance });
        nearest.pixels.set(pictures.subarray(start, start + bytes));
      });
    }
  }

  /** The nearest ones as one array, in the drawn ones' order. */
  get pictures() {
    const all = new Uint8ClampedArray(this.#bytes * this.found.length);
    for (const [i, { pixels }] of this.found.entries()) all.set(pixels, i * this.#bytes);
    return all;
  }
}
