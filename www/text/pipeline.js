// A pipeline's files, brought to the engine: first the small ones of all its parts, then the weights of whichever part it asks for.

import { filesOf, fill, opened, placeOf } from '../checkpoint.js';
import { Weights } from '../memory.js';

/**
 * Reads a pipeline of several networks.
 * @param {import('../source.js').Source} source
 * @param {any} given as `readCheckpoint` takes it
 * @returns {Promise<import('../host.js').Read>}
 */
export async function readPipeline(source, given) {
  const files = await filesOf(source, given);
  const { Folder, Pipeline } = await given.engine;
  const folder = await opened(files, () => new Folder(placeOf(source), files.paths, given.variant), given.weights);
  const bring = async (opening) => {
    const part = new Weights(given.budget);
    await fill(opening, files, part);
    given.weights.add(part.size);
    return opening;
  };
  return { build: (kind) => Pipeline.open(folder.opening, kind, bring, given.budget), forget: folder.forget };
}
