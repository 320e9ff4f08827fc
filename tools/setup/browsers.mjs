/**
 * The browsers that tests run in, with WebGPU on a software adapter where there is no GPU, and `webdriver.json`,
 * from which wasm-pack's test runner learns how to start them.
 */
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { geckodriver } from './cargo-tools.mjs';
import { aptInstall, aptOffers } from './packages.mjs';
import { root, step, SetupError, which } from './shell.mjs';

const CHROMIUM = {
  names: ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'],
  places: ['/Applications/Google Chrome.app/Contents/MacOS/Google Chrome', 'C:/Program Files/Google/Chrome/Application/chrome.exe'],
};
const FIREFOX = {
  names: ['firefox-esr', 'firefox'],
  places: ['/Applications/Firefox.app/Contents/MacOS/firefox', 'C:/Program Files/Mozilla Firefox/firefox.exe'],
};

/** WebGPU without a GPU (SwiftShader), no traffic of the browser's own, and no sandbox where root cannot have one. */
export const chromiumArguments = [
  '--enable-unsafe-webgpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-dev-shm-usage',
  '--disable-quic',
  '--disable-sync',
  ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
];

/** WebGPU on whatever adapter there is, software (Mesa's llvmpipe) included. */
export const firefoxPreferences = {
  'dom.webgpu.enabled': true,
  'dom.webgpu.allow-software': true,
  'gfx.webgpu.ignore-blocklist': true,
};

/** Paths of Chromium (or Chrome) and its driver; without a driver wasm-pack fetches the fitting one itself. */
export function chromium() {
  const complete = find(CHROMIUM) && which('chromedriver');
  if (!complete && aptOffers('chromium-driver')) aptInstall(['chromium', 'chromium-driver'], 'test in Chromium');
  return { browser: found(CHROMIUM, 'Chromium or Chrome'), driver: which('chromedriver') };
}

/** Path of Firefox. */
export function firefox() {
  if (!find(FIREFOX) && aptOffers('firefox-esr')) aptInstall(['firefox-esr'], 'test in Firefox');
  return found(FIREFOX, 'Firefox');
}

/** A Vulkan driver, so that Firefox and native tests find a WebGPU adapter on a machine without a GPU. */
export function vulkan() {
  const drivers = ['/usr/share/vulkan/icd.d', '/etc/vulkan/icd.d'].filter(existsSync).flatMap((folder) => readdirSync(folder));
  if (process.platform === 'linux' && drivers.length === 0) aptInstall(['mesa-vulkan-drivers'], 'run WebGPU without a GPU');
}

/** Everything wasm-pack needs: installs it, writes webdriver.json, and returns each browser's driver. */
export function webDrivers() {
  vulkan();
  const { browser, driver } = chromium();
  const capabilities = {
    'goog:chromeOptions': { binary: browser, args: ['--headless=new', ...chromiumArguments] },
    'moz:firefoxOptions': { binary: firefox(), args: ['-headless'], prefs: firefoxPreferences },
  };
  writeFileSync(join(root, 'webdriver.json'), `${JSON.stringify(capabilities, null, 2)}\n`);
  step(`browsers: ${browser}, ${capabilities['moz:firefoxOptions'].binary}`);
  return { chrome: driver, firefox: geckodriver() };
}

function find({ names, places }) {
  return which(names) ?? places.find(existsSync);
}

function found(browser, name) {
  const path = find(browser);
  if (!path) throw new SetupError(`${name} was not found on this machine. Install it and run this again.`);
  return path;
}
