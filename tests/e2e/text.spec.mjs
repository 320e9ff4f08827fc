// From words to pictures: a pipeline that Python saved, on both devices, and the page with the model that comes with it.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { caseOf, filesOf, optionsOf, relativeError } from '../js/golden-pipelines.mjs';
import { png, RGB } from '../../tools/png.mjs';
import { enter, expect, finished, picture, test } from './browser.mjs';

const FIELD = '#stage .prompt input >> nth=0';

/** A page of its own with the files of a pipeline beside it; resolves to what is asked for of them. */
async function openBeside(page, golden) {
  const files = filesOf(golden);
  const requests = [];
  await page.route('**/pipeline/**', (route) => {
    const path = new URL(route.request().url()).pathname.split('/pipeline/')[1];
    requests.push(path);
    return path in files ? route.fulfill({ body: Buffer.from(files[path]) }) : route.fulfill({ status: 404 });
  });
  await page.route('**/blank.html', (route) => route.fulfill({ contentType: 'text/html', body: '<!doctype html><title>blog</title>' }));
  await page.goto('./blank.html');
  return requests;
}

test('a pipeline gives Python’s picture, on the CPU and on the GPU', async ({ page }) => {
  const golden = caseOf('sd1_negative');
  const requests = await openBeside(page, golden);
  for (const [device, bound] of Object.entries({ cpu: 1e-4, gpu: 1e-3 })) {
    const { info, words, steps } = await page.evaluate(
      async ({ device, options }) => {
        const { Noiseball } = await import(new URL('./www/noiseball.js', document.baseURI).href);
        const model = await Noiseball.load('./pipeline/', { device });
        const words = await model.tokens('A cat, seen');
        const steps = [];
        for await (const { index, total, width, height, decoded, start } of model.sample(options))
          steps.push({ index, total, width, height, decoded: decoded && [...decoded], start: start?.length });
        const { info } = model;
        model.dispose();
        return { info, words, steps };
      },
      { device, options: optionsOf(golden) },
    );
    expect(info.device.kind).toBe(device);
    expect(info.pipeline).toMatchObject({ className: 'StableDiffusionPipeline', prompt: true, scaleFactor: 2 });
    expect(words.words.map(({ text }) => text)).toEqual(['a', 'cat,', 'seen']);
    expect(steps.map(({ index, start }) => [index, start])).toEqual(steps.map((_, i) => [i, i === 0 ? 4 * 8 * 8 : undefined]));
    expect(relativeError(steps.at(-1).decoded, golden.picture.values)).toBeLessThan(bound);
  }
  expect(requests.filter((path) => path === 'unet/diffusion_pytorch_model.safetensors').length).toBeGreaterThan(0);
});

test('the module that a pipeline does not need ends while it is still arriving, and nobody is told of an error', async ({
  page,
  browserName,
}) => {
  let [begun, ended] = [0, 0];
  const slow = createServer((_request, response) => {
    begun++;
    response.on('close', () => ended++);
    response.writeHead(200, { 'content-type': 'application/wasm', 'access-control-allow-origin': '*' });
    response.write(readFileSync('dist/www/pkg/noiseball_bg.wasm').subarray(0, 1 << 16)); // and no more
  });
  await new Promise((done) => slow.listen(0, '127.0.0.1', done));
  await page.route('**/pkg/noiseball_bg.wasm', (route) => route.continue({ url: `http://localhost:${slow.address().port}/` }));
  await openBeside(page, caseOf('sd1_negative'));
  await page.evaluate(async () => {
    const { Noiseball } = await import(new URL('./www/noiseball.js', document.baseURI).href);
    const model = await Noiseball.load('./pipeline/', { device: 'cpu' });
    model.dispose();
  });
  expect(begun).toBe(1);
  // Firefox keeps the connection of a request that a test has sent elsewhere.
  if (browserName === 'chromium') await expect.poll(() => ended).toBe(1);
  slow.closeAllConnections();
  await new Promise((done) => slow.close(done));
});

test('words written on the page become pictures, and the link has them', async ({ page }) => {
  await page.goto('./#model=www/models/emoji-64/&prompt=a red heart&steps=2&batch=1&guidance=4&sampler=ddim&seed=5&speed=fast&device=cpu');
  await finished(page);
  await expect(page.locator(FIELD)).toHaveValue('a red heart');
  await expect(page.locator('#stage .words')).toContainText('3 of 30 tokens');
  await expect(page.getByRole('img', { name: /^Pictures of emoji-64: a red heart\. Step 2 of 2: finished/ })).toBeVisible();
  await expectWordsToShowTheirMaps(page);
  const before = await picture(page);
  await enter(page, FIELD, 'a zzyzx star');
  await expect(page.getByRole('img', { name: /: a zzyzx star\. Step 2 of 2: finished/ })).toBeVisible();
  expect(await picture(page)).not.toBe(before);
  await expect(page.locator('#stage .words span').nth(1)).toHaveText(/z·/);
  expect(new URLSearchParams(new URL(page.url()).hash.slice(1)).get('prompt')).toBe('a zzyzx star');
});

test('a part that a run loads moves the page’s bar once from 0 to 1', async ({ page }) => {
  await page.goto('./#model=www/models/emoji-64/&prompt=a red heart&steps=2&batch=1&sampler=ddim&speed=fast&device=cpu');
  await finished(page);
  const bar = page.getByRole('progressbar', { name: 'Loading the model' });
  await expect(bar).toBeHidden();
  // The encoder is first needed by a run that begins with a picture.
  const seen = await page.evaluate(async () => {
    const [stage, bar, status] = ['stage', 'progress', 'status'].map((id) => document.getElementById(id));
    const seen = { values: [], told: [], said: new Set() };
    new MutationObserver(() => {
      if (!bar.hidden) seen.values.push(bar.value);
      seen.said.add(status.textContent);
    }).observe(bar, { attributes: true });
    stage.addEventListener('progress', ({ detail }) => seen.told.push(detail.totalProgress));
    stage.initPicture = await createImageBitmap(new ImageData(64, 64));
    await stage.run();
    await new Promise((resolve) => setTimeout(resolve));
    return { ...seen, said: [...seen.said] };
  });
  expect([seen.told[0], seen.told.at(-1)]).toEqual([0, 1]);
  expect(seen.told).toEqual(seen.told.toSorted((a, b) => a - b));
  expect(seen.values.length).toBeGreaterThan(1);
  expect(seen.values).toEqual(seen.values.toSorted((a, b) => a - b));
  expect(seen.said).toContain('Loading a part of emoji-64…');
  await expect(bar).toBeHidden();
});

/** By pointer, by keyboard and by a press, and said in words. */
async function expectWordsToShowTheirMaps(page) {
  const words = page.getByRole('toolbar', { name: /^Words of the prompt/ }).getByRole('button');
  const [map, said] = [page.locator('#stage .map'), page.locator('#stage .acts .said')];
  await expect(words).toHaveText(['a', 'red', 'heart']);
  await expect(map).toBeHidden();
  await words.nth(2).hover();
  await expect(map).toBeVisible();
  await expect(said).toHaveText(/^So far “heart” acted .+ the picture, with up to [\d.]+ % of the attention\.$/);
  const heart = await map.evaluate((canvas) => canvas.toDataURL());
  await page.mouse.move(1, 1);
  await expect(map).toBeHidden();
  await words.nth(0).focus();
  await page.keyboard.press('ArrowRight');
  await expect(words.nth(1)).toBeFocused();
  await expect(said).toContainText('“red” acted');
  expect(await map.evaluate((canvas) => canvas.toDataURL())).not.toBe(heart);
  await page.keyboard.press('Enter');
  await page.keyboard.press('Tab');
  await expect(words.nth(1)).toHaveAttribute('aria-pressed', 'true');
  await expect(map).toBeVisible();
  await page.locator('#stage .acts select').selectOption('in this step');
  await expect(said).toContainText('In this step “red” acted');
  await words.nth(1).click();
  await expect(map).toBeHidden();
}

test('a reader gives a picture to begin with, and paints over what is made anew', async ({ page }) => {
  const html = `<!doctype html><title>blog</title><script type="module" src="www/elements.js"></script>
    <diffusion-sampler src="www/models/pixel-faces-16/" controls="run init mask" batch="1" steps="2" speed="fast" device="cpu"></diffusion-sampler>`;
  await page.route('**/blank.html', (route) => route.fulfill({ contentType: 'text/html', body: html }));
  await page.goto('./blank.html');
  const run = () =>
    page.evaluate(async () => {
      const element = document.querySelector('diffusion-sampler');
      const done = await element.run();
      const bitmap = await createImageBitmap(await element.toBlob());
      const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
      const context = canvas.getContext('2d');
      context.drawImage(bitmap, 0, 0);
      const at = (x, y) => [...context.getImageData((x + 0.5) * (bitmap.width / 16), (y + 0.5) * (bitmap.width / 16), 1, 1).data];
      return { done, corner: at(15, 15), middle: at(8, 8) };
    });
  expect((await run()).done).toBe(true);
  const green = [40, 160, 90, 255];
  const file = {
    name: 'green.png',
    mimeType: 'image/png',
    buffer: png(24, 24, RGB, Array(24).fill(Buffer.from(Array(24).fill(green.slice(0, 3)).flat()))),
  };
  const group = page.getByRole('group', { name: 'A picture to begin with' });
  const finish = page.evaluate(
    () => new Promise((done) => document.querySelector('diffusion-sampler').addEventListener('finish', () => done(true))),
  );
  await group.locator('input[type=file]').setInputFiles(file);
  expect(await finish).toBe(true);
  await expect(group.getByText('Made anew: 80 %')).toBeVisible();
  const canvas = group.getByRole('application', { name: /^The picture\. Arrow keys/ });
  await canvas.focus();
  await page.keyboard.press('Space');
  await expect(group.getByText('4 of 256 pixels are made anew, the others kept.')).toBeVisible();
  await expect(group.getByText('Made anew: 100 %')).toBeVisible();
  const { done, corner, middle } = await run();
  expect(done).toBe(true);
  expect(corner).toEqual(green);
  expect(middle).not.toEqual(green);
  await group.getByRole('button', { name: 'Without a picture' }).click();
  await expect(canvas).toBeHidden();
  await group.locator('input[type=file]').setInputFiles({ name: 'no.png', mimeType: 'image/png', buffer: Buffer.from('no picture') });
  await expect(page.getByRole('alert')).toContainText('A setting of this model is wrong.');
});
