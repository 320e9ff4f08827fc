// What becomes of an element when its page is left and come back to, when it is out of sight, and where there is little memory.

import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { chromium } from '@playwright/test';
import { root } from '../../tools/setup/shell.mjs';
import { checkpoints, expect, servedBelow, test } from './browser.mjs';

const HTML =
  '<!doctype html><html lang="en"><meta charset="utf-8"><title>blog</title><script type="module" src="./www/elements.js"></script>';

/** A page with this body, beside the built site and a small model. */
async function blog(page, body) {
  await servedBelow(page, '/model/', `${checkpoints}layout-a/`);
  await page.route('**/blog.html', (route) => route.fulfill({ contentType: 'text/html', body: HTML + body }));
  await page.goto('./blog.html');
}

const sampler = (page) => page.locator('diffusion-sampler');
const finished = (page) => expect(sampler(page).getByText(/Finished at step/)).toBeVisible();

// The page is left and comes back by its own script, and tells a server what it saw: Playwright loses hold of a page that is kept meanwhile.
const LEFT = `
  const errors = [];
  addEventListener('error', ({ message }) => errors.push(message));
  addEventListener('unhandledrejection', ({ reason }) => errors.push(String(reason)));
  console.error = (...words) => errors.push(words.join(' '));
  const element = document.querySelector('diffusion-sampler');
  element.addEventListener('error', ({ detail }) => errors.push(detail.message));
  addEventListener('pageshow', async ({ persisted }) => {
    if (!persisted && !sessionStorage.left) {
      element.addEventListener('step', ({ detail }) => {
        if (detail.index === 4) location.href = 'elsewhere.html';
        sessionStorage.left = 'yes';
      });
      await customElements.whenDefined('diffusion-sampler');
      element.run();
      return;
    }
    await customElements.whenDefined('diffusion-sampler');
    const { running } = element;
    Object.assign(element, { speed: 'fast', steps: 3 });
    const finished = await element.run();
    fetch('report', { method: 'POST', body: JSON.stringify({ persisted, running, finished, errors }) });
  });`;

for (const device of ['cpu', 'gpu']) {
  test(`a page that is left in the midst of a run on the ${device.toUpperCase()} works when the reader comes back`, async ({
    browserName,
    page: own,
    launchOptions,
  }) => {
    test.skip(browserName === 'firefox' && device === 'gpu', 'its software adapter takes long, and it keeps the page as with the CPU');
    const body = `<diffusion-sampler src="./model/" device="${device}" steps="40" speed="slow"></diffusion-sampler><script>${LEFT}</script>`;
    const pages = { 'blog.html': HTML + body, 'elsewhere.html': '<!doctype html><script>setTimeout(() => history.back(), 300)</script>' };
    let report;
    const reported = new Promise((resolve) => (report = resolve));
    const server = createServer((request, response) => {
      const path = new URL(request.url, 'http://localhost').pathname.slice(1);
      if (path === 'report') return request.on('data', (data) => report(JSON.parse(data))).on('end', () => response.end());
      const file = path.replace(/^model\//, `${checkpoints}layout-a/`).replace(/^www\//, `${root}/dist/www/`);
      const found = path in pages || (file !== path && existsSync(file));
      const type = { js: 'text/javascript', wasm: 'application/wasm', html: 'text/html' }[path.split('.').at(-1)];
      response.writeHead(found ? 200 : 404, { 'content-type': type ?? 'application/octet-stream' });
      response.end(found ? (pages[path] ?? readFileSync(file)) : '');
    }).listen(0, 'localhost');
    await once(server, 'listening');
    // Playwright turns the cache of pages off in Chromium.
    const ignoreDefaultArgs = ['--disable-back-forward-cache'];
    const browser = browserName === 'chromium' ? await chromium.launch({ ...launchOptions, ignoreDefaultArgs }) : null;
    try {
      const page = (await browser?.newPage()) ?? own;
      await page.goto(`http://localhost:${server.address().port}/blog.html`);
      const { persisted, ...seen } = await reported;
      console.log(`  ${browserName}, ${device}: the page was ${persisted ? 'kept' : 'loaded anew'}`);
      expect(seen).toEqual({ running: persisted, finished: true, errors: [] });
    } finally {
      await browser?.close();
      server.closeAllConnections();
      server.close();
    }
  });
}

test('a run waits while it is out of sight, and goes on when it is seen; it never holds the page up', async ({ page, browserName }) => {
  await page.addInitScript(() => {
    window.longest = 0;
    const look = (list) => (window.longest = Math.max(window.longest, ...list.getEntries().map(({ duration }) => duration)));
    if (PerformanceObserver.supportedEntryTypes.includes('longtask')) new PerformanceObserver(look).observe({ type: 'longtask' });
  });
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
  if (browserName === 'firefox') return; // tells of no long tasks
  const longest = await page.evaluate(() => window.longest);
  console.log(`  the page's longest task: ${longest > 0 ? `${longest} ms` : 'less than 50 ms'}`);
  // On a quiet machine it is below 50; docs/benchmarks.md has figures.
  expect(longest).toBeLessThan(500);
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

  const weights = [];
  page.on('request', (request) => /safetensors\?again/.test(request.url()) && weights.push(request.url()));
  await page.evaluate(() => Object.defineProperty(Navigator.prototype, 'deviceMemory', { get: () => 0.0001 }));
  await sampler(page).evaluate((element) => (element.src = './model/?again'));
  await expect(sampler(page).locator('[part=error]')).toContainText('There is too little memory for this model.');
  await sampler(page).getByText('Details').click();
  await expect(sampler(page).locator('[part=error]')).toContainText(/needs about \d+ kB of memory, and a tab may take 27 kB/);
  expect(weights).toEqual([]); // its config has said enough
});
