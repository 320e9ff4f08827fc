/** Median and quartiles of some times: `{ runs, lower, median, upper }`. */
export function summary(times) {
  const sorted = [...times].sort((a, b) => a - b);
  const [lower, median, upper] = [1, 2, 3].map((quarter) => sorted[Math.floor(((sorted.length - 1) * quarter) / 4)]);
  return { runs: sorted.length, lower, median, upper };
}
