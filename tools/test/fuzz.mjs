/**
 * Runs the fuzz targets of fuzz/: each on its corpus, then on what it makes of that for ten seconds (`FUZZ_SECONDS` in the environment
 * changes that), from one seed. libFuzzer needs nothing but stable Rust and a C++ compiler: coverage comes from LLVM's own pass.
 */
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { aptInstall } from '../setup/packages.mjs';
import { requireCargo } from '../setup/rust.mjs';
import { ask, root, SetupError, watch, which } from '../setup/shell.mjs';

const SEED = 1;
/** What `cargo fuzz` passes, without the sanitisers that only nightly Rust has. */
const COVERAGE = [
  '-Cpasses=sancov-module',
  '-Cllvm-args=-sanitizer-coverage-level=4',
  '-Cllvm-args=-sanitizer-coverage-inline-8bit-counters',
  '-Cllvm-args=-sanitizer-coverage-pc-table',
  '-Cllvm-args=-sanitizer-coverage-trace-compares',
  // Decoders leave out checksums then, which no fuzzer would ever get right.
  '--cfg=fuzzing',
];

export async function fuzz() {
  requireCargo();
  if (!which(['c++', 'g++', 'clang++'])) aptInstall(['g++'], 'build the fuzz targets');
  const host = /^host: (.+)$/m.exec(ask('rustc', ['-vV']).stdout)?.[1];
  if (!host) throw new SetupError('`rustc -vV` does not say for which machine it compiles.');
  // With a target named, the flags are not for build scripts, which have nobody to report their coverage to.
  const place = ['--manifest-path', join('fuzz', 'Cargo.toml'), '--target', host, '--target-dir', join('target', 'fuzz')];
  const environment = { RUSTFLAGS: COVERAGE.join(' ') };
  const built = await watch('cargo', ['build', '--locked', '--release', ...place], { environment });
  if (built.status !== 0) return { passed: 0, failed: 1 };

  const targets = readdirSync(join(root, 'fuzz', 'corpus')).sort();
  let failed = 0;
  for (const target of targets) {
    const found = join('target', 'fuzz', 'found', target);
    rmSync(join(root, found), { recursive: true, force: true });
    mkdirSync(join(root, found), { recursive: true });
    const { status } = await watch(join('target', 'fuzz', host, 'release', target), [
      `-seed=${SEED}`,
      `-max_total_time=${process.env.FUZZ_SECONDS ?? 10}`,
      '-timeout=20',
      '-rss_limit_mb=1024',
      '-print_final_stats=1',
      '-verbosity=0',
      `-artifact_prefix=${join('target', 'fuzz', `${target}-`)}`,
      found,
      join('fuzz', 'corpus', target),
    ]);
    console.log(`fuzz ${target}: ${status === 0 ? 'passed' : 'failed'}`);
    if (status !== 0) failed += 1;
  }
  return { passed: targets.length - failed, failed };
}
