/**
 * Builds the three wasm packages (git-ignored): cargo, then wasm-bindgen when cargo's output changed.
 *
 *   www/pkg         sampling: small, for every page
 *   www/pkg-text    pipelines of several networks and PyTorch's own files, which only a page that opens such loads
 *   www/pkg-train   training: the same crate with burn, which only a page that trains loads
 */
import { createHash } from 'node:crypto';
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { wasmBindgen } from '../setup/cargo-tools.mjs';
import { wasmEnvironment } from '../setup/rust.mjs';
import { shortenImports } from './imports.mjs';
import { orderFunctions } from './order.mjs';
import { blankPaths } from './paths.mjs';
import { lockedVersion, root, SetupError, step, watch } from '../setup/shell.mjs';

const TARGET = 'wasm32-unknown-unknown';

/**
 * The kernels are compiled for speed, the rest for size (see Cargo.toml). Functions are copied into their callers only where that
 * makes code smaller, and loops written out only where their length is known: what the kernels need copied or written out says so
 * itself. What a loop or a branch computes again is not kept in a further variable: that made code longer, and kernels no faster.
 */
const SMALL = [
  '--',
  '-C',
  'llvm-args=-inline-threshold=3 -unroll-runtime=false -unroll-allow-partial=false -enable-pre=false -enable-load-pre=false -disable-lsr',
];

/** Pages that only sample images download nothing that text, latents and PyTorch's own files need. */
const SAMPLING = ['--no-default-features', '--features', 'gpu'];

/** Brings www/pkg up to date. Arguments go to cargo. */
export async function buildWasm(cargoArguments = []) {
  step('building the wasm module');
  await build({
    environment: await wasmEnvironment(),
    profile: 'web',
    cargoArguments: [...SAMPLING, ...cargoArguments, ...SMALL],
    folder: 'pkg',
    name: 'noiseball',
  });
}

/** Brings www/pkg-text up to date. */
export async function buildText(cargoArguments = []) {
  step('building the wasm module of pipelines');
  const environment = await wasmEnvironment();
  // A target folder of its own: see `trainingEnvironment`. What the crate needs is the same for both modules, and is compiled once.
  const folder = join(root, 'target', 'wasm-text');
  for (const part of existsSync(folder) ? [] : ['web', join(TARGET, 'web')]) {
    const compiled = join(environment.CARGO_TARGET_DIR, part);
    if (existsSync(compiled)) cpSync(compiled, join(folder, part), { recursive: true, preserveTimestamps: true });
  }
  await build({
    environment: { ...environment, CARGO_TARGET_DIR: folder },
    profile: 'web',
    cargoArguments: [...cargoArguments, ...SMALL],
    folder: 'pkg-text',
    name: 'noiseball_text',
  });
}

/** The crate itself is compiled for size here too: what computes for long is burn's, or the kernels'. */
const SMALLER = ['--config', 'profile.release.package.noiseball.opt-level="s"'];

/** Brings www/pkg-train up to date. */
export async function buildTraining(cargoArguments = []) {
  const environment = await trainingEnvironment();
  const first = !existsSync(join(environment.CARGO_TARGET_DIR, TARGET, 'release', 'noiseball.wasm'));
  step(
    first
      ? 'building the training module: burn takes ten to twenty minutes the first time, seconds after that'
      : 'building the training module',
  );
  await build({
    environment,
    profile: 'release',
    cargoArguments: ['--no-default-features', '--features', 'gpu,burn', ...SMALLER, ...cargoArguments],
    folder: 'pkg-train',
    name: 'noiseball_train',
    packed: true,
  });
}

/**
 * The environment for builds with burn. They have a target folder of their own: cargo gives a library's wasm file one name
 * whatever its features are, so that in one folder each build would pass the other's file off as its own.
 */
export async function trainingEnvironment() {
  return { ...(await wasmEnvironment()), CARGO_TARGET_DIR: join(root, 'target', 'wasm-train') };
}

/** A `packed` module is kept compressed, for hosts that take no file of its size or send it as it is; its worker unpacks it. */
async function build({ environment, profile, cargoArguments, folder, name, packed = false }) {
  const bindgen = wasmBindgen();
  await succeed('cargo', ['rustc', '--locked', '--profile', profile, '--lib', '--target', TARGET, ...cargoArguments], environment);

  const module = join(environment.CARGO_TARGET_DIR, TARGET, profile, 'noiseball.wasm');
  const out = join(root, 'www', folder);
  const stamp = join(environment.CARGO_TARGET_DIR, 'noiseball-pkg.stamp');
  const tools = ['imports.mjs', 'order.mjs', 'paths.mjs'].map((tool) => readFileSync(new URL(tool, import.meta.url)));
  const sources = [readFileSync(module), lockedVersion('wasm-bindgen'), ...tools];
  const identity = sources.reduce((hash, each) => hash.update(each), createHash('sha256')).digest('hex');
  const result = join(out, `${name}_bg.wasm`);
  const current = existsSync(stamp) && existsSync(packed ? `${result}.gz` : result) && readFileSync(stamp, 'utf8') === identity;
  if (current) {
    step(`www/${folder} is up to date`);
    return;
  }
  // Names and producers are for debuggers: a quarter of the module's bytes. The workers say where the module is themselves.
  const small = ['--remove-name-section', '--remove-producers-section', '--omit-default-module-path'];
  await succeed(bindgen, ['--target', 'web', ...small, '--out-name', name, '--out-dir', out, module], environment);
  const script = join(out, `${name}.js`);
  const short = shortenImports(readFileSync(result), readFileSync(script, 'utf8'));
  const blank = blankPaths(short.module);
  // The training module has too many functions to compare them all, and is loaded by few.
  writeFileSync(result, packed ? blank : orderFunctions(blank));
  writeFileSync(script, short.script);
  if (packed) {
    writeFileSync(`${result}.gz`, gzipSync(readFileSync(result), { level: 9 }));
    rmSync(result);
  }
  writeFileSync(stamp, identity);
}

/** Runs a program without blocking: a server in this process goes on answering. */
async function succeed(program, args, environment) {
  const { status } = await watch(program, args, { environment });
  if (status !== 0) throw new SetupError(`\`${program} ${args[0]}\` failed (exit status ${status}).`);
}
