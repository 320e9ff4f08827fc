// The JavaScript API in a page of somebody else's, with the real engine.

import { expect, test } from './browser.mjs';

test.beforeEach(async ({ page }) => {
  // A page of this origin without the site's own script.
  await page.route('**/blank.html', (route) => route.fulfill({ contentType: 'text/html', body: '<!doctype html><title>blog</title>' }));
  await page.goto('./blank.html');
  await page.evaluate(async () => {
    const { Noiseball } = await import(new URL('./www/noiseball.js', document.baseURI).href);
    window.Noiseball = Noiseball;
    window.load = (options) => Noiseball.load('./www/models/pixel-faces-16/', { device: 'cpu', ...options });
    window.run = async (model, options) => {
      const steps = [];
      for await (const step of model.sample({ sampler: 'ddim', steps: 3, seed: 1, batch: 1, labels: [model.info.nullLabel], ...options }))
        steps.push(step);
      return steps;
    };
    window.typeOf = (promise) =>
      promise.then(
        () => 'no error',
        (error) => `${error.name}: ${error.type}`,
      );
  });
});

test('a step holds what the types say', async ({ page }) => {
  const seen = await page.evaluate(async () => {
    const model = await load();
    const steps = await run(model, { batch: 2 });
    const about = ({ pictures, predicted, latents, ...others }) => ({
      ...others,
      pictures: [pictures.constructor.name, pictures.length],
      predicted: [predicted.constructor.name, predicted.length],
      latents: latents && [latents.constructor.name, latents.length, latents.every(Number.isFinite)],
    });
    return { info: model.info, steps: steps.map(about) };
  });
  const { width, height, channels } = seen.info;
  const bytes = ['Uint8ClampedArray', 2 * width * height * 4];
  expect(seen.steps.map(({ index, total }) => [index, total])).toEqual([
    [0, 3],
    [1, 3],
    [2, 3],
  ]);
  for (const step of seen.steps) expect(step).toMatchObject({ batch: 2, width, height, pictures: bytes, predicted: bytes });
  expect(seen.steps.map(({ latents }) => latents ?? null)).toEqual([null, null, ['Float32Array', 2 * channels * width * height, true]]);
  const times = seen.steps.map(({ timestep }) => timestep);
  expect(times).toEqual([...times].sort((a, b) => b - a));
  expect(seen.steps[0].noise).toBeGreaterThan(seen.steps[2].noise);
  expect(seen.steps[2].noise).toBeGreaterThan(0);
  expect(Object.keys(seen.info).sort()).toEqual([
    'activationBytes',
    'channels',
    'classes',
    'device',
    'flops',
    'height',
    'labels',
    'memory',
    'name',
    'notes',
    'nullLabel',
    'parameters',
    'sampler',
    'scheduler',
    'trainTimesteps',
    'unknownKeys',
    'width',
  ]);
});

test('two runs at once on one model: the second is refused and the first is not disturbed', async ({ page }) => {
  const result = await page.evaluate(async () => {
    const model = await load();
    const alone = await run(model);
    const first = run(model);
    const second = await typeOf(run(model));
    const same = (await first).at(-1).latents.every((value, i) => value === alone.at(-1).latents[i]);
    return { second, same };
  });
  expect(result).toEqual({ second: 'NoiseballError: busy', same: true });
});

test('two models sample side by side', async ({ page }) => {
  const result = await page.evaluate(async () => {
    const [a, b] = await Promise.all([load(), load()]);
    const alone = await run(a);
    const [left, right] = await Promise.all([run(a), run(b)]);
    return [left, right].every((steps) => steps.at(-1).latents.every((value, i) => value === alone.at(-1).latents[i]));
  });
  expect(result).toBe(true);
});

test('disposing in a run, aborting in a run and in a load: all typed, and the next load works', async ({ page }) => {
  const types = await page.evaluate(async () => {
    const seen = {};
    const model = await load();
    const running = typeOf(run(model, { steps: 500 }));
    setTimeout(() => model.dispose(), 300);
    seen.dispose = await running;
    seen.afterwards = await typeOf(run(model));

    const other = await load();
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 300);
    seen.abort = await typeOf(run(other, { steps: 500, signal: stop.signal }));
    seen.usable = (await run(other)).length;

    for (const stage of ['download', 'compile']) {
      const controller = new AbortController();
      seen[stage] = await typeOf(
        load({ signal: controller.signal, onProgress: (progress) => progress.stage === stage && controller.abort() }),
      );
    }
    seen.next = (await run(await load())).length;
    return seen;
  });
  expect(types).toEqual({
    dispose: 'NoiseballError: disposed',
    afterwards: 'NoiseballError: disposed',
    abort: 'NoiseballError: aborted',
    usable: 3,
    download: 'NoiseballError: aborted',
    compile: 'NoiseballError: aborted',
    next: 3,
  });
});

const wrong = {
  sampler: { sampler: 'magic' },
  steps: { steps: 0 },
  batch: { batch: 0 },
  eta: { sampler: 'ddim', eta: -1 },
  seed: { seed: -1 },
  rng: { rng: 'dice' },
  labels: { labels: [999] },
};

test('each wrong option is an invalid option that names it, and the model stays usable', async ({ page }) => {
  const results = await page.evaluate(async (wrong) => {
    const model = await load();
    const results = [];
    for (const [name, given] of Object.entries(wrong)) {
      const error = await run(model, given).catch(({ type, message }) => ({ type, message }));
      results.push({ name, error, usable: (await run(model)).length });
    }
    return results;
  }, wrong);
  expect(results.length).toBe(Object.keys(wrong).length);
  for (const { name, error, usable } of results) {
    expect(error, name).toMatchObject({ type: 'invalid-option', message: expect.stringContaining(name) });
    expect(usable, name).toBe(3);
  }
});

test('a page of another site can load the engine from a CDN', async ({ page, baseURL }) => {
  // The files' own origin, as a CDN answers: readable by everyone.
  const cdn = baseURL.replace('localhost', '127.0.0.1');
  await page.route(`${cdn}**`, async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, headers: { ...response.headers(), 'access-control-allow-origin': '*' } });
  });
  const count = await page.evaluate(async (base) => {
    const { Noiseball } = await import(`${base}www/noiseball.js`);
    const model = await Noiseball.load(`${base}www/models/pixel-faces-16/`, { device: 'cpu' });
    return (await run(model)).length;
  }, cdn);
  expect(count).toBe(3);
});
