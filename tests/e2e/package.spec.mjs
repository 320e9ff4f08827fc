// The packed package in other people's pages: built by every bundler, without one, and from another origin, also under strict
// Content-Security-Policies. tests/bundlers/build.mjs builds the apps.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test as base, expect } from '@playwright/test';
import { serve } from '../../tools/build/serve.mjs';
import { root } from '../../tools/setup/shell.mjs';

const apps = join(root, 'target', 'bundlers', 'apps');
const EVERY = ['vite', 'webpack', 'esbuild', 'rollup', 'parcel', 'bare'];
const trains = existsSync(join(apps, 'bare-train'));

/** The sum of the bytes of the picture that every app must get. */
const PICTURE = 206540;

const test = base.extend({
  /** Serves a folder with these headers on every file, at a port of its own; gives the address. */
  // biome-ignore lint/correctness/noEmptyPattern: Playwright reads from this pattern what a fixture needs
  site: async ({}, use) => {
    const sites = [];
    await use(async (folder, headers = {}) => {
      const site = await serve({ folder, headers, port: 0, host: '127.0.0.1' });
      sites.push(site);
      return site.url;
    });
    for (const { close } of sites) await close();
  },
});

test.beforeAll(() => {
  if (!existsSync(apps)) throw new Error('the apps are not built: `node tests/bundlers/build.mjs`');
});

/** Opens an app's page, which has the name of the app or `index`. */
async function open(page, url, name) {
  const file = existsSync(join(apps, `${name}`, `${name.split('-')[1]}.html`)) ? `${name.split('-')[1]}.html` : 'index.html';
  await page.goto(`${url}${file}`);
}

/** What a function of the page gives, or its error. */
function call(page, name) {
  return page.evaluate(
    (name) =>
      globalThis[name]().then(
        (result) => ({ result }),
        ({ type, message }) => ({ type, message }),
      ),
    name,
  );
}

for (const bundler of EVERY) {
  test(`${bundler}: the app samples`, async ({ page, site }) => {
    await open(page, await site(join(apps, `${bundler}-sample`)), `${bundler}-sample`);
    expect(await call(page, 'sample')).toEqual({ result: PICTURE });
  });

  test(`${bundler}: the app reads bundled pictures and plans a training run`, async ({ page, site }) => {
    test.skip(!trains, 'the training module was not built');
    await open(page, await site(join(apps, `${bundler}-train`)), `${bundler}-train`);
    expect(await call(page, 'plan')).toEqual({ result: { count: 1797, parameters: expect.any(Number) } });
  });
}

for (const bundler of ['vite', 'webpack']) {
  test(`${bundler}: the app samples the model that it imports`, async ({ page, site }) => {
    const policy = { 'content-security-policy': SAME };
    await open(page, await site(join(apps, `${bundler}-model`), policy), `${bundler}-model`);
    expect(await call(page, 'sample')).toEqual({ result: PICTURE });
  });
}

for (const bundler of ['vite', 'esbuild']) {
  test(`${bundler}: the app’s element draws when its button is pressed`, async ({ page, site }) => {
    await open(page, await site(join(apps, `${bundler}-elements`)), `${bundler}-elements`);
    await page.getByRole('button', { name: 'Run: A face' }).click();
    await expect(page.getByRole('img', { name: 'A face (long bright hair). Step 2 of 2: finished' })).toBeVisible();
  });
}

test('a bundle without the package’s files says what to copy', async ({ page, site }) => {
  await open(page, await site(join(apps, 'forgetful-sample')), 'forgetful-sample');
  const { type, message } = await call(page, 'sample');
  expect(type).toBe('fetch');
  expect(message).toContain('copy the folder www/ of the package and tell its address to loadFilesFrom');
});

/** Policies as docs/embedding.md gives them, and what happens where a part of them is missing. */
const SAME = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'";
const other = (origin) =>
  `default-src 'none'; script-src 'self' ${origin} 'wasm-unsafe-eval'; worker-src blob: ${origin}; connect-src 'self' ${origin}`;

test.describe('Content-Security-Policy, same origin', () => {
  const sampled = async ({ page, site }, policy) => {
    // An inline import map would need a policy of its own: a bundle is as pages with strict policies have it.
    await open(page, await site(join(apps, 'vite-sample'), { 'content-security-policy': policy }), 'vite-sample');
    return call(page, 'sample');
  };

  test('the documented one suffices', async ({ page, site }) => {
    expect(await sampled({ page, site }, SAME)).toEqual({ result: PICTURE });
  });

  for (const [part, without, says] of [
    [
      "'wasm-unsafe-eval'",
      SAME.replace(" 'wasm-unsafe-eval'", ''),
      /does not allow WebAssembly\. Add 'wasm-unsafe-eval' to its script-src/,
    ],
    ['worker-src', SAME.replace("worker-src 'self'", "worker-src 'none'"), /Add 'self' to its worker-src/],
    ['connect-src', SAME.replace("connect-src 'self'", "connect-src 'none'"), /Add 'self' to its connect-src/],
  ]) {
    test(`without ${part} the error says so`, async ({ page, site }) => {
      const { type, message } = await sampled({ page, site }, without);
      expect(message).toMatch(says);
      expect(type).toBe('content-security-policy');
    });
  }
});

/** What the example gives on a page of one origin that imports the package from another. */
async function sampledFrom(page, cdn) {
  return page.evaluate(async (cdn) => {
    try {
      const { Noiseball } = await import(`${cdn}noiseball/noiseball.js`);
      const model = await Noiseball.load('./model/', { device: 'cpu' });
      let last;
      for await (const step of model.sample({ sampler: 'ddim', steps: 2, seed: 7, labels: [3] })) last = step;
      return { result: last.pictures.reduce((sum, value) => sum + value, 0) };
    } catch ({ type, message }) {
      return { type, message };
    }
  }, cdn);
}

test.describe('from another origin', () => {
  const sampled = async ({ page, site }, policyOf) => {
    const folder = join(apps, 'bare-sample');
    const cdn = await site(folder, { 'access-control-allow-origin': '*' });
    const origin = cdn.slice(0, -1);
    const policy = policyOf(origin);
    await page.goto(`${await site(folder, policy ? { 'content-security-policy': policy } : {})}blank.html`);
    return { origin, ...(await sampledFrom(page, cdn)) };
  };

  test('it samples', async ({ page, site }) => {
    expect(await sampled({ page, site }, () => null)).toMatchObject({ result: PICTURE });
  });

  test('the documented policy suffices', async ({ page, site }) => {
    expect(await sampled({ page, site }, other)).toMatchObject({ result: PICTURE });
  });

  for (const [part, without, says, needless] of [
    ["'wasm-unsafe-eval'", (policy) => policy.replace(" 'wasm-unsafe-eval'", ''), () => "Add 'wasm-unsafe-eval' to its script-src"],
    ['blob:', (policy) => policy.replace('worker-src blob:', 'worker-src'), () => 'Add blob: to its worker-src'],
    [
      'its origin for workers',
      (policy, origin) => policy.replace(`worker-src blob: ${origin}`, 'worker-src blob:'),
      (origin) => `Add ${origin} to its worker-src`,
      'chromium', // takes script-src for what a worker imports
    ],
    [
      'its origin to connect to',
      (policy, origin) => policy.replace(`connect-src 'self' ${origin}`, "connect-src 'self'"),
      (origin) => `Add ${origin} to its connect-src`,
    ],
  ]) {
    test(`without ${part} the error says so`, async ({ page, site, browserName }) => {
      test.skip(browserName === needless, 'this browser does without');
      const { origin, type, message } = await sampled({ page, site }, (origin) => without(other(origin), origin));
      expect(message).toContain(says(origin));
      expect(type).toBe('content-security-policy');
    });
  }
});

for (const framework of ['react', 'vue', 'svelte']) {
  test(`${framework}: a component sets the element’s properties and hears its events`, async ({ page, site }) => {
    await page.goto(`${await site(join(apps, 'frameworks'))}${framework}.html`);
    await page.getByRole('button', { name: 'Run: A face' }).click();
    await expect(page.getByText('Drawn with seed 7')).toBeVisible();
    await page.getByRole('button', { name: 'Next seed' }).click();
    await expect(page.getByText('Drawn with seed 8')).toBeVisible();
    const element = page.locator('diffusion-sampler');
    expect(await element.evaluate(({ seed, steps, controls }) => [seed, steps, controls])).toEqual([8, 2, ['run', 'seed']]);
    await expect(element.getByRole('spinbutton', { name: 'Seed' })).toHaveValue('8');
    await expect(element.getByText('Class', { exact: true })).toBeHidden();
  });
}
