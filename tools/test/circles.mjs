/**
 * Which files of the Rust source use each other in a circle. A file may use what lies below it and nothing above, so that
 * each can be read, tested and replaced without those that use it.
 *
 * A small reader of `use` declarations and of paths in the code, rather than the compiler, so that it needs no build. It
 * follows re-exports to the file that defines a name, reads tests as a part of their file, and takes no notice of comments.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** @returns {{files: string[], text: string}[]} each circle of files below `folder`, and the names that tie it together */
export function circles(folder) {
  const files = readdirSync(folder, { recursive: true })
    .map((name) => name.replaceAll('\\', '/'))
    .filter((name) => name.endsWith('.rs'))
    .sort();
  const crate = new Crate(files.map((name) => [name, readFileSync(join(folder, name), 'utf8')]));
  return inWords(crate.arrows());
}

/** The same for source text: `[[path, text], …]`. */
export function circlesOf(sources) {
  return inWords(new Crate(sources).arrows());
}

class Crate {
  /** By module path, such as `engine::gpu`; programs below `bin` are crates of their own. */
  #modules = new Map();

  constructor(sources) {
    for (const [file, text] of sources) {
      const code = withoutComments(text);
      const path = modulePath(file);
      const children = [...code.matchAll(/\bmod\s+(\w+)\s*;/g)].map(([, name]) => name);
      this.#modules.set(path.join('::'), { file, code, path, children, inline: inlineModules(code) });
    }
  }

  /** From each file to those that it uses: `Map<file, Map<file, Set<name>>>`. */
  arrows() {
    const arrows = new Map();
    for (const module of this.#modules.values()) {
      const to = new Map();
      for (const path of this.#paths(module)) {
        const { file, name } = this.#definition(path);
        if (!file || file === module.file) continue;
        if (!to.has(file)) to.set(file, new Set());
        to.get(file).add(name);
      }
      arrows.set(module.file, to);
    }
    return arrows;
  }

  /** Every path in a module's code that begins in its own crate, from the crate's root. */
  *#paths(module) {
    const declarations = /\b(pub\s+)?use\s+([^;]+);/g;
    const body = module.code.replace(declarations, (found) => ' '.repeat(found.length));
    for (const { 1: exported, 2: tree, index } of module.code.matchAll(declarations)) {
      for (const path of expand(tree)) {
        const absolute = this.#absolute(module, path, index);
        // What a file only passes on to others it does not use; nor all that another has, of which no name is said.
        const used = !exported || (path.at(-1) !== '*' && new RegExp(`\\b${path.at(-1)}\\b`).test(body));
        if (absolute && used) yield absolute;
      }
    }
    for (const found of body.matchAll(/(?<![\w:])(\w+)(?:::\w+)+/g)) {
      const absolute = this.#absolute(module, found[0].split('::'), found.index);
      if (absolute) yield absolute;
    }
  }

  /** A path from the crate's root, or undefined where it leads to another crate or begins with a name of the code's own. */
  #absolute(module, [first, ...rest], at) {
    const here = [...module.path, ...module.inline.filter(({ from, to }) => from < at && at < to).map(({ name }) => name)];
    if (first === 'crate') return [...root(module.path), ...rest];
    if (first === 'self') return [...here, ...rest];
    if (module.children.includes(first)) return [...module.path, first, ...rest];
    if (first !== 'super') return undefined;
    const up = [...here];
    const names = ['super', ...rest];
    while (names[0] === 'super') {
      up.pop();
      names.shift();
    }
    return [...up, ...names];
  }

  /** The file that defines what a path names. */
  #definition(path, seen = []) {
    let length = path.length;
    while (length > 0 && !this.#modules.has(path.slice(0, length).join('::'))) length--;
    const module = this.#modules.get(path.slice(0, length).join('::'));
    const name = path[length] ?? path.at(-1);
    if (!module || seen.includes(path.join('::'))) return { name };
    for (const use of module.code.matchAll(/\bpub\s+use\s+([^;]+);/g)) {
      for (const reexported of expand(use[1])) {
        if (reexported.at(-1) !== name) continue;
        const absolute = this.#absolute(module, reexported, use.index);
        if (absolute) return this.#definition(absolute, [...seen, path.join('::')]);
      }
    }
    return { file: module.file, name };
  }
}

/** `a::{b, c::D as E}` as `[['a', 'b'], ['a', 'c', 'D']]`. */
function expand(tree) {
  const text = tree.trim().replace(/\s+as\s+\w+/g, '');
  const open = text.indexOf('{');
  if (open < 0) return [text.split('::').map((name) => name.trim())];
  const before = text.slice(0, open).split('::').filter(Boolean);
  const inside = text.slice(open + 1, text.lastIndexOf('}'));
  let depth = 0;
  let part = '';
  const parts = [];
  for (const letter of inside) {
    if (letter === ',' && depth === 0) {
      parts.push(part);
      part = '';
      continue;
    }
    depth += letter === '{' ? 1 : letter === '}' ? -1 : 0;
    part += letter;
  }
  return [...parts, part]
    .filter((text) => text.trim())
    .flatMap(expand)
    .map((path) => [...before, ...path].filter((name, i) => name !== 'self' || i === 0));
}

/** Modules that stand in a file within braces, tests mostly: their names and where their braces are. */
function inlineModules(code) {
  return [...code.matchAll(/\bmod\s+(\w+)\s*\{/g)].map(({ 0: head, 1: name, index }) => {
    const from = index + head.length - 1;
    let depth = 0;
    let to = from;
    do {
      depth += code[to] === '{' ? 1 : code[to] === '}' ? -1 : 0;
      to++;
    } while (depth > 0 && to < code.length);
    return { name, from, to };
  });
}

function modulePath(file) {
  const path = file.replace(/\.rs$/, '').split('/');
  if (['mod', 'lib', 'main'].includes(path.at(-1))) path.pop();
  return path;
}

function root(path) {
  return path[0] === 'bin' ? path.slice(0, 2) : [];
}

/** Rust without comments and without what strings hold. */
function withoutComments(text) {
  return text
    .replace(/\/\/[^\n]*|\/\*[\s\S]*?\*\/|\br(#*)"[\s\S]*?"\1|"(?:[^"\\]|\\[\s\S])*"|'(?:[^'\\\n]|\\[^\n]+?)'/g, (found) =>
      found[0] === '/' ? ' ' : '""',
    )
    .replace(/\bpub\s*\([^)]*\)/g, 'pub');
}

function inWords(arrows) {
  return components(arrows).map((files) => {
    const ties = files.flatMap((file) =>
      [...arrows.get(file)]
        .filter(([to]) => files.includes(to))
        .map(([to, names]) => `  ${file} uses ${[...names].sort().join(', ')} of ${to}`),
    );
    return { files, text: [`${files.length} files in a circle:`, ...ties].join('\n') };
  });
}

/** The strongly connected components of more than one file (Tarjan 1972). */
function components(arrows) {
  const found = [];
  const [index, low, stack] = [new Map(), new Map(), []];
  const visit = (file) => {
    index.set(file, index.size);
    low.set(file, index.get(file));
    stack.push(file);
    for (const to of arrows.get(file)?.keys() ?? []) {
      if (!index.has(to)) visit(to);
      if (stack.includes(to)) low.set(file, Math.min(low.get(file), low.get(to)));
    }
    if (low.get(file) !== index.get(file)) return;
    const component = stack.splice(stack.indexOf(file));
    if (component.length > 1) found.push(component.sort());
  };
  for (const file of arrows.keys()) if (!index.has(file)) visit(file);
  return found;
}
