// Whether anybody can see the page.

import { abortError } from './errors.js';

/** Resolves once the page is visible, at once where it is or there is none; rejects when one of `signals` fires. */
export function untilVisible(signals) {
  const { document } = globalThis;
  return /** @type {Promise<void>} */ (
    new Promise((resolve, reject) => {
      const active = signals.filter(Boolean);
      /** @param {{target?: any}} [event] */
      const look = ({ target } = {}) => {
        const fired = target?.aborted ? target : active.find((signal) => signal.aborted);
        if (!fired && document?.visibilityState === 'hidden') return;
        document?.removeEventListener('visibilitychange', look);
        for (const signal of active) signal.removeEventListener('abort', look);
        if (fired) reject(abortError(fired));
        else resolve();
      };
      document?.addEventListener('visibilitychange', look);
      for (const signal of active) signal.addEventListener('abort', look);
      look();
    })
  );
}
