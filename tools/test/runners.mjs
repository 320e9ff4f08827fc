/**
 * The test runners in the order they run, quick ones first. Each sets up what it needs and resolves to
 * `{ passed, failed }`; a program that stops without a verdict counts as one failure.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { assembleSite, checkFloats, checkSize } from '../build/site.mjs';
import { buildText, buildTraining, buildWasm, trainingEnvironment } from '../build/wasm.mjs';
import { vulkan, webDrivers } from '../setup/browsers.mjs';
import { wasmBindgen, wasmPack } from '../setup/cargo-tools.mjs';
import { npmPackages } from '../setup/npm.mjs';
import { addTarget, requireCargo, wasmEnvironment } from '../setup/rust.mjs';
import { root, SetupError, watch } from '../setup/shell.mjs';
import { counts } from './counts.mjs';
import { fuzz } from './fuzz.mjs';
import { lint as readCode } from './lint.mjs';

export const runners = { js, rust, overflow, lint, fuzz, web, e2e };

/** JavaScript's unit tests: tests/js/*.test.mjs, some of which run the engine. */
async function js() {
  await buildWasm();
  await buildText();
  const folder = join('tests', 'js');
  const files = readdirSync(join(root, folder)).filter((name) => name.endsWith('.test.mjs'));
  const run = await watch(process.execPath, ['--test', '--test-reporter=spec', ...files.map((name) => join(folder, name))]);
  return verdict(run, counts.node);
}

/** Rust's unit, integration and documentation tests, natively. */
async function rust(options) {
  requireCargo();
  vulkan();
  const run = await watch('cargo', ['test', '--locked', '--release', '--no-fail-fast', ...QUICKLY, ...features(options)]);
  return verdict(run, counts.cargo);
}

/**
 * The crate is compiled anew for each of its forty tests, which took longer than running them. What computes, the kernels and burn, is
 * optimised as in the product.
 */
const QUICKLY = ['--config', 'profile.release.package.noiseball.opt-level=1'];

/**
 * The library's tests without a GPU and without burn, where sizes have 32 bits as in a page and a sum that leaves them
 * panics rather than wraps. Where such a program cannot be built or run, the same with the machine's own sizes.
 */
async function overflow() {
  requireCargo();
  const target = 'i686-unknown-linux-musl';
  const small = process.platform === 'linux' && process.arch === 'x64' && (await addTarget(target));
  if (!small) console.log(`  no ${target} here: with this machine's own sizes`);
  const environment = {
    CARGO_TARGET_DIR: join(root, 'target', 'overflow'),
    // It comes with rustc, and needs no C compiler for 32 bits.
    CARGO_TARGET_I686_UNKNOWN_LINUX_MUSL_LINKER: 'rust-lld',
    CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS: 'true',
    CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS: 'true',
    CARGO_PROFILE_RELEASE_OPT_LEVEL: '1',
  };
  const test = ['test', '--locked', '--release', '--no-fail-fast', '--no-default-features', '--features', 'text,torch', '--lib', '--tests'];
  const run = await watch('cargo', [...test, ...(small ? ['--target', target] : [])], { environment });
  return verdict(run, counts.cargo);
}

/** What reads the code: see lint.mjs. */
function lint(options) {
  return readCode({ ...options, features: features(options), tested: QUICKLY });
}

/**
 * tests/web.rs, compiled to wasm, in Chromium and in Firefox; and tests/web_train.rs with burn. That one goes without wasm-pack,
 * which would first link every other test with burn too.
 */
async function web({ withoutBurn }) {
  const [pack, drivers] = [wasmPack(), webDrivers()];
  const bindgen = join(wasmBindgen(), '..');
  const environment = (toolchain) => ({
    ...toolchain,
    PATH: [bindgen, toolchain.PATH].join(process.platform === 'win32' ? ';' : ':'),
    WASM_BINDGEN_TEST_TIMEOUT: '900',
    WASM_BINDGEN_TEST_DRIVER_TIMEOUT: '60',
  });
  const total = { passed: 0, failed: 0 };
  const add = (name, run) => {
    const { passed, failed } = verdict(run, counts.cargo);
    console.log(`${name}: ${passed} passed, ${failed} failed`);
    total.passed += passed;
    total.failed += failed;
  };
  const toolchain = environment(await wasmEnvironment());
  for (const [browser, driver] of [
    ['chrome', ['--chromedriver', drivers.chrome]],
    ['firefox', ['--geckodriver', drivers.firefox]],
  ]) {
    const choose = [`--${browser}`, ...(driver[1] ? driver : [])];
    add(
      `web in ${browser}`,
      await watch(pack, ['test', '--headless', ...choose, '--release', '--', '--locked', '--test', 'web'], { environment: toolchain }),
    );
  }
  if (withoutBurn) return total;
  const training = {
    ...environment(await trainingEnvironment()),
    WASM_BINDGEN_TEST_ONLY_WEB: '1',
    CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER: 'wasm-bindgen-test-runner',
  };
  for (const [browser, driver] of [
    ['chrome', { CHROMEDRIVER: drivers.chrome }],
    ['firefox', { GECKODRIVER: drivers.firefox }],
  ]) {
    const test = ['test', '--locked', '--release', '--target', 'wasm32-unknown-unknown', '--features', 'burn', '--test', 'web_train'];
    add(`web_train in ${browser}`, await watch('cargo', test, { environment: { ...training, ...driver } }));
  }
  return total;
}

/** The built site, its modules no larger than they may be, and the package in bundles, in real browsers: tests/e2e/*.spec.mjs. */
async function e2e({ withoutBurn }) {
  npmPackages();
  npmPackages(join('tests', 'bundlers'));
  vulkan();
  await buildWasm();
  await buildText();
  if (!withoutBurn) await buildTraining();
  for (const module of assembleSite()) {
    checkFloats(module);
    checkSize(module);
  }
  const apps = await watch(process.execPath, [join('tests', 'bundlers', 'build.mjs'), ...(withoutBurn ? [] : ['--train'])]);
  if (apps.status !== 0) throw new SetupError('The package does not build; the lines above say with which bundler.');
  const playwright = join('node_modules', '@playwright', 'test', 'cli.js');
  const run = await watch(process.execPath, [playwright, 'test', '--config', join('tests', 'e2e', 'playwright.config.mjs')]);
  return verdict(run, counts.playwright);
}

function features({ withoutBurn }) {
  return ['--features', withoutBurn ? 'cli' : 'cli,burn'];
}

function verdict({ status, output }, count) {
  const { passed, failed } = count(output);
  return { passed, failed: status !== 0 && failed === 0 ? 1 : failed };
}
