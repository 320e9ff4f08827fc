// What the specs share: Playwright's test with a watch over the page's console, and the page's own signs.

import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { test as base, expect } from '@playwright/test';

export { expect };

/** The folder with checkpoints that Python's diffusers wrote. */
export const checkpoints = fileURLToPath(new URL('../fixtures/checkpoints/', import.meta.url));

/** A quick run, for a software adapter on few cores. */
export const QUICK = '#batch=2&steps=4&seed=5&label=any&sampler=ddim&speed=fast&device=cpu';

/** What Firefox writes on the console as if a script had thrown it, though the code that asked has caught it. */
const NOTES_OF_FIREFOX = [
  'ended early and is not kept', // a stream that www/cache.js ended on purpose
  'The Same Origin Policy disallows reading the remote resource', // of a site that does not let others read, or is not there
  'hashes in the integrity attribute match the content', // a file that is not the one its author named, which `fetch` was told too
];

/**
 * `problems` collects what must never happen on the page: a script that throws, and anything that the page's own
 * Content-Security-Policy had to block. Every test fails when there is one.
 */
export const test = base.extend({
  problems: [
    async ({ page }, use) => {
      const problems = [];
      page.on('pageerror', ({ message }) => {
        if (!NOTES_OF_FIREFOX.some((note) => message.includes(note))) problems.push(`thrown: ${message}`);
      });
      page.on('console', (message) => {
        if (/Content.Security.Policy|Refused to|unsafe-eval|blocked by CSP/i.test(message.text())) problems.push(message.text());
      });
      await use(problems);
      expect(problems).toEqual([]);
    },
    { auto: true },
  ],
});

/** Opens the page with these settings and waits for the first pictures. */
export async function openPage(page, hash = QUICK, base = './') {
  await page.goto(`${base}${hash}`);
  await finished(page);
}

/** Waits until a run has come to its end. */
export async function finished(page) {
  await expect(page.locator('#status')).toHaveText(/pictures? in \d/);
}

/** The controls of the page's stage, in its shadow tree. */
export const RUN = '#stage .toggle';
export const PLAY = '#stage .play';
export const SCRUB = '#stage input[type=range]';
export const MOMENT = '#stage .moment';
export const SEED = '#stage .seed input';
export const DICE = '#stage .dice';
export const CLASS = '#stage label:has-text("Class") select';
export const DEVICE = '#stage .device';

/** Types into a field in place of what is there, as a person does. */
export async function type(page, selector, text) {
  await page.locator(selector).evaluate((field) => (field.focus(), field.select()));
  await page.keyboard.type(text);
}

/** The same with Enter at the end, which is where a change counts. */
export async function enter(page, selector, text) {
  await type(page, selector, text);
  await page.keyboard.press('Enter');
}

/** Runs `script` at the top of the page's worker, or of others. */
export async function inWorker(page, script, which = '**/www/worker.js') {
  await page.route(which, async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: `${script}\n${await response.text()}` });
  });
}

/** The pixels of the stage's pictures, of the guess beside them, or of another canvas by its id, to compare. */
export function picture(page, id = 'pictures') {
  return page.evaluate((name) => {
    const [pictures, guess] = document.getElementById('stage').shadowRoot.querySelectorAll('canvas[part=canvas]');
    return ({ pictures, guess }[name] ?? document.getElementById(name)).toDataURL();
  }, id);
}

/** At none of these widths the page needs more than there is. */
export async function expectNoOverflow(page, widths) {
  for (const width of widths) {
    await page.setViewportSize({ width, height: 800 });
    await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
    const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
    expect(room).toBeGreaterThan(width - 30); // a scroll bar may take some
    expect(wide, `at ${width} pixels`).toBe(room);
  }
}

/** What the page says went wrong. */
export function notice(page) {
  return page.locator('#notice');
}

/**
 * Drops the files of a folder onto the page: {name, bytes} each, as loose files (a script cannot make a
 * directory entry; choosing a folder is tested with the folder button).
 */
export async function dropFiles(page, files) {
  const plain = files.map(({ name, bytes }) => ({ name, base64: Buffer.from(bytes).toString('base64') }));
  await page.evaluate((list) => {
    const transfer = new DataTransfer();
    for (const { name, base64 } of list) {
      const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
      transfer.items.add(new File([bytes], name));
    }
    for (const type of ['dragenter', 'dragover', 'drop']) {
      document.body.dispatchEvent(new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }));
    }
  }, plain);
}

/** Answers what is asked for below a path with the files of a folder. */
export function servedBelow(page, path, folder) {
  return page.route(`**${path}**`, (route) => {
    const file = folder + new URL(route.request().url()).pathname.split(path)[1];
    return existsSync(file) ? route.fulfill({ path: file }) : route.fulfill({ status: 404 });
  });
}

/** All files below a folder, with their paths from there. */
export function filesBelow(folder) {
  if (!existsSync(folder)) throw new Error(`there is no fixture ${folder}`);
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => ({ name: entry.name, path: `${entry.parentPath}/${entry.name}` }));
}
