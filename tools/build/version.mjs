/**
 * `node tools/build/version.mjs`: prints the version that all manifests have; fails where they differ, or where they have another
 * than the one that is given.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { main, root, SetupError } from '../setup/shell.mjs';

/** The version in each manifest. */
export function versions() {
  const read = (path) => readFileSync(join(root, path), 'utf8');
  const ofCargo = (path) => /^\[package\][^[]*?^version = "([^"]+)"/ms.exec(read(path))?.[1];
  const wanted = /^noiseball-kernels = .*?version = "([^"]+)"/m.exec(read('Cargo.toml'))?.[1];
  return {
    'package.json': JSON.parse(read('package.json')).version,
    'Cargo.toml': ofCargo('Cargo.toml'),
    'src/engine/kernels/Cargo.toml': ofCargo('src/engine/kernels/Cargo.toml'),
    'Cargo.toml, of noiseball-kernels': wanted,
  };
}

if (process.argv[1] === import.meta.filename) {
  await main(async () => {
    const found = versions();
    const expected = process.argv[2] ?? found['package.json'];
    const others = Object.entries(found).filter(([, version]) => version !== expected);
    if (others.length > 0) {
      throw new SetupError(
        `The version is not ${expected} everywhere: ${others.map(([path, version]) => `${version} in ${path}`).join(', ')}.`,
      );
    }
    console.log(expected);
  });
}
