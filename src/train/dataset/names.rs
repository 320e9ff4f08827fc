//! What the names of files say: which are hidden, which folder is a class, and what the names in a ZIP archive are.

/// Whether a file is the system's rather than the reader's.
pub(super) fn is_hidden(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    let hides = |part: &str| part.starts_with('.') && part != "." && part != ".." || part == "__MACOSX";
    name.split('/').any(hides) || ["thumbs.db", "desktop.ini"].contains(&file.to_lowercase().as_str())
}

/// Whether a file says by its name that it is a ZIP archive; NumPy's NPZ is one too.
pub(super) fn is_archive(name: &str) -> bool {
    let name = name.to_lowercase();
    name.ends_with(".zip") || name.ends_with(".npz")
}

/// The folder that a file is in, with its slash; empty at the top.
pub(super) fn folder(name: &str) -> &str {
    &name[..name.rfind('/').map_or(0, |at| at + 1)]
}

/// The class of a file: the name of the folder that it is in. None at the top.
pub(super) fn class(name: &str) -> Option<&str> {
    folder(name).split('/').rfind(|part| !part.is_empty())
}

/// The length in bytes of the folders, with their slashes, that all names begin with.
pub(super) fn shared_folders<'a>(mut names: impl Iterator<Item = &'a str>) -> usize {
    let Some(first) = names.next() else { return 0 };
    let mut shared = folder(first);
    for name in names {
        while !name.starts_with(shared) {
            shared = folder(shared.trim_end_matches('/'));
        }
    }
    shared.len()
}

/// By folder, then by file, so that the order is the same on every system.
pub(super) fn order(a: &str, b: &str) -> std::cmp::Ordering {
    a.split('/').cmp(b.split('/'))
}

/// Text from bytes of an unknown encoding: UTF-8 if they are that, otherwise code page 437, ZIP's own. Other encodings become
/// wrong letters, but names that differ stay different, which is what classes need.
pub(super) fn text(bytes: &[u8]) -> String {
    let letter = |b: &u8| if *b < 128 { char::from(*b) } else { CP437[usize::from(*b - 128)] };
    str::from_utf8(bytes).map_or_else(|_| bytes.iter().map(letter).collect(), str::to_owned)
}

/// The name of an entry of a ZIP archive, with slashes. `extra` holds its extra fields, among which Info-ZIP puts the name in
/// UTF-8.
pub(super) fn entry(bytes: &[u8], extra: &[u8]) -> String {
    let name = unicode_path(bytes, extra).unwrap_or_else(|| text(bytes));
    // Some Windows programs separate folders by backslashes; where there are slashes too, it is part of a letter in Shift-JIS.
    let name = if name.contains('/') { name } else { name.replace('\\', "/") };
    // Some write every name as that of a file in this folder.
    name.strip_prefix("./").map_or(name.clone(), str::to_owned)
}

/// Whether the name of an entry leads out of the archive.
pub(super) fn leads_out(name: &str) -> bool {
    name.split('/').any(|part| part == "..")
}

/// Info-ZIP's field 0x7075: version 1, the CRC of the name that it stands for, the name in UTF-8.
fn unicode_path(name: &[u8], mut extra: &[u8]) -> Option<String> {
    while let [a, b, c, d, rest @ ..] = extra {
        let (id, length) = (u16::from_le_bytes([*a, *b]), usize::from(u16::from_le_bytes([*c, *d])));
        let field = rest.get(..length)?;
        if let (0x7075, [1, crc @ ..]) = (id, field)
            && let Some((crc, text)) = crc.split_first_chunk::<4>()
        {
            let mut found = flate2::Crc::new();
            found.update(name);
            return (found.sum() == u32::from_le_bytes(*crc))
                .then(|| String::from_utf8(text.to_vec()).ok())
                .flatten();
        }
        extra = &rest[length..];
    }
    None
}

/// What an array's name says: whether it holds labels, and what it is about besides: `train_images` and `train_labels` are both about
/// `train`.
pub(super) fn subject(name: &str) -> (bool, Vec<String>) {
    const PICTURES: [&str; 8] = ["images", "image", "imgs", "img", "pictures", "data", "x", "arr"];
    const LABELS: [&str; 9] =
        ["labels", "label", "targets", "target", "classes", "class", "y", "categories", "category"];
    const TYPES: [&str; 7] = ["npy", "npz", "gz", "idx", "ubyte", "idx1", "idx3"];
    let file = name.rsplit('/').next().unwrap_or(name).to_lowercase();
    let mut words: Vec<String> =
        file.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_owned).collect();
    let before = words.len();
    words.retain(|w| !LABELS.contains(&w.as_str()));
    // The classes' names are no labels.
    let is_labels = words.len() < before && !words.iter().any(|w| ["name", "names"].contains(&w.as_str()));
    words.retain(|w| !PICTURES.contains(&w.as_str()) && !TYPES.contains(&w.as_str()));
    (is_labels, words)
}

/// What an array's name says of it as one of several lists of pictures: what it is about but for the part of the data, and which part
/// that is. None where it says neither.
pub(super) fn part(name: &str) -> (Vec<String>, Vec<String>) {
    const PARTS: [&str; 25] = [
        "train",
        "training",
        "trn",
        "test",
        "testing",
        "tst",
        "t10k",
        "val",
        "valid",
        "validation",
        "dev",
        "eval",
        "holdout",
        "extra",
        "xtrain",
        "xtest",
        "xval",
        "part",
        "shard",
        "fold",
        "batch",
        "chunk",
        "split",
        "unlabeled",
        "unlabelled",
    ];
    let file = name.rsplit('/').next().unwrap_or(name).to_lowercase();
    // savez calls whatever it is given without a name arr_0, arr_1 and so on.
    if file.starts_with("arr_") {
        return (vec![file], Vec::new());
    }
    let (mut about, mut part) = (Vec::new(), Vec::new());
    for word in subject(name).1 {
        let stem = word.trim_end_matches(|c: char| c.is_ascii_digit());
        if PARTS.contains(&word.as_str()) || stem.is_empty() {
            part.push(word);
        } else if stem.len() < word.len() {
            if !PARTS.contains(&stem) && !["x", "images", "data", "image", "img"].contains(&stem) {
                about.push(stem.to_owned());
            }
            part.push(word);
        } else {
            about.push(word);
        }
    }
    (about, part)
}

/// Code page 437 from 128 on.
const CP437: [char; 128] = [
    'Ç', 'ü', 'é', 'â', 'ä', 'à', 'å', 'ç', 'ê', 'ë', 'è', 'ï', 'î', 'ì', 'Ä', 'Å', 'É', 'æ', 'Æ', 'ô', 'ö',
    'ò', 'û', 'ù', 'ÿ', 'Ö', 'Ü', '¢', '£', '¥', '₧', 'ƒ', 'á', 'í', 'ó', 'ú', 'ñ', 'Ñ', 'ª', 'º', '¿', '⌐',
    '¬', '½', '¼', '¡', '«', '»', '░', '▒', '▓', '│', '┤', '╡', '╢', '╖', '╕', '╣', '║', '╗', '╝', '╜', '╛',
    '┐', '└', '┴', '┬', '├', '─', '┼', '╞', '╟', '╚', '╔', '╩', '╦', '╠', '═', '╬', '╧', '╨', '╤', '╥', '╙',
    '╘', '╒', '╓', '╫', '╪', '┘', '┌', '█', '▄', '▌', '▐', '▀', 'α', 'ß', 'Γ', 'π', 'Σ', 'σ', 'µ', 'τ', 'Φ',
    'Θ', 'Ω', 'δ', '∞', 'φ', 'ε', '∩', '≡', '±', '≥', '≤', '⌠', '⌡', '÷', '≈', '°', '∙', '·', '√', 'ⁿ', '²',
    '■', '\u{a0}',
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_archives_stay_apart_whatever_their_encoding() {
        assert_eq!(entry("猫/1.png".as_bytes(), &[]), "猫/1.png");
        // 猫 and 犬 in GBK and Shift-JIS; ソ, whose second byte in Shift-JIS is a backslash.
        let names: [&[u8]; 5] = [b"\xc3\xa8/1", b"\xc8\xae/1", b"\x94\x4c/1", b"\x8c\xa2/1", b"\x83\x5c/1"];
        let read: std::collections::BTreeSet<_> =
            names.map(|n| class(&entry(n, &[])).unwrap().to_owned()).into_iter().collect();
        assert_eq!(read.len(), 5, "{read:?}");
        assert_eq!(entry(b"caf\x82/1", &[]), "café/1");
        assert_eq!(entry(b"a\\b\\1.png", &[]), "a/b/1.png");
        assert_eq!(entry(b"a/b\\1.png", &[]), "a/b\\1.png");
    }

    #[test]
    fn info_zips_own_name_counts_if_it_belongs_to_this_one() {
        let mut crc = flate2::Crc::new();
        crc.update(b"\x94L/1.png");
        let mut extra = vec![9, 9, 1, 0, 7, 0x75, 0x70, 12, 0, 1];
        extra.extend(crc.sum().to_le_bytes());
        extra.extend("猫/1.p".as_bytes());
        assert_eq!(entry(b"\x94L/1.png", &extra), "猫/1.p");
        assert_eq!(entry(b"other/1.png", &extra), "other/1.png");
        for cut in 0..extra.len() {
            entry(b"\x94L/1.png", &extra[..cut]);
        }
    }

    #[test]
    fn folders_are_classes_but_those_that_all_share_and_hidden_ones() {
        assert_eq!(class("a/b/1.png"), Some("b"));
        assert_eq!(class("a//1.png"), Some("a"));
        assert_eq!((class("1.png"), class("/1.png")), (None, None));
        assert_eq!(shared_folders(["a/b/1", "a/b/2", "a/bc/1"].into_iter()), 2);
        assert_eq!(shared_folders(["a/1", "b/1"].into_iter()), 0);
        assert!(is_hidden("a/.git/1") && is_hidden("__MACOSX/1.png") && is_hidden("a/Thumbs.db"));
        assert!(!is_hidden("a/b.c/1.png") && !is_hidden("./a/1.png"));
        assert!(leads_out("../a/1.png") && !leads_out("a..b/1.png"));
        assert_eq!(entry(b"./a/1.png", &[]), "a/1.png");
    }

    #[test]
    fn parts_of_one_set_are_known_by_their_names() {
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        assert_eq!(part("x_train.npy"), (vec![], words(&["train"])));
        assert_eq!(part("train-images-idx3-ubyte.gz"), (vec![], words(&["train"])));
        assert_eq!(part("data_batch_2.npy"), (vec![], words(&["batch", "2"])));
        assert_eq!(part("images3.npy"), (vec![], words(&["images3"])));
        assert_eq!(part("train_masks.npy"), (words(&["masks"]), words(&["train"])));
        assert_eq!(part("images.npy"), (vec![], vec![]));
        assert_eq!(part("arr_1.npy").1, words(&[]));
    }
}
