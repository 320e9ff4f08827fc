// The elements in pages of somebody else's: by two lines, from the page's own origin and from another.

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import { root } from '../../tools/setup/shell.mjs';
import { serve } from '../../tools/build/serve.mjs';
import { test as base, expect } from './browser.mjs';

const dist = join(root, 'dist', 'www');
const MODEL = 'pixel-faces-16';

const test = base.extend({
  /** Serves these pages beside the model in ./model/; gives the address. */
  // biome-ignore lint/correctness/noEmptyPattern: Playwright reads from this pattern what a fixture needs
  blog: async ({}, use) => {
    const ends = [];
    await use(async (pages, headers = {}) => {
      const folder = mkdtempSync(join(tmpdir(), 'noiseball-blog-'));
      cpSync(join(dist, 'models', MODEL), join(folder, 'model'), { recursive: true });
      for (const [name, body] of Object.entries(pages)) writeFileSync(join(folder, name), body);
      const site = await serve({ folder, headers, port: 0, host: '127.0.0.1' });
      ends.push(async () => {
        await site.close();
        rmSync(folder, { recursive: true });
      });
      return site.url;
    });
    for (const end of ends) await end();
  },
  /** The package's folder on another origin. */
  // biome-ignore lint/correctness/noEmptyPattern: as above
  cdn: async ({}, use) => {
    const site = await serve({ folder: dist, headers: { 'access-control-allow-origin': '*' }, port: 0, host: '127.0.0.1' });
    await use(site.url.replace('localhost', '127.0.0.1'));
    await site.close();
  },
});

const page = (script, body, head = '') =>
  `<!doctype html><html lang="en"><meta charset="utf-8"><title>somebody’s blog</title>${head}<script type="module" src="${script}"></script>${body}`;
/** As docs/embedding.md gives it, for a package on another origin. */
const policy = (cdn) =>
  `default-src 'none'; script-src 'self' ${cdn} 'wasm-unsafe-eval'; worker-src blob: ${cdn}; connect-src 'self' ${cdn}; img-src 'self' data:`;
const SAMPLER = '<diffusion-sampler src="./model/" device="cpu" steps="2" alt="Faces"></diffusion-sampler>';

const sampler = (page) => page.locator('diffusion-sampler').first();
const runButton = (page) => sampler(page).getByRole('button', { name: /^Run/ });

/** Waits until the element's run has come to its end. */
async function finished(element) {
  await expect(element.getByText(/Finished at step/).last()).toBeVisible();
}

test('two lines, the package on another origin, a strict policy: nothing but the script and the poster before a reader asks', async ({
  page: tab,
  blog,
  cdn,
}) => {
  const requests = [];
  tab.on('request', (request) => requests.push(request.url()));
  const poster = '<img slot="poster" src="poster.png" alt="A face">';
  const pages = {
    'index.html': page(`${cdn}elements.js`, SAMPLER.replace('></d', `>${poster}</d`), '<link rel="icon" href="data:,">'),
    'poster.png': readFileSync(join(dist, 'elements', 'example.png')),
  };
  const url = await blog(pages, { 'content-security-policy': policy(cdn.slice(0, -1)) });
  await calm(tab);
  await tab.goto(url);
  await expect(runButton(tab)).toBeVisible();
  await tab.waitForLoadState('networkidle');
  const before = requests.splice(0).filter((address) => address !== url);
  const scripts = before.filter((address) => address.endsWith('.js'));
  expect(before.filter((address) => !scripts.includes(address)).filter((address) => !address.startsWith('data:'))).toEqual([
    `${url}poster.png`,
  ]);
  const bytes = scripts.reduce(
    (sum, address) => sum + gzipSync(readFileSync(join(dist, address.slice(cdn.length))), { level: 9 }).length,
    0,
  );
  console.log(`  ${scripts.length} scripts, ${bytes} bytes with gzip, before a reader asks`);
  expect(bytes).toBeLessThanOrEqual(12_000);
  expect(tab.workers()).toEqual([]);

  await runButton(tab).click();
  await finished(sampler(tab));
  const after = requests.filter((address) => !address.startsWith('blob:'));
  expect(after.filter((address) => !address.startsWith(cdn) && !address.startsWith(`${url}model/`))).toEqual([]);
  // The page and the worker each ask for the scripts that they share; what is large comes once.
  const large = after.filter((address) => /\.(wasm|safetensors)$/.test(address));
  expect(large.length).toBe(2);
  const more = [...new Set(after)].filter((address) => address.startsWith(cdn) && address.endsWith('.js') && !scripts.includes(address));
  console.log(`  ${more.length} more scripts, ${gzipped(more, cdn)} bytes with gzip, to sample`);
  const drawn = await sampler(tab).evaluate(async (element) => {
    const { size, type } = await element.toBlob();
    return { size, type, loaded: element.loaded, running: element.running, name: element.info.name };
  });
  expect(drawn).toEqual({ size: expect.any(Number), type: 'image/png', loaded: true, running: false, name: 'model' });
  expect(drawn.size).toBeGreaterThan(1000);
});

/** Bytes of scripts as a file host compresses them. */
function gzipped(addresses, base) {
  return addresses.reduce((sum, address) => sum + gzipSync(readFileSync(join(dist, address.slice(base.length))), { level: 9 }).length, 0);
}

test('ten elements share a worker and a model; put in and taken out 20 times, nothing is left', async ({ page: tab }) => {
  await calm(tab);
  await blank(tab, ' ');
  const seen = await tab.evaluate(async () => {
    const make = (attributes = {}) => {
      const element = document.createElement('diffusion-sampler');
      for (const [name, value] of Object.entries({ src: './www/models/pixel-faces-16/', device: 'cpu', steps: 1, batch: 1, ...attributes }))
        element.setAttribute(name, value);
      document.body.append(element);
      return element;
    };
    let made = 0;
    const told = {};
    const { Worker } = globalThis;
    globalThis.Worker = class extends Worker {
      constructor(...given) {
        super(...given);
        made++;
      }
      postMessage(message, ...others) {
        told[message.op] = (told[message.op] ?? 0) + 1;
        super.postMessage(message, ...others);
      }
    };
    // All in one row, as a run waits while it is off the screen.
    document.body.setAttribute('style', 'display: grid; grid-template-columns: repeat(10, 1fr)');
    const ten = Array.from({ length: 10 }, (_, seed) => make({ seed }));
    const ended = await Promise.all(ten.map((element) => element.run()));
    const pictures = new Set(ten.map((element) => element.toDataURL())).size;
    for (const element of ten) element.remove();
    await new Promise((resolve) => setTimeout(resolve, 50));
    const { load: loads, dispose: disposals } = told;
    for (let i = 0; i < 20; i++) {
      const element = make({ steps: 50 });
      const step = new Promise((resolve) => element.addEventListener('step', resolve, { once: true }));
      const run = element.run();
      if (i % 2) await step; // the others are gone before their model is there
      element.remove();
      if (await run) throw new Error('a run outlived its element');
      if (element.loaded || element.running || element.toDataURL() !== null) throw new Error('something is left');
    }
    const moved = make({ steps: 2 });
    const run = moved.run();
    document.body.prepend(moved);
    return { ended, pictures, made, loads, disposals, moved: await run };
  });
  expect(seen).toEqual({ ended: Array(10).fill(true), pictures: 10, made: 1, loads: 1, disposals: 1, moved: true });
  expect(tab.workers().length).toBeLessThanOrEqual(1);
});

test('a worker that dies in the middle of a run is replaced, once', async ({ page: tab }) => {
  await calm(tab);
  await blank(tab, '<diffusion-sampler src="./www/models/pixel-faces-16/" device="cpu" steps="4" batch="1"></diffusion-sampler>');
  const seen = await sampler(tab).evaluate(async (element) => {
    const workers = [];
    const { Worker } = globalThis;
    globalThis.Worker = class extends Worker {
      constructor(...given) {
        super(...given);
        workers.push(this);
      }
    };
    const kill = () => workers.at(-1).dispatchEvent(new ErrorEvent('error', { message: 'gone' }));
    const errors = [];
    element.addEventListener('error', ({ detail }) => errors.push(detail.type));
    element.addEventListener('step', kill, { once: true });
    const replaced = await element.run();
    element.addEventListener('step', kill);
    const again = await element.run();
    return { replaced, again, errors, workers: workers.length };
  });
  expect(seen).toEqual({ replaced: true, again: false, errors: ['device-lost'], workers: 3 });
});

test('the keyboard runs, stops, chooses and scrubs; a setting that changes runs again', async ({ page: tab }) => {
  await blank(
    tab,
    '<diffusion-sampler src="./www/models/pixel-faces-16/" device="cpu" steps="20" batch="1" controls="run class seed steps scrub"></diffusion-sampler>',
  );
  const element = sampler(tab);
  await runButton(tab).focus();
  await tab.keyboard.press('Enter');
  const toggle = element.locator('.toggle');
  await expect(toggle).toBeFocused();
  await expect(element.getByText(/^Step \d+ of 20 ·/)).toBeVisible();
  await tab.keyboard.press('Escape');
  await expect(element.getByText(/Stopped at step/).last()).toBeVisible();
  await expect(toggle).toHaveText('Run');
  await element.getByRole('spinbutton', { name: 'Steps' }).focus();
  await tab.keyboard.press('ControlOrMeta+a');
  await tab.keyboard.type('2');
  await tab.keyboard.press('Enter');
  await finished(element);
  const state = () => element.evaluate((sampler) => [sampler.seed, sampler.label, sampler.toDataURL()]);
  const [, , first] = await state();

  await element.getByRole('slider', { name: 'Step' }).focus();
  await tab.keyboard.press('Home');
  await expect(element.getByText('Step 0 of 2: pure noise')).toBeVisible();
  expect((await state())[2]).not.toBe(first);
  await tab.keyboard.press('End');
  expect((await state())[2]).toBe(first);

  await element.getByRole('combobox', { name: 'Class' }).selectOption('long hair');
  await expect(toggle).toHaveText('Stop');
  await finished(element);
  await element.getByRole('button', { name: 'Draw another seed' }).click();
  await finished(element);
  const [seed, label, last] = await state();
  expect(label).toBe('1');
  expect(seed).toBeGreaterThan(0);
  expect(last).not.toBe(first);
  await expect(element.locator('.start')).toBeHidden();
  await expect(element.getByRole('img')).toHaveAttribute(
    'aria-label',
    'Pictures of pixel-faces-16. Step 2 of 2: finished. Classes: long hair',
  );
});

test('failures are told in the element and by an event, and the next try may succeed', async ({ page: tab }) => {
  await calm(tab);
  const mood = { status: 404, cors: true };
  const server = createServer((request, response) => {
    if (mood.cors) response.setHeader('access-control-allow-origin', '*');
    if (mood.status !== 200) return response.writeHead(mood.status).end();
    const body = readFileSync(join(dist, 'models', MODEL, request.url));
    response.writeHead(200, { 'content-length': mood.corrupt ? 100 : body.length, 'content-type': 'application/octet-stream' });
    response.end(mood.corrupt ? Buffer.alloc(100, 255) : body);
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  await blank(tab, `<diffusion-sampler src="http://localhost:${server.address().port}/" device="cpu" steps="2"></diffusion-sampler>`);
  const element = sampler(tab);
  await element.evaluate((sampler) => {
    window.errors = [];
    sampler.addEventListener('error', ({ detail }) => window.errors.push(detail.type));
  });
  const error = element.locator('[part=error]');
  const again = error.getByRole('button', { name: 'Try again' });
  await expect(element.getByText(`downloaded from localhost:${server.address().port}`)).toBeVisible();
  await runButton(tab).click();
  await expect(error.locator('p').first()).toHaveText('The model could not be downloaded.');
  Object.assign(mood, { status: 200, cors: false });
  await again.click();
  await error.locator('summary').click();
  await expect(error.getByText(/Access-Control-Allow-Origin/)).toBeVisible();
  Object.assign(mood, { cors: true, corrupt: true });
  await again.click();
  await expect(error.locator('p').first()).toHaveText('The model’s files are incomplete or damaged.');
  mood.corrupt = false;
  await again.click();
  await finished(element);
  await expect(error).toBeHidden();
  expect(await tab.evaluate(() => window.errors)).toEqual(['fetch', 'fetch', 'checkpoint']);

  await element.evaluate((sampler) => sampler.setAttribute('src', 'http://'));
  await error.locator('summary').click();
  await expect(error.getByText('src="http://" is no address')).toBeVisible();

  // An attribute that is set again is another way to try.
  await element.evaluate((sampler) => sampler.removeAttribute('src'));
  await expect(error.locator('p').first()).toHaveText('A setting of this model is wrong.');
  await element.evaluate((sampler) => sampler.setAttribute('src', './www/models/pixel-faces-16/'));
  await finished(element);
  await expect(error).toBeHidden();
  await new Promise((done) => server.close(done) && server.closeAllConnections());
});

test('loading and reveal say when a model is loaded and run; the bar goes once from 0 to 1', async ({ page: tab }) => {
  await calm(tab);
  const element = (id, more) =>
    `<diffusion-sampler id="${id}" src="./www/models/pixel-faces-16/" steps="1" batch="1" ${more}></diffusion-sampler>`;
  const eager = element('eager', 'loading="eager" reveal="manual" device="cpu"');
  await tab.addInitScript(() => {
    window.progress = [];
    const note = ({ target, detail }) => target.id === 'eager' && window.progress.push(detail.totalProgress);
    window.addEventListener('progress', note, { capture: true });
  });
  // Another device is another model, so that each is loaded for itself.
  await blank(tab, `${eager}<p style="height: 300vh"></p>${element('auto', 'reveal="auto"')}`);
  const [first, second] = [tab.locator('#eager'), tab.locator('#auto')];
  const state = (locator) => locator.evaluate((sampler) => [sampler.loaded, sampler.running, sampler.toDataURL() !== null]);
  await expect.poll(() => state(first)).toEqual([true, false, false]);
  await expect(first.getByRole('button')).toHaveCount(0);
  expect(await state(second)).toEqual([false, false, false]);
  await second.scrollIntoViewIfNeeded();
  await expect.poll(() => state(second)).toEqual([true, false, true]);
  await first.evaluate((sampler) => sampler.dismissPoster());
  await first.scrollIntoViewIfNeeded();
  await expect.poll(() => state(first)).toEqual([true, false, true]);
  const progress = await tab.evaluate(() => window.progress);
  expect([progress[0], progress.at(-1)]).toEqual([0, 1]);
  expect(progress).toEqual(progress.toSorted((a, b) => a - b));
  expect(progress.filter((fraction) => fraction === 1).length).toBe(1);
  await expect(first.getByRole('progressbar')).toBeHidden();
});

test('a page that was opened as a file says so', async ({ page: tab, cdn }) => {
  const folder = mkdtempSync(join(tmpdir(), 'noiseball-file-'));
  writeFileSync(join(folder, 'index.html'), page(`${cdn}elements.js`, SAMPLER));
  await tab.goto(pathToFileURL(join(folder, 'index.html')).href);
  await runButton(tab).click();
  const error = sampler(tab).locator('[part=error]');
  await error.locator('summary').click();
  await expect(error.getByText(/This page was opened as a file.*Serve its folder/i)).toBeVisible();
  rmSync(folder, { recursive: true });
});

test('off the screen a run waits, and gives its model to one that is seen', async ({ page: tab }) => {
  const element = (id, steps) =>
    `<diffusion-sampler id="${id}" src="./www/models/pixel-faces-16/" device="cpu" steps="${steps}" batch="1"></diffusion-sampler>`;
  await blank(tab, `${element('a', 12)}<p style="height: 300vh"></p>${element('b', 1)}`);
  const [a, b] = [tab.locator('#a'), tab.locator('#b')];
  await a.evaluate((sampler) => {
    window.steps = 0;
    sampler.addEventListener('step', () => window.steps++);
    sampler.run();
  });
  await expect(a.getByText(/^Step \d+ of 12 ·/)).toBeVisible();
  await b.evaluate((sampler) => sampler.scrollIntoView({ block: 'center' }));
  await expect.poll(() => stands(tab)).toBe(true);
  expect(await a.evaluate((sampler) => sampler.running)).toBe(true);
  await b.evaluate((sampler) => sampler.run());
  await finished(b);
  expect(await a.evaluate((sampler) => sampler.running)).toBe(false);
  await a.evaluate((sampler) => sampler.scrollIntoView({ block: 'center' }));
  await expect.poll(() => a.evaluate((sampler) => sampler.running)).toBe(true);
});

/** Whether no step was taken for a while. */
async function stands(tab) {
  const steps = () => tab.evaluate(() => window.steps);
  const before = await steps();
  await tab.waitForTimeout(400);
  return before > 0 && before < 12 && (await steps()) === before;
}

test('without its nudge the variance of the process grows; it goes back and forth', async ({ page: tab }) => {
  const scripts = [];
  tab.on('request', (request) => request.url().endsWith('.js') && scripts.push(request.url()));
  await blank(tab, '<diffusion-process alt="A spiral"></diffusion-process>');
  const process = tab.locator('diffusion-process');
  const slider = process.getByRole('slider', { name: 'Noise' });
  const nudge = process.getByRole('switch', { name: 'Nudge to the origin' });
  const read = () => process.evaluate(({ timestep, variance, noise }) => ({ timestep, variance, noise }));
  const pixels = () => process.evaluate(async (element) => (await element.toBlob()).size);
  await expect(process.getByText(/^Step 0 of 1000/)).toBeVisible();
  const start = await pixels();
  const bytes = gzipped(scripts, new URL('./www/', tab.url()).href);
  console.log(`  ${scripts.length} scripts, ${bytes} bytes with gzip, to show the process`);
  expect(bytes).toBeLessThanOrEqual(18_000);
  await slider.focus();
  await tab.keyboard.press('End');
  await expect(process.getByText(/^Step \d+ of 1000 · noise 100 %/)).toBeVisible();
  const end = await read();
  expect(end.timestep).toBeGreaterThan(990);
  expect(Math.abs(end.variance - 1)).toBeLessThan(0.1);
  await nudge.focus();
  await tab.keyboard.press('Space');
  await expect(nudge).not.toBeChecked();
  const grown = await read();
  expect(grown.timestep).toBe(end.timestep);
  expect(grown.variance).toBeGreaterThan(10);
  await nudge.click();
  expect(await read()).toEqual(end);
  await slider.focus();
  await tab.keyboard.press('Home');
  await expect(process.getByText(/^Step 0 of 1000/)).toBeVisible();
  expect(await pixels()).toBe(start);

  await process.evaluate((element) => element.setAttribute('src', './nothing.png'));
  await expect(process.locator('[part=error] p').first()).toHaveText('The picture could not be loaded.');
  await process.evaluate((element) => element.setAttribute('src', './www/elements/example.png'));
  await expect(process.locator('[part=error]')).toBeHidden();
});

test('a second copy of the script is harmless, and so is a property set before the first', async ({ page: tab }) => {
  await blank(tab);
  const seen = await tab.evaluate(async () => {
    const early = document.createElement('diffusion-sampler');
    Object.assign(early, { seed: 12, controls: ['seed'] });
    document.body.append(early);
    await import(new URL('./www/elements.js', document.baseURI).href);
    await import(new URL('./www/elements.js?copy', document.baseURI).href);
    return [early.getAttribute('seed'), early.getAttribute('controls'), early.shadowRoot !== null];
  });
  expect(seen).toEqual(['12', 'seed', true]);
});

test('the example has both elements and needs no more than its policy', async ({ page: tab }) => {
  await calm(tab);
  await tab.goto('./www/elements/example.html');
  await expect(
    tab
      .locator('diffusion-process')
      .first()
      .getByText(/^Step 0 of 1000/),
  ).toBeVisible();
  await runButton(tab).click();
  await finished(sampler(tab));
  await tab.locator('diffusion-process').last().scrollIntoViewIfNeeded();
  await expect(
    tab
      .locator('diffusion-process')
      .last()
      .getByText(/^Step 0 of 1000/),
  ).toBeVisible();
  expect(await tab.evaluate(() => document.documentElement.scrollWidth <= innerWidth)).toBe(true);
});

/** A reader who wants less motion: a run is over as soon as it can be. Firefox's driver cannot emulate it. */
function calm(tab) {
  return tab.addInitScript(() => {
    const { matchMedia } = window;
    window.matchMedia = (query) => (query.includes('reduced-motion') ? { matches: true } : matchMedia.call(window, query));
  });
}

/** A page of the built site's origin with the elements' script and this body. */
async function blank(tab, body = '') {
  const html = page('./www/elements.js', body);
  await tab.route('**/blank.html', (route) =>
    route.fulfill({ contentType: 'text/html', body: body ? html : html.replace(/<script.*script>/, '') }),
  );
  await tab.goto('./blank.html');
  if (body) await tab.evaluate(() => customElements.whenDefined('diffusion-process').then(() => {}));
}
