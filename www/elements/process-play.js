// Playing the forward process, which <diffusion-process> loads when it is asked for.

const PLAYING = 5000; // milliseconds from no noise to all of it

/** Calls `show` with shares of all noise from this one to 1, a frame at a time. Gives what ends it before. */
export function play(from, show) {
  const began = performance.now();
  const tick = (now) => {
    const share = Math.min(1, from + Math.max(0, now - began) / PLAYING);
    if (share < 1) frame = requestAnimationFrame(tick);
    show(share);
  };
  let frame = requestAnimationFrame(tick);
  return () => cancelAnimationFrame(frame);
}
