/**
 * Where libraries' code lay on the machine that built a module is nobody's business, and costs half a kilobyte of the sampling
 * module's download: panics name it. This crate's own files keep their names.
 */
import { homedir } from 'node:os';
import { join } from 'node:path';

/** Rust's own library's, and what cargo unpacked. */
const PLACES = ['/rustc/', '/rust/deps/', join(process.env.CARGO_HOME ?? join(homedir(), '.cargo'), 'registry/src/')];

/** The module with dots in place of the paths of libraries' files. */
export function blankPaths(module, places = PLACES) {
  const blank = Buffer.from(module);
  for (const place of places) {
    for (let from = blank.indexOf(place); from >= 0; from = blank.indexOf(place, from)) {
      const end = blank.indexOf('.rs', from);
      if (end < 0) break;
      blank.fill('.', from, end + '.rs'.length);
    }
  }
  return blank;
}
