// The elements as page authors meet them: one table. It makes the types (www/elements.d.ts) and the tables of docs/embedding.md
// (tools/build/elements.mjs), and tests hold the implementation to it. What attributes may be is in attributes.js, so that pages need not
// load the descriptions. Names and meanings follow google/model-viewer's wherever it has the thing.

import { ATTRIBUTES } from './attributes.js';
import { SAMPLERS } from '../samplers.js';
import { BUNDLED } from '../training.js';

/** Attributes with what they mean. */
function described(tag, meanings) {
  return Object.fromEntries(Object.entries(ATTRIBUTES[tag]).map(([name, row]) => [name, { ...row, about: meanings[name] }]));
}

export const ELEMENTS = {
  'diffusion-sampler': {
    name: 'DiffusionSampler',
    about: 'A model that turns noise into pictures where the reader asks for it.',
    attributes: described('diffusion-sampler', {
      src: 'The model: the address of a folder, relative to the page or absolute, or `hf:org/name[@revision][/subfolder]` on the Hugging Face hub.',
      alt: 'What the pictures show, for those who do not see them.',
      poster: 'Address of a picture to show until the model runs.',
      loading: '`lazy`: the model is downloaded when it is first needed. `eager`: at once. `auto` is `lazy`.',
      reveal:
        'When the first run begins: when the reader presses Run; `auto`: when the element comes into view; `manual`: when `run()` or `dismissPoster()` is called.',
      controls:
        'What the reader can see and change once the model runs: names with spaces between them, or nothing for pictures alone. `init` lets them drop or choose a picture to begin with, `mask` paint over what of it is made anew. `files` lets them drop or choose a model’s folder of their own, `save` offers the pictures or the run as a file, `embed` what shows it in another page.',
      batch: 'How many pictures at a time.',
      seed: 'Which noise a run starts from. The same seed, the same pictures.',
      prompt: 'What the pictures are to show, in words, where the model takes words.',
      'negative-prompt': 'What they are not to show.',
      init: 'Address of a picture to begin with, where the model takes one; its middle is scaled to the model’s size. Another site must let yours read it.',
      strength:
        'How much is made anew of the picture, above 0 to 1: of N steps the last ⌊N · strength⌋ are made. Left out, 0.8, and 1 with a mask.',
      mask: 'Address of a picture that is white and opaque where the other is made anew; the rest is kept.',
      label:
        'Which class, where the model has classes: its name or number, `any`, or `each` for one of each in turn. Left out, `any` or else `each`.',
      sampler: `How the noise is taken away: ${SAMPLERS.map(({ name }) => `\`${name}\``).join(', ')}. Left out, it is the one that the model's own scheduler stands for, or \`ddim\` where that one goes through all timesteps.`,
      steps: 'In how many steps. No more than the model was trained with.',
      guidance:
        'How strongly the pictures keep to their prompt or class, where the model also knows an answer without one: 1 is as it was trained, more is clearer and less varied. Left out, 1, and for a model that takes words what Python’s pipeline has.',
      options: 'The sampler’s own options, by the names of `samplers()`: `solverOrder=3,grid=karras`. Left out, as the model’s files say.',
      rng: 'Which random generator: `philox`, the same on every device, or `torch`, whose noise for a seed is that of PyTorch.',
      speed: 'How fast a run is shown, so that noise is seen becoming pictures: `fast` is as fast as it is computed.',
      guess: 'Whether the network’s guess of the finished pictures, x̂₀, stands beside them.',
      attention:
        'Whether the words of the prompt stand under the pictures, for the reader to see where in them each acted: pointed at, focused or pressed, it shows its map of the network’s cross-attention.',
      device: '`auto`: the GPU, or the CPU where there is none; the element says why.',
      variant: 'Which of several weights, as in Python: `fp16`.',
      integrity:
        'Hashes of the model’s files by their paths, as JSON: `{"unet/config.json": "sha256-…"}`. A file that is another one, or has none, is refused.',
    }),
    /** Read-only, but those that say `writable`. */
    properties: {
      source: {
        type: 'Source | null',
        writable: true,
        about:
          'What to load in place of `src`: anything that `Noiseball.load` takes, such as a map of paths to addresses, which bundlers can carry along. The element loads it and frees it.',
      },
      model: {
        type: 'Noiseball | Promise<Noiseball> | null',
        writable: true,
        about: 'A model that the page has loaded itself, or is loading, in place of `source` and `src`. It stays the page’s to dispose of.',
      },
      initPicture: {
        type: 'ImageBitmapSource | null',
        writable: true,
        about: 'A picture to begin with in place of `init`: a file, pixels, a canvas. What the reader drops or chooses is here, too.',
      },
      maskPicture: { type: 'ImageBitmapSource | null', writable: true, about: 'The same in place of `mask`.' },
      loaded: { type: 'boolean', about: 'Whether the model is ready to run.' },
      running: { type: 'boolean', about: 'Whether a run is going on, or waits to be seen.' },
      info: { type: 'ModelInfo | null', about: 'What the model is and where it runs; null until it is loaded.' },
    },
    methods: {
      run: {
        type: '(): Promise<boolean>',
        about:
          'Starts a run in place of the one in progress, and loads the model first where that is needed. Resolves at its end: true if it finished, false if it was stopped or failed. It does not reject; failures are `error` events.',
      },
      stop: { type: '(): void', about: 'Stops the load or run in progress, within one evaluation of the network.' },
      dismissPoster: { type: '(): void', about: 'As if the reader had pressed Run.' },
      toBlob: {
        type: '(options?: { mimeType?: string; qualityArgument?: number }): Promise<Blob | null>',
        about:
          'The pictures on show as a file, PNG unless told; null while there are none. `image/gif` and, where the browser records it, `video/webm` give the run as a film.',
      },
      toDataURL: { type: '(type?: string, encoderOptions?: number): string | null', about: 'The same as a `data:` address.' },
      embed: {
        type: '(): Promise<void>',
        about:
          'Opens what hands out the lines that show it in another page, as the button `embed` of `controls` does. Resolves when that is closed.',
      },
    },
    events: {
      progress: {
        detail: '{ totalProgress: number }',
        about: 'Loading: download and preparation together, from 0 once up to 1.',
      },
      load: { detail: '{ info: ModelInfo }', about: 'The model is ready.' },
      'poster-dismissed': { detail: 'null', about: 'The poster gave way to the model’s pictures.' },
      'init-change': { detail: 'null', about: 'The reader gave another picture to begin with, or none, or painted on it.' },
      start: { detail: 'null', about: 'A run begins, in place of one that was going on, or waits for its model.' },
      step: {
        detail: '{ index: number; total: number; batch: number }',
        about: 'A step was taken: `index` of `total`, from 1, of `batch` pictures. It may not be on show yet.',
      },
      finish: {
        detail: '{ seed: number; milliseconds: number; batch: number }',
        about:
          'A run of `batch` pictures came to its end; `milliseconds` is how long it was computed, without the time that its states were on show.',
      },
      stop: { detail: '{ index: number; total: number } | null', about: 'A run was stopped after that step, or before its first.' },
      error: {
        detail: '{ type: ErrorType; message: string; sourceError: Error }',
        about: 'Loading or a run failed. The element says so, too, and offers to try again.',
      },
    },
    slots: {
      '': 'What there is to see without JavaScript, in feeds, and in print before the first run.',
      poster: 'In place of `poster`: any element.',
      below: 'What is to stand below the pictures and their slider.',
      'guess-poster': 'The same for the guess, where `guess` is on.',
      'progress-bar': 'In place of the bar, for your own on `progress` events.',
    },
    parts: {
      frame: 'Around the pictures',
      canvas: 'The pictures, and the guess',
      names: 'The names of the classes under the pictures',
      words: 'The words of the prompt, where `attention` is on',
      map: 'Where a word acted, over the pictures',
      poster: 'The poster',
      'run-button': 'Run over the poster, and Run or Stop below the pictures',
      'progress-bar': 'The bar',
      controls: 'Everything below the pictures',
      error: 'What is said when something failed',
    },
    customProperties: {
      '--noiseball-accent': 'Colour of the main button, of sliders and of the bar',
      '--noiseball-on-accent': 'Colour of the main button’s text',
      '--noiseball-radius': 'Corners of the frame, a length',
      '--noiseball-poster-color': 'Colour behind the poster and the pictures',
      '--noiseball-aspect': 'Width by height of the frame, 1 unless set',
    },
  },

  'diffusion-trainer': {
    name: 'DiffusionTrainer',
    about: 'Trains a small model in the reader’s tab, on pictures or points, and shows what it has learned so far.',
    attributes: described('diffusion-trainer', {
      dataset: `What to train on: ${BUNDLED.map((name) => `\`${name}\``).join(', ')}, or the address of a ZIP archive of pictures, whose folders are classes. Readers can drop their own.`,
      alt: 'What the pictures show, for those who do not see them.',
      poster: 'Address of a picture to show until the training begins.',
      reveal: 'When training begins: when the reader presses Train; `manual`: when `run()` or `dismissPoster()` is called.',
      controls: 'What the reader can see and do: names with spaces between them, or nothing for pictures alone.',
      preset:
        'Which network: `tiny`, `small` or `medium`, and for points a data set’s name with an objective, such as `moons-flow`. Left out, one that suits the data.',
      steps: 'How many steps. Left out, the preset’s.',
      batch: 'Pictures of a step. Left out, the preset’s.',
      seed: 'Which random numbers. The same seed on the same device, the same model.',
      size: 'Height and width in pixels that pictures are brought to. Left out, their own, up to 32.',
      device: '`auto`: the GPU, or the CPU where there is none, and for points.',
    }),
    properties: {
      loaded: { type: 'boolean', about: 'Whether the data set is read.' },
      running: { type: 'boolean', about: 'Whether a run loads, goes on or is paused.' },
      info: { type: 'DataInfo | null', about: 'What it trains on; null until that is read.' },
      training: { type: 'TrainingProgress | null', about: 'Where the run is; null before the first.' },
    },
    methods: {
      run: {
        type: '(): Promise<boolean>',
        about:
          'Trains from the start, in place of the run in progress. Resolves at its end: true if it was done or finished early, false if it was replaced or failed. It does not reject; failures are `error` events.',
      },
      pause: { type: '(): Promise<void>', about: 'Holds the training.' },
      resume: { type: '(): Promise<void>', about: 'Goes on.' },
      stop: { type: '(): Promise<void>', about: 'Finishes early: the model is what it has learned so far.' },
      dismissPoster: { type: '(): void', about: 'As if the reader had pressed Train.' },
      export: {
        type: '(): Promise<Blob | null>',
        about: 'The model as a ZIP archive of a diffusers folder, for Python and for `<diffusion-sampler>`; null before the first run.',
      },
      toBlob: {
        type: '(options?: { mimeType?: string; qualityArgument?: number }): Promise<Blob | null>',
        about: 'The pictures on show as a file, PNG unless told; null while there are none.',
      },
      toDataURL: { type: '(type?: string, encoderOptions?: number): string | null', about: 'The same as a `data:` address.' },
      embed: {
        type: '(): Promise<void>',
        about:
          'Opens what hands out the lines that show it in another page, as the button `embed` of `controls` does. Resolves when that is closed.',
      },
    },
    events: {
      progress: {
        detail: '{ totalProgress: number }',
        about: 'Loading: the training program and the data together, from 0 once up to 1.',
      },
      load: { detail: '{ info: DataInfo }', about: 'The data set is read.' },
      'poster-dismissed': { detail: 'null', about: 'The poster gave way to the first pictures.' },
      step: { detail: '{ step: number; steps: number; loss: number }', about: 'Some steps were taken; the loss is smoothed.' },
      frame: { detail: '{ step: number }', about: 'Pictures were drawn from the noise that is the same each time.' },
      finish: { detail: '{ step: number; steps: number }', about: 'The training came to its end.' },
      error: {
        detail: '{ type: ErrorType; message: string; sourceError: Error }',
        about: 'Loading or training failed. The element says so, too, and offers to try again.',
      },
    },
    slots: {
      '': 'What there is to see without JavaScript, in feeds, and in print before the training.',
      poster: 'In place of `poster`: any element.',
      'progress-bar': 'In place of the bar, for your own on `progress` events.',
    },
    parts: {
      frame: 'Around the pictures',
      canvas: 'The pictures or the points',
      names: 'The names of the classes under the pictures',
      poster: 'The poster',
      'run-button': 'Train over the poster, and Train, Pause or Resume below the pictures',
      'progress-bar': 'The bar',
      controls: 'Everything below the pictures',
      chart: 'The loss',
      nearest: 'The nearest of the training pictures',
      error: 'What is said when something failed',
    },
    customProperties: {
      '--noiseball-accent': 'Colour of the main button, of sliders, of the bar, of the loss and of points',
      '--noiseball-on-accent': 'Colour of the main button’s text',
      '--noiseball-radius': 'Corners of the frame, a length',
      '--noiseball-poster-color': 'Colour behind the poster and the pictures',
    },
  },

  'diffusion-process': {
    name: 'DiffusionProcess',
    about:
      'The forward process: what noise does to a picture or a cloud of points, step by step, and the nudge to the origin that keeps its variance.',
    attributes: described('diffusion-process', {
      src: 'Address of a picture. Left out, points.',
      alt: 'What the pictures show, for those who do not see them.',
      data: 'Which cloud of points, where there is no `src`. Its variance is 1.',
      schedule: 'How much noise each of the 1000 steps adds, by diffusers’ names: DDPM’s, or the cosine of Nichol and Dhariwal.',
      nudge:
        'Whether each step also shrinks what is there, by √(1 − β), towards the origin. Without it the variance grows with every step.',
      noise: 'How far the process is, by the variance of the noise: 0 none, 1 that of the last step.',
      seed: 'Which noise.',
      controls: 'What there is beside the picture or the points: names with spaces between them.',
    }),
    properties: {
      loaded: { type: 'boolean', about: 'Whether it is drawn.' },
      timestep: { type: 'number', about: 'How many of the 1000 steps are taken.' },
      variance: { type: 'number', about: 'Variance of the values on show, measured.' },
    },
    methods: {
      play: {
        type: '(): Promise<void>',
        about:
          'Adds noise to the end, from the start where it is there already, in some five seconds. Resolves when that is done or paused.',
      },
      pause: { type: '(): void', about: 'Holds it.' },
      toBlob: {
        type: '(options?: { mimeType?: string; qualityArgument?: number }): Promise<Blob | null>',
        about: 'The picture or the points on show as a file, PNG unless told; null before they are drawn.',
      },
      embed: {
        type: '(): Promise<void>',
        about:
          'Opens what hands out the lines that show it in another page, as the button `embed` of `controls` does. Resolves when that is closed.',
      },
    },
    events: {
      load: { detail: 'null', about: 'It is drawn.' },
      'noise-change': { detail: '{ timestep: number; variance: number }', about: 'The amount of noise, or the nudge, changed.' },
      error: {
        detail: '{ type: ErrorType; message: string; sourceError: Error }',
        about: 'The picture could not be had. The element says so, too, and offers to try again.',
      },
    },
    slots: { '': 'What there is to see without JavaScript and in feeds.' },
    parts: {
      canvas: 'The picture or the points',
      histogram: 'The histogram',
      controls: 'Everything below them',
      error: 'What is said when something failed',
    },
    customProperties: {
      '--noiseball-accent': 'Colour of the points, the bars, the main button and the slider',
      '--noiseball-on-accent': 'Colour of the main button’s text',
      '--noiseball-radius': 'Corners of the frames, a length',
      '--noiseball-poster-color': 'Colour behind the points',
    },
  },
};
