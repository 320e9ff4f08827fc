// Checkpoints from addresses, over networks that fail.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { checkpoints, expect, finished, notice, openPage, QUICK, RUN, test, enter } from './browser.mjs';

/** Another origin with `layout-a` below /m/, which behaves as `mood` says. */
async function otherSite(mood = {}) {
  const requests = [];
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    if (mood.cors !== false) response.setHeader('access-control-allow-origin', '*');
    let body;
    try {
      body = readFileSync(`${checkpoints}layout-a/${request.url.replace('/m/', '')}`);
    } catch {
      return response.writeHead(404).end();
    }
    const weights = request.url.endsWith('.safetensors');
    response.writeHead(200, { 'content-length': body.length, etag: '"1"', 'access-control-expose-headers': 'etag' });
    if (request.method === 'HEAD') return response.end();
    if (weights && mood.cut > 0) {
      mood.cut--;
      return response.write(body.subarray(0, body.length / 2), () => setTimeout(() => response.destroy(), 50));
    }
    if (weights && mood.hang) return response.write(body.subarray(0, body.length / 2));
    response.end(body);
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const close = () => (server.closeAllConnections(), new Promise((done) => server.close(done)));
  return { url: `http://localhost:${server.address().port}/m/`, requests, mood, close };
}

async function loadAddress(page, url) {
  await enter(page, '#address', url);
}

test('an address on another site loads, is kept, and is only checked on the next visit', async ({ page }) => {
  const site = await otherSite();
  await openPage(page);
  await loadAddress(page, site.url);
  await expect(page.locator('#facts')).toContainText('Namem');
  await finished(page);
  expect(page.url()).toContain(`model=${encodeURIComponent(site.url)}`);
  expect(site.requests).toContain('GET /m/unet/diffusion_pytorch_model.safetensors');

  site.requests.length = 0;
  await page.reload();
  await expect(page.locator('#invitation')).toContainText(new URL(site.url).host);
  await finished(page);
  expect(site.requests, 'nothing is fetched from another site unasked').toEqual([]);
  await page.locator('#invitation-accept').click();
  await expect(page.locator('#facts')).toContainText('Namem');
  await finished(page);
  expect(site.requests.filter((line) => line.startsWith('GET'))).toEqual([]);

  await site.close();
  await page.reload();
  await page.locator('#invitation-accept').click();
  await expect(page.locator('#facts')).toContainText('Namem');

  const cached = page.locator('#cached');
  await expect(cached).toHaveText(/ for your next visit: \d+(\.\d)? MB now\.$/);
  await page.locator('#purge').click();
  await expect(cached).toHaveText(/ for your next visit\.$/);
  await expect(page.locator('#purge')).toHaveText('Deleted');
  expect(await page.evaluate(() => caches.keys())).toEqual([]);
});

test('a link’s model is asked for in sight, by its host alone, and is not forgotten', async ({ page }) => {
  const site = await otherSite();
  await page.setViewportSize({ width: 1280, height: 800 });
  const address = `${site.url}?x= from huggingface.co. You trusted it before`;
  const link = `./${QUICK}&model=${encodeURIComponent(address)}`;
  const invitation = page.locator('#invitation');
  const asked = async () => {
    await finished(page);
    await expect(page.locator('#invitation-host')).toHaveText(new URL(site.url).host);
    await expect(page.locator('#invitation-address')).toHaveText(site.url);
    await expect(invitation).not.toContainText('trusted');
    const { y, height } = await invitation.boundingBox();
    expect(y).toBeGreaterThanOrEqual(0);
    expect(y + height).toBeLessThanOrEqual(800);
    expect(page.url()).toContain(`model=${encodeURIComponent(site.url)}`);
    expect(page.url()).not.toContain('trusted');
  };
  await page.goto(link);
  await asked();
  await page.locator(RUN).click();
  await asked();
  await page.reload();
  await asked();
  expect(site.requests, 'nothing is fetched from another site unasked').toEqual([]);
  await page.locator('#invitation-decline').click();
  await expect(invitation).toBeHidden();
  expect(page.url()).not.toContain('model=');
  await site.close();
});

test('an address whose percent signs are no encoding is explained, not thrown', async ({ page }) => {
  const site = await otherSite();
  await openPage(page);
  await loadAddress(page, `${site.url}%E0%A4%A/`);
  await expect(notice(page)).toContainText('neither unet/config.json nor config.json is there');
  await site.close();
});

test('a missing model, a site that forbids reading, and a cut connection are each explained', async ({ page }) => {
  await openPage(page);
  const site = await otherSite();
  await loadAddress(page, site.url.replace('/m/', '/none/'));
  await expect(notice(page)).toContainText('neither unet/config.json nor config.json is there');

  const closed = await otherSite({ cors: false });
  await loadAddress(page, closed.url);
  await expect(notice(page)).toContainText('Access-Control-Allow-Origin');

  site.mood.cut = 2;
  await loadAddress(page, site.url);
  await expect(notice(page)).toContainText(/was cut after \d+ of \d+ bytes/);
  await expect(page.locator('#facts')).toContainText('pixel-faces-16');

  site.mood.cut = 1;
  await loadAddress(page, site.url);
  await expect(page.locator('#facts')).toContainText('Namem');
  await finished(page);
  await expect(notice(page)).toBeHidden();
  await Promise.all([site.close(), closed.close()]);
});

test('nonsense in the address field is explained', async ({ page }) => {
  await openPage(page);
  await loadAddress(page, 'ftp://example.org/model/');
  await expect(notice(page)).toContainText('neither a web address');
});

test('a load that hangs can be stopped, and the model before it still runs', async ({ page }) => {
  const site = await otherSite({ hang: true });
  await openPage(page);
  await loadAddress(page, site.url);
  await expect(page.locator('#status')).toHaveText(/^Loading m: /);
  await page.keyboard.press('Escape');
  await expect(page.locator('#status')).toHaveText('Loading was stopped.');
  await page.locator(RUN).click();
  await finished(page);
  await expect(page.locator('#facts')).toContainText('pixel-faces-16');
  await site.close();
});

test('a page whose engine is missing says so', async ({ page }) => {
  await page.route('**/pkg/noiseball_bg.wasm', (route) => route.fulfill({ status: 404 }));
  await page.goto(`./${QUICK}`);
  await expect(notice(page)).toContainText('The engine is missing');
});

test('a page whose worker is missing says so', async ({ page }) => {
  await page.route('**/pkg/noiseball.js', (route) => route.fulfill({ status: 404 }));
  await page.goto(`./${QUICK}`);
  await expect(notice(page)).toContainText("The worker's scripts could not be loaded");
});
