// The models that come with the page, the first of which it begins with.

const folder = (name) => new URL(`../models/${name}/`, import.meta.url).href;

/**
 * Each as the page offers it: `name` is its folder's, `bytes` what opening it downloads, `poster` 64 of its samples, and
 * `setting` what its card recommends.
 */
export const MODELS = [
  {
    name: 'pixel-faces-16',
    title: 'Pixel faces',
    about: 'Faces of 16×16 pixels in sixteen classes',
    address: folder('pixel-faces-16'),
    poster: new URL('../models/pixel-faces-16/samples.png', import.meta.url).href,
    bytes: 3_711_918,
    setting: { sampler: 'unipc', steps: 20, guidance: 1 },
  },
  {
    name: 'kanji-32',
    title: 'Brush kanji',
    about: 'Characters that do not exist, 32×32 pixels in two hands',
    address: folder('kanji-32'),
    poster: new URL('../models/kanji-32/samples.png', import.meta.url).href,
    bytes: 6_813_454,
    setting: { sampler: 'ddim', steps: 20, guidance: 1.5 },
  },
  {
    name: 'emoji-64',
    title: 'Emoji from words',
    about: 'Write what it is to draw: 64×64 pixels, from words to a picture',
    address: folder('emoji-64'),
    poster: new URL('../models/emoji-64/samples.png', import.meta.url).href,
    bytes: 11_822_414,
    setting: { prompt: 'a cat face', sampler: 'ddim', steps: 8, guidance: 4, batch: 2 },
  },
];
