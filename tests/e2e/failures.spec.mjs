// What can go wrong on the way to each element: a short sentence is shown, `error` fires with its type, and another try works.

import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { png, RGB } from '../../tools/png.mjs';
import { root } from '../../tools/setup/shell.mjs';
import { zip } from '../../tools/zip.mjs';
import { checkpoints, expect, inWorker, test as base } from './browser.mjs';

const dist = join(root, 'dist');
const dot = png(8, 8, RGB, Array(8).fill(Buffer.alloc(24, 99)));

/** Each element, what it is to get from `address`, and how it is seen to have got it. */
const ELEMENTS = {
  sampler: {
    html: (address) => `<diffusion-sampler src="${address}" device="cpu" steps="1" batch="1" speed="fast"></diffusion-sampler>`,
    files: (path) => (existsSync(`${checkpoints}layout-a${path}`) ? readFileSync(`${checkpoints}layout-a${path}`) : null),
    path: '/',
    attribute: 'src',
    button: 'Run the model',
    done: /Finished at step/,
    what: 'The model could not be downloaded.',
    offline: 'You are offline, so the model cannot be downloaded.',
    corrupt: ['The model’s files are incomplete or damaged.', 'checkpoint'],
  },
  trainer: {
    html: (address) => `<diffusion-trainer dataset="${address}" preset="tiny" device="cpu" steps="1" batch="1"></diffusion-trainer>`,
    files: () => zip([{ path: 'a/0.png', bytes: dot }]),
    path: '/data.zip',
    attribute: 'dataset',
    button: 'Train a model',
    done: 'Done: 1 step.',
    what: 'The training program or its data could not be downloaded.',
    offline: 'You are offline, so the training program or its data cannot be downloaded.',
    corrupt: ['There is nothing here to train on.', 'dataset'],
  },
  process: {
    html: (address) => `<diffusion-process src="${address}"></diffusion-process>`,
    files: () => dot,
    path: '/picture.png',
    attribute: 'src',
    done: /^Step 0 of 1000/,
    what: 'The picture could not be loaded.',
    offline: 'You are offline, so the picture cannot be loaded.',
    corrupt: ['The picture could not be loaded.', 'fetch'],
  },
};

/** What a page may not have in private windows and frames without an origin: every kind of storage throws. */
const DENIED = `
  const denied = () => { throw new DOMException('The operation is insecure.', 'SecurityError'); };
  for (const name of ['caches', 'indexedDB', 'localStorage', 'sessionStorage'])
    Object.defineProperty(globalThis, name, { get: denied, configurable: true });
  if (globalThis.StorageManager) StorageManager.prototype.getDirectory = async () => denied();`;

/** What a full disk does. */
const FULL = `
  const full = () => { throw new DOMException('Quota exceeded.', 'QuotaExceededError'); };
  if (globalThis.Cache) Cache.prototype.put = async () => full();
  if (globalThis.FileSystemSyncAccessHandle) FileSystemSyncAccessHandle.prototype.write = full;`;

const test = base.extend({
  /** Opens a page with this body, which is served and not made up: to Chromium such a page is no neighbour of other servers here. */
  blog: async ({ page }, use) => {
    const name = `failures-${process.pid}.html`;
    await use(async (body) => {
      await page.addInitScript(() => {
        window.errors = [];
        document.addEventListener('error', ({ detail }) => detail?.type && window.errors.push(detail.type), { capture: true });
        const { matchMedia } = window;
        window.matchMedia = (query) => (query.includes('reduced-motion') ? { matches: true } : matchMedia.call(window, query));
      });
      const head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>blog</title>';
      writeFileSync(join(dist, name), `${head}<script type="module" src="./www/elements.js"></script>${body}`);
      // A part of the elements that a test holds back holds back the event load, too, in Firefox.
      await page.goto(`./${name}`, { waitUntil: 'domcontentloaded' });
      await page.evaluate(() => customElements.whenDefined('diffusion-process').then(() => {}));
    });
    rmSync(join(dist, name), { force: true });
  },
});

for (const [kind, { html, files, path, attribute, button, done, what, offline, corrupt }] of Object.entries(ELEMENTS)) {
  test(`<diffusion-${kind}>: missing, forbidden, damaged or cut off, it says so, and the next try works`, async ({ page, blog }) => {
    const mood = { status: 404, cors: true };
    const server = createServer((request, response) => {
      if (mood.cors) response.setHeader('access-control-allow-origin', '*');
      if (mood.cut) return request.socket.destroy();
      const body = mood.status === 200 ? files(request.url) : null;
      if (!body) return response.writeHead(mood.status === 200 ? 404 : mood.status).end();
      response.end(mood.corrupt ? Buffer.alloc(200, 255) : body);
    });
    await new Promise((listens) => server.listen(0, '127.0.0.1', listens));
    const address = `http://localhost:${server.address().port}${path}`;
    await blog(html(address));
    const element = page.locator(`diffusion-${kind}`);
    const error = element.locator('[part=error]');
    const seen = async (sentence, type) => {
      await expect(error.locator('p').first()).toHaveText(sentence);
      await expect.poll(() => page.evaluate(() => window.errors.splice(0))).toEqual([type]);
      await expect(error.getByRole('button', { name: 'Try again' })).toBeVisible();
    };
    const again = async (change) => {
      Object.assign(mood, change);
      await error.getByRole('button', { name: 'Try again' }).click();
    };
    if (kind === 'sampler') await expect(element.getByText(`downloaded from ${new URL(address).host}`)).toBeVisible();
    if (button) await element.getByRole('button', { name: button }).click();
    await seen(what, 'fetch');
    await again({ status: 500 });
    await seen(what, 'fetch');
    await again({ status: 200, cors: false });
    await seen(what, 'fetch');
    await expect(error.locator('details p')).toContainText('Access-Control-Allow-Origin');
    await again({ cors: true, corrupt: true });
    await seen(...corrupt);
    await page.evaluate(() => Object.defineProperty(navigator, 'onLine', { value: false, configurable: true }));
    await again({ corrupt: false, cut: true });
    await seen(offline, 'fetch');
    await page.evaluate(() => Reflect.deleteProperty(navigator, 'onLine'));
    await again({ cut: false });
    await expect(element.getByText(done).first()).toBeAttached();
    await expect(error).toBeHidden();
    // No address at all; and a setting that is changed is another way to try.
    await element.evaluate((element, name) => element.setAttribute(name, 'http://'), attribute);
    await expect.poll(() => page.evaluate(() => window.errors.splice(0))).toEqual(['invalid-option']);
    await expect(error.locator('details p')).toContainText(`${attribute}="http://" is no address`);
    if (kind === 'sampler') {
      await element.evaluate((element) => element.removeAttribute('src'));
      await expect(error.locator('p').first()).toHaveText('A setting of this model is wrong.');
    }
    await element.evaluate((element, [name, address]) => element.setAttribute(name, address), [attribute, address]);
    await expect(error).toBeHidden();
    server.closeAllConnections();
    server.close();
  });
}

for (const [what, script] of [
  ['where every kind of storage is denied', DENIED],
  ['where the disk is full', FULL],
]) {
  test(`${what} the elements work all the same`, async ({ page, blog }) => {
    await inWorker(page, script, '**/worker.js');
    await page.addInitScript(script);
    const [{ html: samples, ...sampler }, { html: trains, ...trainer }] = [ELEMENTS.sampler, ELEMENTS.trainer];
    await blog(samples('./www/models/pixel-faces-16/') + trains('digits'));
    await page.getByRole('button', { name: sampler.button }).click();
    await expect(page.locator('diffusion-sampler').getByText(sampler.done).first()).toBeAttached();
    await page.getByRole('button', { name: trainer.button }).click();
    await expect(page.locator('diffusion-trainer').getByText(trainer.done).first()).toBeVisible();
    expect(await page.evaluate(() => window.errors)).toEqual([]);
  });
}

test('without WebGPU the elements run on the CPU and say why; where the author wants nothing else they say that', async ({
  page,
  blog,
}) => {
  await inWorker(page, 'delete WorkerNavigator.prototype.gpu;');
  await blog(ELEMENTS.sampler.html('./www/models/pixel-faces-16/').replace('device="cpu"', 'device="gpu"'));
  const sampler = page.locator('diffusion-sampler');
  await page.getByRole('button', { name: 'Run the model' }).click();
  await expect(sampler.locator('[part=error] p').first()).toHaveText('This browser has no WebGPU, and the page wants nothing else.');
  expect(await page.evaluate(() => window.errors)).toEqual(['no-webgpu']);
  await sampler.evaluate((element) => (element.device = 'auto'));
  await expect(sampler.getByText('Running on the CPU: this browser has no WebGPU.')).toBeVisible();
  await expect(sampler.locator('[part=error]')).toBeHidden();
});

test('a picture that the page’s policy refuses, or that is not there, is said to be that', async ({ page, blog, problems }) => {
  const refused = 'https://pictures.example/picture.png';
  const begin = ELEMENTS.sampler.html('./www/models/pixel-faces-16/').replace('steps="1"', `steps="2" init="${refused}"`);
  await blog(`<meta http-equiv="Content-Security-Policy" content="img-src 'self'">${ELEMENTS.process.html(refused)}${begin}`);
  const [process, sampler] = ['process', 'sampler'].map((kind) => page.locator(`diffusion-${kind} [part=error]`));
  await page.getByRole('button', { name: ELEMENTS.sampler.button }).click();
  for (const error of [process, sampler])
    await expect(error.locator('details p')).toHaveText(
      /refuses https:\/\/pictures\.example\/picture\.png\. Add https:\/\/pictures\.example to its img-src/,
    );
  await expect.poll(() => page.evaluate(() => window.errors)).toEqual(Array(2).fill('content-security-policy'));
  expect(problems.splice(0).join()).toContain('img-src'); // the browser's own word of it
  await page.locator('diffusion-sampler').evaluate((element) => (element.init = './no.png'));
  await expect(sampler.locator('p').first()).toHaveText('The picture could not be downloaded.');
  await page.locator('diffusion-sampler').evaluate((element) => (element.init = './www/elements/example.png'));
  await expect(page.locator('diffusion-sampler').getByText(ELEMENTS.sampler.done).first()).toBeAttached();
  await expect(sampler).toBeHidden();
});

test('a picture whose server never answers holds nobody: Stop ends the run, and another picture begins one', async ({ page, blog }) => {
  await page.route('**/never.png', () => {});
  const begin = ELEMENTS.sampler.html('./www/models/pixel-faces-16/').replace('steps="1"', 'steps="2" init="./never.png"');
  await blog(begin);
  const ended = await page.evaluate(async () => {
    const element = document.querySelector('diffusion-sampler');
    const run = element.run();
    await new Promise((loaded) => element.addEventListener('load', loaded, { once: true }));
    await new Promise((asked) => setTimeout(asked, 200));
    element.stop();
    const stopped = await run;
    const again = element.run();
    await new Promise((asked) => setTimeout(asked, 200));
    const finish = new Promise((finished) => element.addEventListener('finish', () => finished('finished'), { once: true }));
    element.init = './www/elements/example.png';
    return [stopped, await again, await finish, element.running];
  });
  expect(ended.slice(0, 3)).toEqual([false, false, 'finished']);
});

test('a part of the elements that does not come is said to be missing, and comes when it is asked for again', async ({
  page,
  blog,
  browserName,
}) => {
  let gone = true;
  let give;
  const given = new Promise((resolve) => (give = resolve));
  await page.route(/\/elements\/(sampling|process)\.js$/, (route) => (gone ? given.then(() => route.abort()) : route.fallback()));
  await blog(ELEMENTS.sampler.html('./www/models/pixel-faces-16/') + ELEMENTS.process.html('./www/elements/example.png'));
  await page.getByRole('button', { name: 'Run the model' }).click();
  await expect(page.getByRole('progressbar')).toBeVisible();
  give();
  for (const kind of ['sampler', 'process']) {
    const error = page.locator(`diffusion-${kind} [part=error]`);
    await expect(error.locator('p').first()).toHaveText(/^A part of this page could not be loaded\./);
    await expect(error.getByRole('button', { name: 'Try again' })).toBeVisible();
  }
  await expect(page.getByRole('progressbar')).toBeHidden();
  expect(await page.evaluate(() => window.errors)).toEqual(['fetch', 'fetch']);
  if (browserName === 'firefox') return; // remembers that a module did not come
  gone = false;
  for (const kind of ['sampler', 'process']) {
    await page.locator(`diffusion-${kind} [part=error]`).getByRole('button', { name: 'Try again' }).click();
    await expect(page.locator(`diffusion-${kind}`).getByText(ELEMENTS[kind].done).first()).toBeAttached();
  }
});

test('values that are not possible are named on the console, with those that are', async ({ page, blog }) => {
  const warnings = [];
  page.on('console', (message) => message.type() === 'warning' && warnings.push(message.text()));
  const wrong = 'sampler="euclid" label="smiling" options="solverOrder=9,eta=0.5" guidance="30"';
  await blog(
    ELEMENTS.sampler.html('./www/models/pixel-faces-16/').replace('src', `${wrong} src`) +
      ELEMENTS.trainer.html('digits').replace('tiny', 'huge') +
      '<diffusion-process data="torus"></diffusion-process>',
  );
  const sampler = page.locator('diffusion-sampler');
  await page.getByRole('button', { name: 'Run the model' }).click();
  await expect(sampler.getByText(/Finished at step/).first()).toBeAttached();
  await page.getByRole('button', { name: 'Train a model' }).click();
  await expect(page.locator('diffusion-trainer').getByText('Done: 1 step.').first()).toBeVisible();
  const said = (tag, name) => warnings.find((text) => text.startsWith(`<diffusion-${tag}>: ${name}=`));
  expect(said('sampler', 'guidance')).toContain('“1” is used instead. Allowed: a number from 0 to 20.');
  expect(said('sampler', 'sampler')).toMatch(/“ddim” is used instead. Allowed: ddpm, ddim, euler,/);
  expect(said('sampler', 'label')).toMatch(/"smiling" is not possible; it is left out. Allowed: any .*long hair/);
  expect(said('sampler', 'options')).toMatch(/options="solverOrder=9" is not possible; it is left out. Allowed: eta, /);
  expect(said('trainer', 'preset')).toContain('preset="huge" is not possible; it is left out. Allowed: tiny, small, medium.');
  expect(said('process', 'data')).toContain('“swiss-roll” is used instead. Allowed: swiss-roll, moons, ring, grid.');
  await sampler.evaluate((element) => Object.assign(element, { sampler: 'dpm-multistep', options: 'solverOrder=9' }));
  await expect.poll(() => warnings.some((text) => text.includes('Allowed: solverOrder= a whole number from 1 to 3.'))).toBe(true);
});
