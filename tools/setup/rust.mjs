/**
 * A Rust toolchain that can build for wasm32-unknown-unknown.
 *
 * In this order: a toolchain on PATH that can do it already; rustup's target (given up on when its server does
 * not answer within seconds); Debian's `rustc-web` packages, whose standard library for wasm is built here once.
 */
import { spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { aptInstall, aptOffers } from './packages.mjs';
import { ask, folders, root, run, SetupError, step, which } from './shell.mjs';

const TARGET = 'wasm32-unknown-unknown';
const DEBIAN = { bin: '/usr/bin', packages: ['rustc-web', 'cargo-web', 'rust-web-src', 'rust-web-llvm', 'lld-22'] };
const RUSTUP_PATIENCE_SECONDS = 10;

/**
 * The environment for cargo and wasm-pack when building for wasm: the right toolchain first in PATH, and a target
 * folder of its own, so that a toolchain other than the native builds' one never makes cargo start over.
 */
export async function wasmEnvironment() {
  requireCargo();
  let bin = toolchains().find(buildsForWasm);
  if (!bin && (await rustupTarget(TARGET))) bin = toolchains().find(buildsForWasm);
  bin ??= debianToolchain();
  const path = bin === toolchains()[0] ? process.env.PATH : [bin, process.env.PATH].join(delimiter);
  const version = ask(join(bin, 'rustc'), ['--version']).stdout.trim();
  step(`Rust for wasm: ${version}`);
  return { PATH: path, CARGO_TARGET_DIR: join(root, 'target', 'wasm') };
}

/** Whether the first toolchain on PATH has the standard library of `target`, which rustup is asked for if it has not. */
export async function addTarget(target) {
  const has = () => existsSync(ask('rustc', ['--print', 'target-libdir', '--target', target]).stdout.trim());
  return has() || ((await rustupTarget(target)) && has());
}

/** Fails with advice when there is no cargo at all. */
export function requireCargo() {
  if (!which('cargo') || !which('rustc')) {
    throw new SetupError(
      `No Rust toolchain: \`cargo\` and \`rustc\` are not on PATH.\nInstall Rust ${minimumRust()} or newer (https://rustup.rs, or your system's packages) and run this again.`,
    );
  }
}

/** The folders on PATH that hold both rustc and cargo, in order. */
function toolchains() {
  return folders().filter((bin) => which('rustc', bin) && which('cargo', bin));
}

/** Whether the toolchain in `bin` is new enough and links an empty program for wasm (which needs std and lld). */
function buildsForWasm(bin) {
  const rustc = which('rustc', bin);
  const version = ask(rustc, ['--version']).stdout.match(/\d+\.\d+/)?.[0];
  if (!version || older(version, minimumRust())) return false;
  const scratch = mkdtempSync(join(tmpdir(), 'noiseball-'));
  const args = ['--target', TARGET, '--crate-type', 'cdylib', '--crate-name', 'probe', '--out-dir', scratch, '-'];
  const { ok } = ask(rustc, args, { input: '' });
  rmSync(scratch, { recursive: true, force: true });
  return ok;
}

function minimumRust() {
  return readFileSync(join(root, 'Cargo.toml'), 'utf8').match(/^rust-version = "(\d+\.\d+)/m)[1];
}

/** Whether version "a.b" is older than "c.d". */
export function older(version, than) {
  const [major, minor] = version.split('.').map(Number);
  const [wantedMajor, wantedMinor] = than.split('.').map(Number);
  return major < wantedMajor || (major === wantedMajor && minor < wantedMinor);
}

/** Adds a target with rustup; false when there is no rustup, or nothing has come from its server after a while. */
async function rustupTarget(target) {
  if (!which('rustup')) return false;
  step(`adding rustup's ${target} target`);
  console.log(`  $ rustup target add ${target}`);
  const rustup = spawn('rustup', ['target', 'add', target], { cwd: root, stdio: 'ignore' });
  const downloads = join(process.env.RUSTUP_HOME ?? join(homedir(), '.rustup'), 'downloads');
  const [before, start] = [bytesIn(downloads), Date.now()];
  const watcher = setInterval(() => {
    if (bytesIn(downloads) > before) clearInterval(watcher);
    else if (Date.now() - start > RUSTUP_PATIENCE_SECONDS * 1000) rustup.kill();
  }, 100);
  const status = await new Promise((resolve) => rustup.on('error', () => resolve(1)).on('close', resolve));
  clearInterval(watcher);
  if (status !== 0) step('rustup could not fetch it; looking for another way');
  return status === 0;
}

function bytesIn(folder) {
  if (!existsSync(folder)) return 0;
  const sizes = readdirSync(folder).map((name) => statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0);
  return sizes.reduce((sum, size) => sum + size, 0);
}

function debianToolchain() {
  if (!aptOffers(DEBIAN.packages[0])) {
    throw new SetupError(
      `Rust's standard library for ${TARGET} is missing.\nRun \`rustup target add ${TARGET}\` (or install your distribution's package for it) and run this again.`,
    );
  }
  aptInstall(DEBIAN.packages, 'build for wasm');
  const rustc = join(DEBIAN.bin, 'rustc');
  const libdir = ask(rustc, ['--print', 'target-libdir', '--target', TARGET]).stdout.trim();
  buildStandardLibrary(DEBIAN.bin, libdir);
  if (!buildsForWasm(DEBIAN.bin)) {
    throw new SetupError(`${rustc} still cannot link for ${TARGET} with the standard library in ${libdir}.`);
  }
  return DEBIAN.bin;
}

/**
 * Builds Rust's standard library for wasm with the toolchain in `bin` (from its own sources) and installs it into
 * `libdir` as rustup would. `test` is there for wasm-pack's tests.
 */
export function buildStandardLibrary(bin, libdir) {
  step(`building Rust's standard library for wasm into ${libdir} (half a minute)`);
  const scratch = mkdtempSync(join(tmpdir(), 'noiseball-std-'));
  mkdirSync(join(scratch, 'src'));
  writeFileSync(join(scratch, 'src', 'lib.rs'), '');
  writeFileSync(join(scratch, 'Cargo.toml'), '[package]\nname = "empty"\nversion = "0.0.0"\nedition = "2021"\n');
  const crates = '-Zbuild-std=std,panic_abort,panic_unwind,test,proc_macro';
  run(join(bin, 'cargo'), ['build', '--quiet', '--release', '--target', TARGET, crates], {
    cwd: scratch,
    environment: { PATH: [bin, process.env.PATH].join(delimiter), RUSTC_BOOTSTRAP: '1', CARGO_TARGET_DIR: join(scratch, 'target') },
  });
  const built = join(scratch, 'target', TARGET, 'release', 'deps');
  mkdirSync(libdir, { recursive: true });
  for (const file of readdirSync(libdir)) if (file.endsWith('.rlib')) rmSync(join(libdir, file));
  for (const file of readdirSync(built)) {
    if (file.endsWith('.rlib') && !file.startsWith('libempty-')) copyFileSync(join(built, file), join(libdir, file));
  }
  rmSync(scratch, { recursive: true, force: true });
}
