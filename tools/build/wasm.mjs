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

/** Brings www/pkg up to date. */
export async function buildWasm(cargoArguments = []) {
  const environment = await wasmEnvironment();
  const bindgen = wasmBindgen();
  step('building the wasm module');
  run('cargo', ['build', '--locked', '--release', '--lib', '--target', 'wasm32-unknown-unknown', ...cargoArguments], { environment });

  const module = join(environment.CARGO_TARGET_DIR, 'wasm32-unknown-unknown', 'release', 'noiseball.wasm');
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
