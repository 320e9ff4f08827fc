// Which device runs, and what the page says where WebGPU is absent.

import { existsSync } from 'node:fs';
import { checkpoints, DEVICE, expect, finished, inWorker, MOMENT, notice, openPage, picture, QUICK, RUN, test, enter } from './browser.mjs';

const AUTO = QUICK.replace('device=cpu', 'device=auto');
const GPU = QUICK.replace('device=cpu', 'device=gpu');

test('with WebGPU the adapter is named, and the CPU can be chosen instead', async ({ page }) => {
  await openPage(page, GPU); // by itself the page would not take an adapter in software
  await expect(page.locator(DEVICE)).toHaveText(/^Running on the GPU: .{3,}\.$/);
  await page.locator('#device').selectOption('cpu');
  await expect(page.locator(DEVICE)).toHaveText('Running on the CPU.');
  await finished(page);
  expect(page.url()).toContain('device=cpu');
});

test('a browser without WebGPU runs on the CPU and says that this is why', async ({ page }) => {
  await inWorker(page, 'delete WorkerNavigator.prototype.gpu;');
  await openPage(page, AUTO);
  await expect(page.locator(DEVICE)).toContainText('Running on the CPU: this browser has no WebGPU.');
});

test('a browser without an adapter runs on the CPU and says that this is why', async ({ page }) => {
  await inWorker(page, 'GPU.prototype.requestAdapter = async () => null;');
  await openPage(page, AUTO);
  await expect(page.locator(DEVICE)).toContainText('Running on the CPU: your browser found no usable GPU.');
});

test('asking for a GPU that is not there is an error; the model that runs stays', async ({ page }) => {
  await inWorker(page, 'delete WorkerNavigator.prototype.gpu;');
  await openPage(page);
  await page.locator('#device').selectOption('gpu');
  await expect(notice(page)).toContainText('This browser has no WebGPU.');
  await expect(page.locator('#device')).toHaveValue('cpu');
  await page.locator(RUN).click();
  await finished(page);
  await expect(notice(page)).toBeHidden();
});

test('a link that asks for a missing GPU leaves the page usable', async ({ page }) => {
  await inWorker(page, 'delete WorkerNavigator.prototype.gpu;');
  await page.goto(`./${GPU}`);
  await expect(notice(page)).toContainText('This browser has no WebGPU.');
  await expect(page.locator('#status')).toHaveText('No model is loaded.');
  await page.locator('#device').selectOption('cpu');
  await finished(page);
});

// An adapter in software passes for a card, with an exponential that is off.
const WRONG = `
  Object.defineProperty(GPUAdapterInfo.prototype, 'isFallbackAdapter', { get: () => false });
  const create = GPUDevice.prototype.createShaderModule;
  GPUDevice.prototype.createShaderModule = function ({ code, ...rest }) {
    return create.call(this, { ...rest, code: code.replaceAll('exp(-', '0.5 * exp(-') });
  };`;

test('a GPU that computes wrong pictures is not used, and the page says so', async ({ page }) => {
  await inWorker(page, WRONG);
  await openPage(page, AUTO);
  await expect(page.locator(DEVICE)).toContainText('Running on the CPU: this GPU computes wrong pictures here.');
  // Found out once, and remembered.
  await page.locator('#device').selectOption('gpu');
  await expect(notice(page)).toContainText('The GPU computes wrong pictures.');
});

// Takes the worker's GPU device away when told to, and answers when it is gone.
const LOSABLE = `
  let device;
  const request = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = async function (...options) {
    return (device = await request.apply(this, options));
  };
  const channel = new BroadcastChannel('lose');
  channel.onmessage = async () => {
    device.destroy();
    await device.lost;
    channel.postMessage('gone');
  };`;

function lose(page) {
  return page.evaluate(() => {
    const channel = new BroadcastChannel('lose');
    channel.postMessage('please');
    return new Promise((resolve) => (channel.onmessage = resolve)).then(() => channel.close());
  });
}

test('a run whose device is lost begins anew on another, and one lost between runs goes unnoticed', async ({ page }) => {
  await inWorker(page, LOSABLE);
  // A smaller network in place of the first model: an adapter in software compiles its shaders anew on each device.
  await page.route('**/www/models/pixel-faces-16/**', (route) => {
    const file = `${checkpoints}layout-a/${route.request().url().split('/pixel-faces-16/')[1]}`;
    return existsSync(file) ? route.fulfill({ path: file }) : route.fulfill({ status: 404 });
  });
  await openPage(page, GPU);
  const before = await picture(page);
  await enter(page, '#steps', '900');
  await expect(page.locator(MOMENT)).toHaveText(/^Step [3-9]\d* of 900/);
  await page.evaluate(() => {
    window.began = 0;
    document.getElementById('stage').addEventListener('step', ({ detail }) => (window.began += detail.index === 1 ? 1 : 0));
  });
  await lose(page);
  await expect.poll(() => page.evaluate(() => window.began)).toBe(1);
  await expect(notice(page)).toBeHidden();
  await page.keyboard.press('Escape');
  await expect(page.locator('#status')).toHaveText(/^Stopped/);
  await enter(page, '#steps', '4');
  await finished(page);
  expect(await picture(page)).toBe(before);
  await lose(page);
  await page.locator(RUN).click();
  await expect(page.locator(RUN)).toHaveText('Stop');
  await finished(page);
  await expect(notice(page)).toBeHidden();
  await expect(page.locator(DEVICE)).toHaveText(/^Running on the GPU/);
  expect(await picture(page)).toBe(before);
});
