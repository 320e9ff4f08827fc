// A stranger's text (a key, a file's name, a class, an address, a server's answer) made fit to show. src/text.rs does the
// same for what Rust says.

/** Characters of a name, a key or a value. */
const NAME = 160;
/** Characters of an address or a sentence. */
const PROSE = 1000;

/**
 * What does something else than stand for itself: it breaks the line, turns the direction of reading, or cannot be
 * seen. The joiners that scripts and emoji are written with may stay.
 */
const MISLEADING =
  /[\p{Cc}\u{61c}\u{180e}\u{200b}\u{200e}\u{200f}\u{feff}\u{2028}-\u{202e}\u{2060}-\u{206f}\u{fff9}-\u{fffb}\u{e0000}-\u{e007f}]/u;

/** A name, a key or a value as it may be shown: escaped, and cut to 160 characters. */
export function name(text) {
  return shown(String(text), NAME);
}

/** A sentence as it may be shown: escaped, cut to 1000 characters, and without the secrets of the addresses in it. */
export function prose(text) {
  return shown(withoutSecrets(String(text)), PROSE);
}

/**
 * An address, or a text with addresses in it, without what may be a secret: a user's name and password, and everything
 * from the question mark on. It is what messages show and what a link may hold.
 */
export function withoutSecrets(text) {
  return text.replace(/:\/\/([^\s"'`<>()]*)/g, (_, address) => {
    const open = address.split(/[?#]/, 1)[0];
    const slash = open.indexOf('/');
    const host = slash < 0 ? open : open.slice(0, slash);
    const stops = open.length < address.length ? (/[.,;:]+$/.exec(address.slice(open.length))?.[0] ?? '') : '';
    return `://${host.slice(host.lastIndexOf('@') + 1)}${open.slice(host.length)}${stops}`;
  });
}

/** Percent signs undone, where they are an encoding at all. */
export function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function shown(text, limit) {
  let out = '';
  let left = limit;
  for (const character of text) {
    const piece = MISLEADING.test(character) ? `\\u{${character.codePointAt(0).toString(16)}}` : character;
    left -= piece === character ? 1 : piece.length;
    if (left < 0) return `${out}…`;
    out += piece;
  }
  return out;
}
