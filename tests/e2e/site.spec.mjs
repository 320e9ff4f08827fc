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
    const module = await import(new URL('www/pkg/noiseball.js', document.baseURI).href);
    return Object.keys(await module.default());
  });
  expect(exports).toContain('memory');
});
