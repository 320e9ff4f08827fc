/**
 * Builds the wasm package into www/pkg (git-ignored): cargo, then wasm-bindgen when cargo's output changed.
 * Arguments for cargo, such as `--features burn`, are passed through.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { wasmBindgen } from '../setup/cargo-tools.mjs';
import { wasmEnvironment } from '../setup/rust.mjs';
import { lockedVersion, root, run, step } from '../setup/shell.mjs';

const PACKAGE = join(root, 'www', 'pkg');

/**
 * The crate is compiled for speed, but functions are copied into their callers only where that makes code smaller: what
 * the kernels need copied says so itself.
 */
const SMALL = ['-C', 'llvm-args=-inline-threshold=5'];

/** Brings www/pkg up to date. */
export async function buildWasm(cargoArguments = []) {
  const environment = await wasmEnvironment();
  const bindgen = wasmBindgen();
  step('building the wasm module');
  const compile = ['rustc', '--locked', '--profile', 'web', '--lib', '--target', 'wasm32-unknown-unknown', ...cargoArguments];
  run('cargo', [...compile, '--', ...SMALL], { environment });

  const module = join(environment.CARGO_TARGET_DIR, 'wasm32-unknown-unknown', 'web', 'noiseball.wasm');
  const stamp = join(environment.CARGO_TARGET_DIR, 'noiseball-pkg.stamp');
  const identity = createHash('sha256').update(readFileSync(module)).update(lockedVersion('wasm-bindgen')).digest('hex');
  const current = existsSync(stamp) && existsSync(join(PACKAGE, 'noiseball_bg.wasm')) && readFileSync(stamp, 'utf8') === identity;
  if (current) {
    step('www/pkg is up to date');
    return;
  }
  // Names and producers are for debuggers: a quarter of the module's bytes.
  run(bindgen, ['--target', 'web', '--remove-name-section', '--remove-producers-section', '--out-name', 'noiseball', '--out-dir', PACKAGE, module]);
  writeFileSync(stamp, identity);
}
