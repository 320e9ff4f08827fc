/**
 * What reads the code without running it. Each check is counted as one test: rustfmt, clippy for this machine and for browsers,
 * rustdoc, Biome, and TypeScript over the page's JavaScript and over a consumer of the package. Warnings are errors everywhere.
 */
import { join } from 'node:path';
import { trainingEnvironment } from '../build/wasm.mjs';
import { npmPackages } from '../setup/npm.mjs';
import { requireCargo, wasmEnvironment } from '../setup/rust.mjs';
import { ask, lockedVersion, root, SetupError, watch, which } from '../setup/shell.mjs';

/**
 * @param {{withoutBurn: boolean, features: string[], tested: string[]}} given arguments for cargo that choose the native build's features, and
 *        how it is compiled for its tests
 */
export async function lint({ withoutBurn, features, tested }) {
  requireCargo();
  npmPackages();
  const checks = [
    () => watch('cargo', ['fmt', '--all', '--check']),
    () => clippy(['--all-targets', ...features]),
    () => rustdoc([...tested, ...features]),
    async () => clippy([...WEB, '--test', 'web'], await wasmEnvironment()),
    ...(withoutBurn ? [] : [async () => clippy([...WEB, '--features', 'burn', '--test', 'web_train'], await trainingEnvironment())]),
    () => script('@biomejs/biome/bin/biome', ['ci', '--error-on-warnings']),
    () => script('typescript/bin/tsc', ['-p', '.']),
    () => script('typescript/bin/tsc', ['-p', join('tests', 'types', 'tsconfig.modules.json')]),
    () => script('typescript/bin/tsc', ['-p', join('tests', 'types')]),
  ];
  const total = { passed: 0, failed: 0 };
  for (const check of checks) total[(await check()).status === 0 ? 'passed' : 'failed'] += 1;
  return total;
}

/** The crate itself is compiled without optimisation; what it uses is shared with the tests' build. */
const UNOPTIMISED = ['noiseball', 'noiseball-kernels'].flatMap((name) => ['--config', `profile.release.package.${name}.opt-level=0`]);

const WEB = ['--target', 'wasm32-unknown-unknown', '--lib'];

/** What `cargo clippy` does, but building rather than checking: so burn is compiled once, for the tests too. */
function clippy(args, environment = {}) {
  const driver = which('clippy-driver', environment.PATH);
  if (!driver || !ask(driver, ['--version']).ok)
    throw new SetupError("clippy is missing: `rustup component add clippy rustfmt`, or your distribution's package.");
  const wrapper = { RUSTC_WORKSPACE_WRAPPER: driver, CLIPPY_ARGS: '-Dwarnings__CLIPPY_HACKERY__' };
  return watch('cargo', ['build', '--locked', '--release', ...UNOPTIMISED, ...args], { environment: { ...environment, ...wrapper } });
}

/**
 * The documentation, with every warning an error. `cargo doc` would check all of burn once more. For the documentation's tests cargo
 * calls rustdoc with what is built already, and tells how: without `--test` that call makes the documentation.
 */
async function rustdoc(features) {
  const listed = await watch('cargo', ['test', '--doc', '--locked', '--release', '--verbose', ...features, '--', '--list']);
  if (listed.status !== 0) return listed;
  const call = rustdocCall(listed.output);
  if (!call) throw new SetupError('`cargo test --doc --verbose` does not tell any more how it calls rustdoc.');
  const [program, ...args] = call;
  // Cargo gives it to the compiler without saying so.
  const environment = { CARGO_PKG_VERSION: lockedVersion('noiseball') };
  return watch(program, [...args, '--deny', 'warnings', '--out-dir', join(root, 'target', 'doc')], { environment });
}

/** How cargo said that it calls rustdoc for a library's tests, without what is for tests only: program and arguments. */
export function rustdocCall(output) {
  const line = output.match(/^ *Running `(.*rustdoc .*--test .*)`$/m)?.[1];
  if (!line) return null;
  // Shell-quoted: words with single quotes around what needs them.
  const words = line.match(/(?:'[^']*'|[^\s'])+/g).map((word) => word.replaceAll("'", ''));
  const program = words.findIndex((word) => /rustdoc(\.exe)?$/.test(word)); // variables may stand before it
  const args = words.slice(program);
  const kept = [];
  for (let i = 0; i < args.length; i += 1) {
    if (['--test', '--no-run'].includes(args[i])) continue;
    if (['--test-args', '--test-run-directory', '--test-runtool', '--test-runtool-arg'].includes(args[i])) i += 1;
    else kept.push(args[i]);
  }
  return kept;
}

function script(path, args) {
  return watch(process.execPath, [join('node_modules', path), ...args]);
}
