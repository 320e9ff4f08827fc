// From words to pictures: a pipeline that Python saved, on both devices, and the page with the model that comes with it.

import { caseOf, filesOf, optionsOf, relativeError } from '../js/golden-pipelines.mjs';
import { enter, expect, finished, picture, test } from './browser.mjs';

const FIELD = '#stage .prompt input >> nth=0';

test('a pipeline gives Python’s picture, on the CPU and on the GPU', async ({ page }) => {
  const golden = caseOf('sd1_negative');
  const files = filesOf(golden);
  const requests = [];
  await page.route('**/pipeline/**', (route) => {
    const path = new URL(route.request().url()).pathname.split('/pipeline/')[1];
    requests.push(path);
    return path in files ? route.fulfill({ body: Buffer.from(files[path]) }) : route.fulfill({ status: 404 });
  });
  await page.route('**/blank.html', (route) => route.fulfill({ contentType: 'text/html', body: '<!doctype html><title>blog</title>' }));
  await page.goto('./blank.html');
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

test('words written on the page become pictures, and the link has them', async ({ page }) => {
  await page.goto('./#model=www/models/emoji-64/&prompt=a red heart&steps=2&batch=1&guidance=4&sampler=ddim&seed=5&speed=fast&device=cpu');
  await finished(page);
  await expect(page.locator(FIELD)).toHaveValue('a red heart');
  await expect(page.locator('#stage .words')).toContainText('3 of 30 tokens');
  await expect(page.getByRole('img', { name: /^Pictures of emoji-64: a red heart\. Step 2 of 2: finished/ })).toBeVisible();
  const before = await picture(page);
  await enter(page, FIELD, 'a zzyzx star');
  await expect(page.getByRole('img', { name: /: a zzyzx star\. Step 2 of 2: finished/ })).toBeVisible();
  expect(await picture(page)).not.toBe(before);
  await expect(page.locator('#stage .words span').nth(1)).toHaveText(/z·/);
  expect(new URLSearchParams(new URL(page.url()).hash.slice(1)).get('prompt')).toBe('a zzyzx star');
});
