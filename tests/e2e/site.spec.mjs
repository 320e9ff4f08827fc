/** The built site as a whole: it loads from a sub-path with nothing missing and nothing thrown. */
import { expect, test } from '@playwright/test';

test('the page loads from a sub-path without errors', async ({ page, baseURL }) => {
  const problems = [];
  page.on('pageerror', (error) => problems.push(`thrown: ${error.message}`));
  page.on('console', (message) => message.type() === 'error' && problems.push(`console: ${message.text()}`));
  page.on('requestfailed', (request) => problems.push(`failed: ${request.url()}`));
  page.on('response', (response) => response.status() >= 400 && problems.push(`${response.status()}: ${response.url()}`));
  page.on('request', (request) => request.url().startsWith(baseURL) || problems.push(`outside the site: ${request.url()}`));

  await page.goto('./');
  await page.waitForLoadState('networkidle');

  expect(problems).toEqual([]);
});

test('the wasm module starts in a page', async ({ page }) => {
  await page.goto('./');
  const exports = await page.evaluate(async () => {
    const at = (name) => new URL(`www/pkg/${name}`, document.baseURI).href;
    const module = await import(at('noiseball.js'));
    return Object.keys(await module.default({ module_or_path: at('noiseball_bg.wasm') }));
  });
  expect(exports).toContain('memory');
});
