/**
 * The pictures that the page begins with, as its own first run draws them: the middle of the run, what the network then guesses, and
 * finished faces for the forward process. `node tools/data/posters.mjs` writes www/site/{poster,poster-guess,faces}.png after a build.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chromium as playwright } from '@playwright/test';
import { serve } from '../build/serve.mjs';
import { chromium, chromiumArguments } from '../setup/browsers.mjs';
import { root } from '../setup/shell.mjs';

const MIDDLE = 13; // of the steps: noise still, in which faces can be guessed

const site = await serve({ folder: root, only: ['index.html', 'www'], port: 0, host: '127.0.0.1' });
const browser = await playwright.launch({ executablePath: chromium().browser, args: chromiumArguments, chromiumSandbox: false });
const page = await browser.newPage();
await page.goto(`${site.url}www/site/icon.svg`);
const files = await page.evaluate(async (middle) => {
  const [{ Noiseball }, { drawGrid }, { readHash }, { MODELS }] = await Promise.all(
    ['noiseball.js', 'grid.js', 'site/state.js', 'site/models.js'].map((name) => import(`/www/${name}`)),
  );
  const [{ batch, seed }, { address, setting }] = [readHash(''), MODELS[0]];
  const model = await Noiseball.load(address, { device: 'cpu' });
  const png = (pixels, shape, below) => {
    const canvas = new OffscreenCanvas(1, 1);
    drawGrid(canvas, pixels, shape, undefined, below);
    return canvas
      .convertToBlob()
      .then((blob) => blob.bytes())
      .then((bytes) => [...bytes]);
  };
  const files = {};
  const labels = Array.from({ length: batch }, (_, i) => i);
  let x;
  for await (const step of model.sample({ ...setting, seed, batch, labels })) {
    if (step.index === middle) {
      const below = Math.ceil(step.height * 0.375); // where the page has the names
      files.poster = await png(x, step, below);
      files['poster-guess'] = await png(step.predicted, step, below);
    }
    x = step.pictures;
    if (step.index + 1 === step.total) files.faces = await png(x, step, 0);
  }
  return files;
}, MIDDLE);
await browser.close();
await site.close();
for (const [name, bytes] of Object.entries(files)) writeFileSync(join(root, 'www', 'site', `${name}.png`), Uint8Array.from(bytes));
