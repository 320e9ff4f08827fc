// Which device runs, and what the page says where WebGPU is absent.

import { expect, finished, notice, openPage, QUICK, test } from './browser.mjs';

const AUTO = QUICK.replace('device=cpu', 'device=auto');
const GPU = QUICK.replace('device=cpu', 'device=gpu');

test('with WebGPU the adapter is named, and the CPU can be chosen instead', async ({ page }) => {
  await openPage(page, GPU); // by itself the page would not take an adapter in software
  await expect(page.locator('#device-report')).toHaveText(/^Runs on the GPU: .{3,}\.$/);
  await page.locator('#device').selectOption('cpu');
  await expect(page.locator('#device-report')).toHaveText('Runs on the CPU.');
  await finished(page);
  expect(page.url()).toContain('device=cpu');
});

test('a browser without WebGPU runs on the CPU and says that this is why', async ({ page }) => {
  await withoutWebGpu(page, 'delete WorkerNavigator.prototype.gpu;');
  await openPage(page, AUTO);
  await expect(page.locator('#device-report')).toHaveText(/^Runs on the CPU, because this browser does not offer WebGPU\b/);
});

test('a browser without an adapter runs on the CPU and says that this is why', async ({ page }) => {
  await withoutWebGpu(page, 'GPU.prototype.requestAdapter = async () => null;');
  await openPage(page, AUTO);
  await expect(page.locator('#device-report')).toHaveText(/^Runs on the CPU, because the browser has WebGPU but found no graphics adapter/);
});

test('asking for a GPU that is not there is an error; the model that runs stays', async ({ page }) => {
  await withoutWebGpu(page, 'delete WorkerNavigator.prototype.gpu;');
  await openPage(page);
  await page.locator('#device').selectOption('gpu');
  await expect(notice(page)).toContainText('This browser has no WebGPU.');
  await expect(page.locator('#device')).toHaveValue('cpu');
  await page.locator('#run').click();
  await finished(page);
  await expect(notice(page)).toBeHidden();
});

test('a link that asks for a missing GPU leaves the page usable', async ({ page }) => {
  await withoutWebGpu(page, 'delete WorkerNavigator.prototype.gpu;');
  await page.goto(`./${GPU}`);
  await expect(notice(page)).toContainText('This browser has no WebGPU.');
  await expect(page.locator('#status')).toHaveText('No model is loaded.');
  await page.locator('#device').selectOption('cpu');
  await finished(page);
});

/** Runs `script` at the top of the page's worker. */
async function withoutWebGpu(page, script) {
  await page.route('**/www/worker.js', async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: `${script}\n${await response.text()}` });
  });
}
