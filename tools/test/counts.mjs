/** How many tests passed and failed, read from each runner's closing lines. */
export const counts = {
  /** `cargo test` and wasm-bindgen's runner: one line a test binary. */
  cargo: (output) => ({
    passed: sum(output, /^test result: .*?(\d+) passed/gm),
    failed: sum(output, /^test result: .*?(\d+) failed/gm),
  }),
  /** `node --test` with the spec reporter: `ℹ pass 3`. */
  node: (output) => ({
    passed: sum(output, /^. pass (\d+)$/gmu),
    failed: sum(output, /^. (?:fail|cancelled) (\d+)$/gmu),
  }),
  /** Playwright's list reporter; a test that needed a second try counts as failed. */
  playwright: (output) => ({
    passed: sum(output, /^ {2}(\d+) passed/gm),
    failed: sum(output, /^ {2}(\d+) (?:failed|flaky|interrupted|did not run)/gm),
  }),
};

function sum(output, pattern) {
  return [...output.matchAll(pattern)].reduce((total, [, number]) => total + Number(number), 0);
}
