/**
 * Command-line tools that come as Rust crates. One on PATH is used when its version is right; otherwise it is
 * built once into `.tools/` (git-ignored), where nothing else on the machine sees it.
 */
import { join } from 'node:path';
import { requireCargo } from './rust.mjs';
import { ask, lockedVersion, root, run, step, which } from './shell.mjs';

const INSTALLED = join(root, '.tools', 'bin');

/** wasm-bindgen's CLI in exactly the version the code is linked with: other versions refuse the module. */
export function wasmBindgen() {
  return cargoTool('wasm-bindgen-cli', 'wasm-bindgen', lockedVersion('wasm-bindgen'), '1');
}

/** wasm-pack, which runs the tests in tests/web.rs in browsers. */
export function wasmPack() {
  return cargoTool('wasm-pack', 'wasm-pack', '0.15.1');
}

/** Firefox's WebDriver. */
export function geckodriver() {
  return cargoTool('geckodriver', 'geckodriver', '0.37.1');
}

/** The other two only start programs: without optimisation they are built in half the time. */
function cargoTool(crate, binary, version, optimisation = '0') {
  const path = find(binary, version);
  if (path) return path;
  requireCargo();
  step(`building ${crate} ${version} (about a minute, once)`);
  run('cargo', ['install', '--quiet', '--root', '.tools', `${crate}@${version}`], {
    environment: {
      CARGO_TARGET_DIR: join(root, 'target', 'tools'),
      CARGO_PROFILE_RELEASE_OPT_LEVEL: optimisation,
      CARGO_PROFILE_RELEASE_LTO: 'false',
      CARGO_PROFILE_RELEASE_CODEGEN_UNITS: '16',
      CARGO_PROFILE_RELEASE_STRIP: 'true',
    },
    advice: `Without it nothing further can be done here; \`cargo install ${crate}@${version}\` by hand does as well.`,
  });
  return find(binary, version);
}

function find(binary, version) {
  const candidates = [which(binary), which(binary, INSTALLED)];
  return candidates.find((path) => path && ask(path, ['--version']).stdout.split(/\s/).includes(version));
}
