// What was dropped or chosen, told by its files' names: each part of the page sends to the other what belongs there.

const MODEL = /(^|\/)(model_index\.json|[^/]+\.safetensors|diffusion_pytorch_model[^/]*\.bin)$/i;
const OF_A_MODEL = /\.(json|safetensors|bin|ckpt|pth?|zip)$/i;
const PICTURE = /\.(png|jpe?g|webp|gif|bmp|avif|npy|npz|idx)(\.gz)?$|-ubyte(\.gz)?$/i;
const SAMPLES = 2; // pictures that a model's folder may have to show what it draws

const count = ({ kind, files }, pattern) => (kind === 'files' ? files.filter(({ path }) => pattern.test(path)).length : 0);

/** Whether these files are a model, and nothing to train on. */
export function isModel(source) {
  return count(source, MODEL) > 0 && count(source, PICTURE) <= SAMPLES;
}

/** Whether these files are pictures, and nothing of a model. */
export function isPictures(source) {
  return count(source, PICTURE) > 0 && count(source, OF_A_MODEL) === 0;
}
