// A pipeline's files, brought to the engine: first the small ones of all its parts, then the weights of whichever part it asks for.

import { filesOf, fill, isPipeline, opened, placeOf, readOne } from '../checkpoint.js';
import { buildable } from '../host.js';
import { Weights } from '../memory.js';

/**
 * Reads a pipeline of several networks, or one network whose weights the smaller module does not read.
 * @param {import('../source.js').Source} source
 * @param {any} given as `readCheckpoint` takes it
 * @returns {Promise<import('../host.js').Read>}
 */
export async function readLarger(source, given) {
  // A part may be read in the course of a run, which has a signal and a progress of its own.
  const context = { ...given };
  const files = await filesOf(source, context);
  if (!(await isPipeline(files))) return buildable(await readOne(files, source, given), given.engine);
  const { Folder, Pipeline } = await given.engine;
  const folder = await opened(files, () => new Folder(placeOf(source), files.paths, given.variant), given);
  const weighed = new Set();
  const bring = async (opening, part, parameters, ahead) => {
    const weights = new Weights(given.budget, 1);
    context.weights = weights;
    context.progress.part({ bytes: () => weights.size, parameters, ahead });
    await fill(opening, files, { weights });
    if (!weighed.has(part)) given.weights.add(weights.size);
    weighed.add(part);
    return opening;
  };
  return {
    build: (kind) => Pipeline.open(folder.opening, kind, bring, given.budget),
    forget: folder.forget,
    during: (task) => Object.assign(context, task),
  };
}
