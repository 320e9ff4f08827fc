// Types of the entries `noiseball/models/…`.

import type { CheckpointAddresses } from '../noiseball.js';

/** What `Noiseball.load` takes, or an element's `source`. */
declare const model: CheckpointAddresses;
export default model;
