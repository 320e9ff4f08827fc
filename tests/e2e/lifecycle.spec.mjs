// What becomes of an element when its page is left and come back to, when it is out of sight, and where there is little memory.

import { chromium } from '@playwright/test';
import { checkpoints, expect, servedBelow, test } from './browser.mjs';

const HTML = '<!doctype html><html lang="en"><meta charset="utf-8"><title>blog</title><script type="module" src="./www/elements.js"></script>';

/** A page with this body, beside the built site and a small model. */
async function blog(page, body) {
  await servedBelow(page, '/model/', `${checkpoints}layout-a/`);
  await page.route('**/blog.html', (route) => route.fulfill({ contentType: 'text/html', body: HTML + body }));
  await page.route('**/elsewhere.html', (route) => route.fulfill({ contentType: 'text/html', body: '<!doctype html><title>elsewhere</title>' }));
  await page.goto('./blog.html');
}

const sampler = (page) => page.locator('diffusion-sampler');
const finished = (page) => expect(sampler(page).getByText(/Finished at step/)).toBeVisible();

for (const device of ['cpu', 'gpu']) {
  test(`a page that is left in the midst of a run on the ${device.toUpperCase()} works when the reader comes back`, async ({
    browserName,
    page: own,
    baseURL,
    launchOptions,
  }) => {
    // Playwright turns the cache of pages off in Chromium.
    const ignoreDefaultArgs = ['--disable-back-forward-cache'];
    const browser = browserName === 'chromium' ? await chromium.launch({ ...launchOptions, ignoreDefaultArgs }) : null;
    const page = browser ? await browser.newPage({ baseURL }) : own;
    try {
      const errors = [];
      page.on('pageerror', ({ message }) => errors.push(message));
      page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
      await blog(page, `<diffusion-sampler src="./model/" device="${device}" steps="40" speed="slow"></diffusion-sampler>`);
      await page.evaluate(() => {
        window.seen = [];
        addEventListener('pageshow', ({ persisted }) => window.seen.push(persisted));
      });
      await page.getByRole('button', { name: /^Run/ }).click();
      await expect(sampler(page).getByText(/^Step [2-9] of 40/)).toBeVisible();
      await page.goto('./elsewhere.html');
      await page.goBack();
      const kept = await page.evaluate(() => window.seen?.includes(true) ?? false);
      console.log(`  ${browserName}, ${device}: the page was ${kept ? 'kept' : 'loaded anew'}`);
      if (kept) {
        expect(await sampler(page).evaluate(({ running }) => running)).toBe(true);
        await sampler(page).evaluate((element) => (element.speed = 'fast'));
      } else {
        await page.getByRole('button', { name: /^Run/ }).click();
      }
      await sampler(page).evaluate((element) => (element.steps = 3));
      await finished(page);
      expect(errors).toEqual([]);
    } finally {
      await browser?.close();
    }
  });
}

test('a run waits while it is out of sight, and goes on when it is seen', async ({ page }) => {
  await blog(page, '<diffusion-sampler src="./model/" device="cpu" steps="300"></diffusion-sampler><p style="height: 300vh">Text</p>');
  await sampler(page).evaluate((element) => {
    window.steps = 0;
    element.addEventListener('step', ({ detail }) => (window.steps = detail.index));
  });
  await page.getByRole('button', { name: /^Run/ }).click();
  await expect.poll(() => page.evaluate(() => window.steps)).toBeGreaterThan(3);
  await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
  // Once it is known to be out of sight, at most the step under way and the one after it come.
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 300))));
  const before = await page.evaluate(() => window.steps);
  await page.waitForTimeout(700);
  expect((await page.evaluate(() => window.steps)) - before).toBeLessThanOrEqual(1);
  await page.evaluate(() => scrollTo(0, 0));
  await expect.poll(() => page.evaluate(() => window.steps)).toBeGreaterThan(before + 3);
});

test('with little memory a run draws fewer pictures and says so; a model that cannot fit is not downloaded', async ({ page }) => {
  const small = (gib) =>
    `Object.defineProperty(Navigator.prototype, 'deviceMemory', { get: () => ${gib}, configurable: true });
     Object.defineProperty(Navigator.prototype, 'userAgentData', { get: () => ({ mobile: true }), configurable: true });`;
  await page.addInitScript(small(0.002));
  await blog(page, '<diffusion-sampler src="./model/" device="cpu" steps="2" batch="64" speed="fast"></diffusion-sampler>');
  await page.getByRole('button', { name: /^Run/ }).click();
  await finished(page);
  await expect(sampler(page).getByText(/^Draws \d+ of 64 pictures: .* than a tab may take on this device, \d+ kB\.$/)).toBeVisible();
  const { batch, budget } = await sampler(page).evaluate(({ info }) => info.memory);
  expect(batch).toBeGreaterThan(0);
  expect(batch).toBeLessThan(64);
  expect(budget).toBe((0.002 * 2 ** 30) / 4);
  await sampler(page).evaluate((element) => (element.batch = 1));
  await expect(sampler(page).getByText(/^Draws \d+ of/)).toBeHidden();

  await page.evaluate(() => Object.defineProperty(Navigator.prototype, 'deviceMemory', { get: () => 0.0001 }));
  await sampler(page).evaluate((element) => (element.src = './model/?again'));
  await expect(sampler(page).locator('[part=error]')).toContainText('There is too little memory for this model.');
  await sampler(page).getByText('Details').click();
  await expect(sampler(page).locator('[part=error]')).toContainText(/needs about \d+ kB of memory, and a tab may take 27 kB/);
});
