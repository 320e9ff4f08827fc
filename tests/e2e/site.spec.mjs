/** The built site as a whole: it loads from a sub-path with nothing missing and nothing thrown. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@playwright/test';
import { serve } from '../../tools/build/serve.mjs';
import { serviceWorker } from '../../tools/build/site.mjs';
import { root } from '../../tools/setup/shell.mjs';
import { finished, openPage, QUICK } from './browser.mjs';

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

test.describe('without a network', () => {
  test.use({ serviceWorkers: 'allow' });

  test('the page draws after its server has gone, and after an update it is wholly the new one', async ({ page }) => {
    const folder = mkdtempSync(join(tmpdir(), 'noiseball-offline-'));
    cpSync(join(root, 'dist'), folder, { recursive: true, filter: (path) => !path.endsWith('.gz') });
    // The versions differ by a script and the page.
    const version = (name) => {
      writeFileSync(join(folder, 'www', 'site', 'version.js'), `document.documentElement.dataset.script = '${name}';`);
      const html = readFileSync(join(root, 'dist', 'index.html'), 'utf8');
      const own = `<html lang="en" data-built data-page="${name}"><script type="module" src="./www/site/version.js"></script>`;
      writeFileSync(join(folder, 'index.html'), html.replace('<html lang="en" data-built>', own));
      writeFileSync(join(folder, 'sw.js'), serviceWorker(readFileSync(join(root, 'sw.js'), 'utf8'), folder));
    };
    const seen = () =>
      page.evaluate(() => ({ page: document.documentElement.dataset.page, script: document.documentElement.dataset.script }));
    version('one');
    const site = await serve({ folder, port: 0, host: '127.0.0.1' });
    await openPage(page, QUICK, site.url);
    await page.evaluate(() => navigator.serviceWorker.ready.then(() => {}));
    await page.reload();
    await finished(page);
    expect(await seen()).toEqual({ page: 'one', script: 'one' });

    version('two');
    await page.evaluate(async () => {
      const registration = await navigator.serviceWorker.ready;
      await registration.update();
      while (!registration.waiting) await new Promise((resolve) => setTimeout(resolve, 50));
    });
    expect(await page.evaluate(() => fetch('./www/site/version.js').then((response) => response.text()))).toContain('one');
    await page.reload();
    await expect.poll(seen).toEqual({ page: 'two', script: 'two' });
    await finished(page);

    await site.close();
    await page.reload();
    await finished(page);
    expect(await seen()).toEqual({ page: 'two', script: 'two' });
    rmSync(folder, { recursive: true });
  });
});
