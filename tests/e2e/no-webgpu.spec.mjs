// Browsers as many readers have them: WebGPU switched off, or hidden because the page came over plain http.

import { DEVICE, expect, openPage, QUICK, test } from './browser.mjs';

const AUTO = QUICK.replace('device=cpu', 'device=auto');
const HOST = 'insecure.test';

test.use({
  launchOptions: [
    async ({ launchOptions, browserName }, use) => {
      const { args = [], firefoxUserPrefs = {}, ...others } = launchOptions;
      const off =
        browserName === 'chromium'
          ? {
              args: [
                ...args.filter((arg) => arg !== '--enable-unsafe-webgpu'),
                '--disable-features=WebGPU',
                `--host-resolver-rules=MAP ${HOST} 127.0.0.1`,
              ],
            }
          : { args, firefoxUserPrefs: { ...firefoxUserPrefs, 'dom.webgpu.enabled': false, 'network.dns.localDomains': HOST } };
      await use({ ...others, ...off });
    },
    { scope: 'worker', option: true },
  ],
});

test('with WebGPU switched off the page runs on the CPU and says why', async ({ page }) => {
  await openPage(page, AUTO);
  await expect(page.locator(DEVICE)).toHaveText(/^Running on the CPU: (this browser has no WebGPU|your browser found no usable GPU)\./);
});

test('over plain http the page says that https is missing, not WebGPU, and runs', async ({ page, baseURL }) => {
  await openPage(page, AUTO, baseURL.replace('localhost', HOST));
  await expect(page.locator(DEVICE)).toHaveText(/^Running on the CPU: this page came over plain http/);
  await page.locator('#link').click(); // no clipboard without https
  await expect(page.locator('#link')).toHaveText('Copy it from the address bar');
});
