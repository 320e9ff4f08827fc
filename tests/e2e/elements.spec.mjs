// The elements in pages of somebody else's: by two lines, from the page's own origin and from another.

import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, readdirSync, statSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import { root } from '../../tools/setup/shell.mjs';
import { serve } from '../../tools/build/serve.mjs';
import { png, RGB } from '../../tools/png.mjs';
import { zip } from '../../tools/zip.mjs';
import { checkpoints, expect, filesBelow, test as base } from './browser.mjs';

const dist = join(root, 'dist', 'www');
const MODEL = 'pixel-faces-16';

const AXE = readFileSync(join(root, 'node_modules', 'axe-core', 'axe.min.js'), 'utf8');

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

/** A PNG of one colour. */
const plain = (width, height, rgb) => png(width, height, RGB, Array(height).fill(Buffer.alloc(3 * width).fill(Buffer.from(rgb))));

const sampler = (page) => page.locator('diffusion-sampler').first();
/** Until a process shows its picture without noise. */
const drawn = (process) => expect(process.getByText(/^Step 0 of 1000/)).toBeVisible();
const runButton = (page) => sampler(page).getByRole('button', { name: /^Run/ });

const filesWithin = (folder) => readdirSync(folder, { recursive: true }).filter((path) => statSync(join(folder, path)).isFile());

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

test('ten elements share a worker and a model; put in and taken out 200 times, nothing is left', async ({ page: tab }) => {
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
    for (let i = 0; i < 200; i++) {
      const element = make({ steps: 50 });
      const step = new Promise((resolve) => element.addEventListener('step', resolve, { once: true }));
      const run = element.run();
      if (i % 20 === 0) await step; // the others are gone before their model is there
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
    /^Pictures of pixel-faces-16 \(long hair\)\. Step 2 of 2: finished$/,
  );
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
  await drawn(process);
  const bytes = gzipped(scripts, new URL('./www/', tab.url()).href);
  console.log(`  ${scripts.length} scripts, ${bytes} bytes with gzip, to show the process`);
  expect(bytes).toBeLessThanOrEqual(12_000);
  const start = await pixels();
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
  await drawn(process);
  expect(await pixels()).toBe(start);

  await process.evaluate((element) => element.setAttribute('src', './nothing.png'));
  await expect(process.locator('[part=error] p').first()).toHaveText('The picture could not be loaded.');
  await process.evaluate((element) => element.setAttribute('src', './www/elements/example.png'));
  await expect(process.locator('[part=error]')).toBeHidden();
});

test('the trainer learns from a set that is named, linked or dropped; it pauses, goes on, ends early, and gives a model', async ({
  page: tab,
}) => {
  await calm(tab);
  const large = [];
  tab.on('request', (request) => /pkg-train/.test(request.url()) && large.push(request.url()));
  const archive = zip([0, 1].map((i) => ({ path: `${'ab'[i]}/${i}.png`, bytes: plain(8, 8, [200 * i, 100, 50]) })));
  await tab.route('**/data.zip', (route) => route.fulfill({ body: archive, contentType: 'application/zip' }));
  await blank(tab, '<diffusion-trainer preset="tiny" batch="2" steps="2" device="cpu" alt="Digits"></diffusion-trainer>');
  const trainer = tab.locator('diffusion-trainer');
  await expect(trainer.getByText('downloads the training program, 5 MB')).toBeVisible();
  expect(large).toEqual([]);
  await trainer.evaluate((element) => {
    window.events = [];
    for (const type of ['progress', 'load', 'poster-dismissed', 'frame', 'finish', 'error'])
      element.addEventListener(type, ({ detail }) => window.events.push([type, detail]));
  });
  await trainer.getByRole('button', { name: 'Train: Digits' }).focus();
  await tab.keyboard.press('Enter');
  await expect(trainer.getByText('Done: 2 steps.').first()).toBeVisible();
  await expect(trainer.locator('.toggle')).toBeFocused();
  await expect(trainer.locator('.names span')).toHaveText(['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
  await expect(trainer.getByRole('img', { name: /^Digits \(0, 1, .*\): 10 pictures drawn after 2 steps/ })).toBeVisible();
  await expect(trainer.getByRole('img', { name: /^The nearest of the training pictures to each: \d+(, \d+){9}$/ })).toBeVisible();
  await expect(trainer.getByRole('img', { name: /^Loss: [\d.]+ after 2 steps, from/ })).toBeVisible();
  const events = await tab.evaluate(() => window.events);
  const progress = events.filter(([type]) => type === 'progress').map(([, { totalProgress }]) => totalProgress);
  expect(progress).toEqual(progress.toSorted((a, b) => a - b));
  expect([progress[0], progress.at(-1)]).toEqual([0, 1]);
  const others = events.filter(([type]) => type !== 'progress').map(([type]) => type);
  expect([others[0], others.at(-1), others.includes('poster-dismissed')]).toEqual(['load', 'finish', true]);
  const last = await trainer.evaluate(async (element) => {
    const [blob, model] = await Promise.all([element.toBlob(), element.export()]);
    return [blob.type, model.type, element.running, element.info.count, element.training.state, element.dataset instanceof DOMStringMap];
  });
  expect(last).toEqual(['image/png', 'application/zip', false, 1797, 'ended', true]);

  // Another set: it trains again.
  await trainer.evaluate((element) => Object.assign(element, { steps: 500, dataset: './data.zip' }));
  await expect(trainer.getByText(/^Step \d+ of 500/).first()).toBeVisible();
  expect(await trainer.evaluate((element) => element.info.names)).toEqual(['a', 'b']);
  await trainer.getByRole('button', { name: 'Pause' }).click();
  await expect(trainer.getByText(/^Paused at step/).first()).toBeVisible();
  await trainer.getByRole('button', { name: 'Resume' }).click();
  await trainer.getByRole('button', { name: 'Finish now' }).click();
  await expect(trainer.getByText(/^Stopped after step/).first()).toBeVisible();
  const frame = trainer.locator('[part=frame]');
  const transfer = await tab.evaluateHandle(
    (bytes) => {
      const dropped = new DataTransfer();
      dropped.items.add(new File([Uint8Array.from(bytes)], 'mine.png'));
      return dropped;
    },
    [...plain(8, 8, [1, 2, 3])],
  );
  await trainer.evaluate((element) => Object.assign(element, { steps: 1 }));
  await frame.dispatchEvent('drop', { dataTransfer: transfer });
  await expect.poll(() => trainer.evaluate((element) => element.info?.count)).toBe(1);
  await expect(trainer.getByText('Done: 1 step.').first()).toBeVisible();

  await trainer.evaluate((element) => Object.assign(element, { dataset: './nothing.zip' }));
  await expect(trainer.locator('[part=error] p').first()).toHaveText('The training program or its data could not be downloaded.');
  // Taken out in the middle of a run, nothing of it stays, here or in the browser's storage.
  const left = await trainer.evaluate(async (element) => {
    Object.assign(element, { steps: 500, dataset: 'digits' });
    await new Promise((resolve) => element.addEventListener('step', resolve, { once: true }));
    const run = element.run();
    element.remove();
    const ended = await run;
    const { runs } = await import(new URL('./www/training.js', document.baseURI).href);
    for (let i = 0; i < 100 && (await runs()).length > 0; i++) await new Promise((resolve) => setTimeout(resolve, 50));
    return [ended, element.running, element.loaded, element.toDataURL(), (await runs()).length];
  });
  expect(left).toEqual([false, false, false, null, 0]);
});

test('a run is saved as a film; the Embed button hands out what shows it elsewhere, and the frame that it gives works', async ({
  page: tab,
  blog,
}) => {
  await calm(tab);
  const query = new URLSearchParams({
    batch: 1,
    steps: 2,
    seed: 3,
    device: 'cpu',
    reveal: 'auto',
    controls: 'run save embed',
    alt: 'A "face"',
  });
  await tab.goto(`./www/embed.html?${query}`);
  const element = sampler(tab);
  await runButton(tab).click(); // and not by itself
  await finished(element);
  const films = await element.evaluate(async (sampler) => {
    const film = async (mimeType) => {
      const blob = await sampler.toBlob({ mimeType });
      return [blob.type, [...new Uint8Array(await blob.slice(0, 6).arrayBuffer())]];
    };
    return [await film('image/gif'), await film('video/webm'), await film('video/nothing').catch(({ type }) => type)];
  });
  expect(films).toEqual([
    ['image/gif', [...Buffer.from('GIF89a')]],
    ['video/webm', [0x1a, 0x45, 0xdf, 0xa3, expect.any(Number), expect.any(Number)]],
    'invalid-option',
  ]);
  await element.getByRole('button', { name: 'Embed' }).click();
  const dialog = tab.getByRole('dialog', { name: 'Put this in your page' });
  const text = (label) => dialog.getByLabel(label, { exact: true }).inputValue();
  expect(await text('In HTML: two lines')).toContain('elements.js"></script>\n<diffusion-sampler');
  expect(JSON.parse(await text('The settings'))).toMatchObject({ seed: '3', steps: '2', alt: 'A "face"' });
  const frame = await text('Where scripts are not allowed: an iframe');
  await tab.keyboard.press('Escape');
  await expect(dialog).toHaveCount(0);

  const body = `<script>addEventListener('message', ({ data }) => {
    if (data.type === 'noiseball-height') document.querySelector('iframe').height = data.height;
  })</script>${frame.replace('760', '10')}`;
  await tab.goto(await blog({ 'index.html': `<!doctype html><title>elsewhere</title>${body}` }));
  await expect.poll(() => tab.locator('iframe').evaluate(({ height }) => Number(height))).toBeGreaterThan(200);
  const inner = tab.frameLocator('iframe').locator('diffusion-sampler');
  await expect(inner).toHaveAttribute('alt', 'A "face"');
  await expect(inner.getByRole('button', { name: 'Run: A "face"' })).toBeVisible();
});

test('the recipes of the documentation run as they are written there, also in a frame without an origin', async ({
  page: tab,
  blog,
  cdn,
}) => {
  const docs = readFileSync(join(root, 'docs', 'embedding.md'), 'utf8')
    .replaceAll('https://cdn.example/noiseball/', cdn)
    .replaceAll('hf:org/name', `${cdn}models/${MODEL}/`);
  const recipes = docs.slice(docs.indexOf('### In a notebook or a blog'), docs.indexOf('### A model in a bundle'));
  const [, observable] = recipes.match(/```js\n([^`]*html`[^`]*`[^`]*)```/);
  const [, quarto] = recipes.match(/```\{=html\}\n([^`]*)```/);
  const [, address, width, height] = recipes.match(/IFrame\("([^"]+)", width="([^"]+)", height=(\d+)\)/);
  const [, frame] = recipes.match(/```html\n(<iframe [^`]*)```/);
  const [, fits] = recipes.match(/```js\n(addEventListener\('message'[^`]*)```/);
  const jupyter = `<iframe width="${width}" height="${height}" src="${address.replace('&', '&amp;')}" frameborder="0" allowfullscreen></iframe>`;
  const sandboxed = frame.replace('<iframe ', '<iframe sandbox="allow-scripts" ').replace(' loading="lazy"', '');
  const site = await blog({
    'quarto.html': `<!doctype html><html lang="en"><title>a post</title><main>${quarto}</main>`,
    'notebook.html': '<!doctype html><html lang="en"><title>a notebook</title><main></main>',
    'jupyter.html': `<!doctype html><html lang="en"><title>a notebook</title>${jupyter}`,
    'blog.html': `<!doctype html><html lang="en"><title>a blog</title><script>${fits}</script>${sandboxed}`,
  });
  const draws = async (place) => {
    const element = place.locator('diffusion-sampler');
    await element.evaluate((sampler) => Object.assign(sampler, { steps: 2, batch: 1, device: 'cpu', speed: 'fast' }));
    // Firefox's driver presses beside what is in a frame.
    await element.getByRole('button', { name: /^Run/ }).dispatchEvent('click');
    await finished(element);
  };
  await tab.goto(`${site}quarto.html`);
  await draws(tab);
  await tab.goto(`${site}notebook.html`);
  await tab.evaluate(async (cell) => {
    // As Observable's own `html` does it.
    const html = (parts, ...values) => {
      const template = document.createElement('template');
      template.innerHTML = String.raw({ raw: parts }, ...values);
      return document.importNode(template.content.firstChild, true);
    };
    document.querySelector('main').append(await new Function('html', `return (async () => ${cell})()`)(html));
  }, observable);
  await draws(tab);
  await tab.goto(`${site}jupyter.html`);
  await draws(tab.frameLocator('iframe'));
  await tab.goto(`${site}blog.html`);
  await draws(tab.frameLocator('iframe'));
  await expect.poll(() => tab.locator('iframe').evaluate(({ height }) => Number(height))).not.toBe(760);
});

test('where an author allows it, a reader’s own model is dropped on an element; hashes are held to', async ({ page: tab }) => {
  await calm(tab);
  const controls = 'run files embed';
  await blank(tab, `<diffusion-sampler device="cpu" steps="1" batch="1" controls="${controls}"></diffusion-sampler>`);
  const element = sampler(tab);
  await runButton(tab).click();
  await expect(element.getByText('Drop a model’s folder on the picture')).toHaveCount(2); // to be seen, and to be heard
  await expect(element.getByRole('button', { name: 'Your model…' })).toBeVisible();
  const files = filesBelow(`${checkpoints}layout-a`).map(({ name, path }) => [name, readFileSync(path).toString('base64')]);
  const drop = (files) =>
    element.evaluate((sampler, files) => {
      const dataTransfer = new DataTransfer();
      for (const [name, base64] of files) {
        const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
        dataTransfer.items.add(new File([bytes], name));
      }
      const frame = sampler.shadowRoot.querySelector('[part=frame]');
      const event = new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true });
      frame.dispatchEvent(event);
      return event.defaultPrevented;
    }, files);
  expect(await drop(files)).toBe(true);
  await finished(element);
  expect(await element.evaluate(({ info }) => info.width)).toBe(8);
  await element.evaluate((sampler) => (sampler.controls = ['run']));
  expect(await drop(files)).toBe(false);

  const hash = (bytes) => `sha256-${createHash('sha256').update(bytes).digest('base64')}`;
  const folder = join(dist, 'models', MODEL);
  const hashes = Object.fromEntries(filesWithin(folder).map((path) => [path, hash(readFileSync(join(folder, path)))]));
  const load = (integrity) =>
    element.evaluate(
      (sampler, integrity) => {
        const ended = new Promise((resolve) => {
          sampler.addEventListener('finish', () => resolve('finished'), { once: true });
          sampler.addEventListener('error', ({ detail }) => resolve(detail.type), { once: true });
        });
        Object.assign(sampler, { source: null, src: './www/models/pixel-faces-16/', integrity });
        return ended;
      },
      typeof integrity === 'string' ? integrity : JSON.stringify(integrity),
    );
  expect(await load(hashes)).toBe('finished');
  expect(await load({ ...hashes, 'unet/config.json': hash('another') })).toBe('fetch');
  expect(await load('sha256-')).toBe('invalid-option');
});

test('a <diffusion-process> hands out its picture and its lines, a <diffusion-trainer> its lines', async ({ page: tab, browserName }) => {
  const controls = 'controls="play noise save embed"';
  await blank(
    tab,
    `<diffusion-process ${controls}></diffusion-process><diffusion-trainer preset="tiny" controls="run embed"></diffusion-trainer>`,
  );
  const process = tab.locator('diffusion-process');
  if (browserName === 'chromium') {
    const [download] = await Promise.all([tab.waitForEvent('download'), process.getByRole('button', { name: 'Save the picture' }).click()]);
    expect(download.suggestedFilename()).toBe('diffusion-process-step-0.png');
  }
  await process.getByRole('button', { name: 'Embed' }).click();
  await expect(tab.getByLabel('In HTML: two lines', { exact: true })).toHaveValue(/<diffusion-process controls="play noise save embed">/);
  await tab.keyboard.press('Escape');
  await process.evaluate((element) => (element.controls = ['play']));
  await expect(process.getByRole('button')).toHaveCount(1);
  const trainer = tab.locator('diffusion-trainer');
  await trainer.getByRole('button', { name: /^Train/ }).click();
  await trainer.getByRole('button', { name: 'Embed' }).click();
  await expect(tab.getByLabel('In HTML: two lines', { exact: true })).toHaveValue(
    /<diffusion-trainer controls="run embed" preset="tiny">|preset="tiny" controls/,
  );
});

/** What axe finds that is serious or worse, a line each. */
async function serious(tab) {
  await tab.evaluate(AXE);
  const { violations } = await tab.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target.flat().join(' ')}`));
}

test('every state is accessible by axe’s rules, light, dark and in forced colours; nothing is wider than 320 pixels', async ({
  page: tab,
  browserName,
}) => {
  await calm(tab);
  await tab.setViewportSize({ width: 320, height: 640 });
  const controls = 'run class seed sampler steps scrub save embed device';
  await blank(
    tab,
    `<main><h1>Elements</h1>
    <diffusion-sampler src="./www/models/pixel-faces-16/" device="cpu" steps="1" batch="4" label="each" alt="Faces" controls="${controls}"></diffusion-sampler>
    <diffusion-process alt="A spiral"></diffusion-process>
    <diffusion-process src="./nothing.png"></diffusion-process>
    <diffusion-trainer preset="tiny" batch="1" steps="1" device="cpu" alt="Digits"></diffusion-trainer>
    <diffusion-trainer dataset="./nothing.zip" alt="Nothing"></diffusion-trainer>
    <diffusion-sampler src="./www/models/emoji-64/" device="cpu" steps="1" batch="1" strength="1" prompt="a red heart" attention="on" controls="run prompt guidance init mask"></diffusion-sampler>
    <diffusion-sampler src="./nothing/" alt="Nothing"></diffusion-sampler></main>`,
  );
  const narrow = () => tab.evaluate(() => document.documentElement.scrollWidth <= innerWidth);
  await drawn(tab.locator('diffusion-process').first());
  expect([await serious(tab), await narrow()]).toEqual([[], true]);
  await runButton(tab).click();
  await finished(sampler(tab));
  const written = tab.locator('diffusion-sampler').nth(1);
  await written.getByRole('button', { name: /^Run/ }).click();
  await finished(written);
  await written
    .locator('input[accept="image/*"]')
    .setInputFiles({ name: 'grey.png', mimeType: 'image/png', buffer: plain(64, 64, [90, 90, 90]) });
  await expect(written.getByRole('application', { name: /^The picture\. Arrow keys/ })).toBeVisible();
  await finished(written);
  await written.getByRole('button', { name: 'heart' }).click();
  await expect(written.locator('.map')).toBeVisible();
  const trainer = tab.locator('diffusion-trainer').first();
  await trainer.getByRole('button', { name: /^Train/ }).click();
  await expect(trainer.locator('[part=nearest]')).toBeVisible();
  await tab.getByRole('button', { name: 'Train: Nothing' }).click();
  await expect(tab.locator('diffusion-trainer').last().locator('[part=error]')).toBeVisible();
  const failing = tab.locator('diffusion-sampler').last();
  await failing.getByRole('button', { name: /^Run/ }).click();
  await expect(failing.locator('[part=error]')).toBeVisible();
  // Firefox's driver emulates nothing.
  const states = browserName === 'firefox' ? [] : [{ colorScheme: 'light' }, { colorScheme: 'dark' }, { forcedColors: 'active' }];
  for (const media of states) {
    await tab.emulateMedia(media);
    expect([await serious(tab), await narrow()], JSON.stringify(media)).toEqual([[], true]);
  }
  await sampler(tab).getByRole('button', { name: 'Embed' }).click();
  await expect(tab.getByRole('dialog')).toBeVisible();
  expect([await serious(tab), await narrow()]).toEqual([[], true]);
});

test('in print the pictures stand without their controls, and before a run what stands between the tags', async ({
  page: tab,
  browserName,
}) => {
  test.skip(browserName === 'firefox', 'its driver does not emulate print');
  await calm(tab);
  const element =
    '<diffusion-sampler src="./www/models/pixel-faces-16/" device="cpu" steps="1" batch="1">Sixteen faces</diffusion-sampler>';
  await blank(tab, `${element}${element}<diffusion-trainer>Digits that are learned</diffusion-trainer>`);
  await runButton(tab).click();
  await finished(sampler(tab));
  await tab.emulateMedia({ media: 'print' });
  const [run, idle] = [sampler(tab), tab.locator('diffusion-sampler').last()];
  await expect(run.getByRole('img')).toBeVisible();
  await expect(run.locator('.fallback')).toBeHidden();
  await expect(idle.locator('.fallback')).toBeVisible();
  await expect(tab.locator('diffusion-trainer .fallback')).toBeVisible();
  await expect(tab.getByRole('button')).toHaveCount(0);
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

test('the example has all three elements and needs no more than its policy', async ({ page: tab }) => {
  await calm(tab);
  await tab.goto('./www/elements/example.html');
  await drawn(tab.locator('diffusion-process').first());
  await runButton(tab).click();
  await finished(sampler(tab));
  await tab.locator('diffusion-process').last().scrollIntoViewIfNeeded();
  await drawn(tab.locator('diffusion-process').last());
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
