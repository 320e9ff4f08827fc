//! Which file of a folder is which. Everything here is about names alone, so that a folder on disk, files dropped on
//! a page and addresses on a server are searched by the same rules.
//!
//! Two layouts exist. `save_pretrained` writes the first; the second is flat:
//!
//! ```text
//! model_index.json                              model_index.json
//! unet/config.json                              config.json
//! unet/diffusion_pytorch_model.safetensors      diffusion_pytorch_model.safetensors
//! scheduler/scheduler_config.json               scheduler_config.json
//! labels.json                                   labels.json
//! ```

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::text;

const STEM: &str = "diffusion_pytorch_model";

/// What weights in this folder are called before their ending: text encoders are transformers' models, which have other names.
fn stem(folder: &str, end: &str) -> &'static str {
    match end {
        _ if !cfg!(feature = "text") || !text::contains(folder, "text_encoder") => STEM,
        "bin" => "pytorch_model",
        _ => "model",
    }
}

/// The variant that is tried where no plain weights are and the files cannot be listed: the one that most checkpoints have.
const LIKELY_VARIANT: &str = "fp16";

/// Where the weights are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WeightFiles {
    /// In one file.
    Whole(String),
    /// In several, which this index names ([`Shards`](super::weights::Shards)); they lie beside it.
    Sharded(String),
}

impl WeightFiles {
    /// The name of the file itself or of the index.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Whole(name) | Self::Sharded(name) => name,
        }
    }

    /// `fp16` of `diffusion_pytorch_model.fp16.safetensors`.
    fn variant(&self) -> Option<&str> {
        let (folder, name) = self.name().split_at(folder_of(self.name()).len());
        let end = if cfg!(feature = "text") && is_pickled(name) { "bin" } else { "safetensors" };
        let name = name.strip_prefix(stem(folder, end))?.strip_prefix('.')?;
        match self {
            Self::Whole(_) => name.rsplit_once('.').map(|(variant, _)| variant),
            Self::Sharded(_) => text::split_once(name, ".index.")?.1.strip_suffix(".json"),
        }
    }
}

/// The names of one layout, relative to the checkpoint's root.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    /// The network's folder, `""` or ending in a slash.
    pub folder: &'static str,
    /// Needed; tells the layouts apart.
    pub unet_config: &'static str,
    /// Optional; in the order in which to try them.
    pub scheduler_config: [&'static str; 2],
}

/// Optional, in either layout.
pub const MODEL_INDEX: &str = "model_index.json";
/// Optional, in either layout.
pub const LABELS: &str = "labels.json";

/// Both layouts, `save_pretrained`'s first.
pub static LAYOUTS: [Layout; 2] = [
    Layout {
        folder: "unet/",
        unet_config: "unet/config.json",
        scheduler_config: ["scheduler/scheduler_config.json", "scheduler_config.json"],
    },
    Layout {
        folder: "",
        unet_config: "config.json",
        scheduler_config: ["scheduler_config.json", "scheduler/scheduler_config.json"],
    },
];

/// A `variant` as in Python, for instance `"fp16"`.
///
/// # Errors
/// [`Error::Option`] where it is no part of a file name.
pub fn check_variant(variant: Option<&str>) -> Result<()> {
    let plain = |v: &str| !v.is_empty() && v.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    match variant {
        Some(bad) if !plain(bad) => Err(Error::Option {
            option: "variant",
            found: format!("{bad:?}"),
            expected: "letters, digits, `_` and `-`, as in `fp16`".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// The weights to ask for in a network's folder where files cannot be listed, in the order in which to try them.
#[must_use]
pub fn candidates(folder: &str, variant: Option<&str>) -> Vec<WeightFiles> {
    let mut candidates = Vec::new();
    for end in ["safetensors", "bin"] {
        candidates.extend(named(folder, variant, end));
        if variant.is_none() {
            candidates.extend(named(folder, Some(LIKELY_VARIANT), end));
        }
    }
    candidates
}

/// The names that `save_pretrained` gives to weights.
fn named(folder: &str, variant: Option<&str>, end: &str) -> [WeightFiles; 2] {
    let stem = stem(folder, end);
    match variant {
        None => [
            WeightFiles::Whole(format!("{folder}{stem}.{end}")),
            WeightFiles::Sharded(format!("{folder}{stem}.{end}.index.json")),
        ],
        Some(variant) => [
            WeightFiles::Whole(format!("{folder}{stem}.{variant}.{end}")),
            WeightFiles::Sharded(format!("{folder}{stem}.{end}.index.{variant}.json")),
        ],
    }
}

/// The names of all files of a folder, in which a checkpoint is looked for.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Tidied names, and the same as they were given.
    names: Map<String, Value>,
}

impl Listing {
    /// Names relative to a folder, with slashes of either kind; those that are hidden are left out.
    #[must_use]
    pub fn new<S: AsRef<str>>(names: &[S]) -> Self {
        let tidied: Vec<String> = names.iter().map(|name| tidy(name.as_ref())).collect();
        // A folder is chosen or dropped under its own name, which may be any.
        let mut tops = tidied.iter().map(|name| name.split_once('/').map_or("", |(top, _)| top));
        let top = tops.next().unwrap_or_default();
        let shared = if tops.all(|other| other == top) { top.len() } else { 0 };
        let mut all = Map::new();
        for (name, given) in tidied.into_iter().zip(names) {
            if !name[shared..].split('/').any(is_hidden) {
                all.insert(name, given.as_ref().into());
            }
        }
        Self { names: all }
    }

    /// The name as it was given, where there is such a file.
    #[must_use]
    pub fn given(&self, name: &str) -> Option<&str> {
        self.names.get(name).and_then(Value::as_str)
    }

    /// Finds a checkpoint in either layout, at the top or further in (as when a folder is dropped with its own name before each
    /// file): its root, `""` or ending in a slash, and its layout. It is the outermost with a config, preferably with weights.
    ///
    /// # Errors
    /// [`Error::MissingFile`] where there is none, or several.
    pub fn root(&self) -> Result<(String, &'static Layout)> {
        let mut roots: Vec<(String, &Layout)> = Vec::new();
        for name in self.names.keys() {
            // Layout A's config is also a B config one folder further in; A comes first.
            let layout = LAYOUTS.iter().find_map(|layout| {
                let root = name.strip_suffix(layout.unet_config)?;
                (root.is_empty() || root.ends_with('/')).then(|| (root.to_owned(), layout))
            });
            roots.extend(layout);
        }
        let has_weights = |(root, layout): &&(String, &Layout)| {
            !self.weights_in(&format!("{root}{}", layout.folder)).is_empty()
        };
        let with_weights: Vec<_> = roots.iter().filter(has_weights).cloned().collect();
        // A pipeline of another kind has configs of encoders and decoders below its index, which are no network to sample.
        let pipelines: Vec<_> = self.names.keys().filter_map(|name| name.strip_suffix(MODEL_INDEX)).collect();
        let mut roots = if with_weights.is_empty() { roots } else { with_weights };
        roots.retain(|(root, _)| !pipelines.iter().any(|p| root.len() > p.len() && root.starts_with(p)));
        let outermost = roots.iter().map(|(root, _)| depth(root)).min();
        roots.retain(|(root, _)| Some(depth(root)) == outermost);
        if let [(first, a), (second, b)] = &roots[..] {
            // Both layouts at one root: A.
            if first == second {
                return Ok((first.clone(), if a.folder.len() > b.folder.len() { a } else { b }));
            }
        }
        match roots.len() {
            0 => Err(Error::MissingFile {
                wanted: format!("{} or {}", LAYOUTS[0].unet_config, LAYOUTS[1].unet_config),
                found: list(self.names.keys()),
            }),
            1 => Ok(roots.swap_remove(0)),
            n => Err(Error::MissingFile {
                wanted: "single checkpoint".to_owned(),
                found: format!("{n}, in {}", list(roots.iter().map(|(root, _)| root))),
            }),
        }
    }

    /// The folder of the outermost pipeline, whatever it is made of.
    #[must_use]
    pub fn pipeline(&self) -> Option<&str> {
        self.names.keys().filter_map(|name| name.strip_suffix(MODEL_INDEX)).min_by_key(|root| depth(root))
    }

    /// Finds the weights in a network's folder below the root, which the names given back leave out: plain ones, or those of the
    /// variant asked for; where there are no plain ones, the only others, whatever they are called. Safetensors come before
    /// pickles.
    ///
    /// # Errors
    /// [`Error::Option`] where there are several variants to choose from; [`Error::MissingFile`] where none will do.
    pub fn weights(&self, root: &str, folder: &str, variant: Option<&str>) -> Result<WeightFiles> {
        let within = format!("{root}{folder}");
        let beside: Vec<&str> = self.weights_in(&within).iter().map(|name| &name[root.len()..]).collect();
        for end in ["safetensors", "bin"] {
            if let Some(found) = named(folder, variant, end).into_iter().find(|w| beside.contains(&w.name()))
            {
                return Ok(found);
            }
            if variant.is_some() {
                continue;
            }
            let others = beside.iter().copied().filter(|name| is_pickled(name) == (end == "bin"));
            let mut others: Vec<WeightFiles> = others.filter_map(whole_or_index).collect();
            if others.len() == 1 {
                return Ok(others.swap_remove(0));
            }
            let variants: Vec<&str> = others.iter().filter_map(WeightFiles::variant).collect();
            if !others.is_empty() && variants.len() == others.len() {
                return Err(Error::Option {
                    option: "variant",
                    found: "not given".to_owned(),
                    expected: format!("one of those that are here: {}", list(variants.iter())),
                });
            }
            if !others.is_empty() {
                break;
            }
        }
        let found = if beside.is_empty() { list(self.names.keys()) } else { list(beside.iter()) };
        Err(Error::MissingFile { wanted: named(folder, variant, "safetensors")[0].name().to_owned(), found })
    }

    fn weights_in(&self, folder: &str) -> Vec<&str> {
        self.names
            .keys()
            .map(String::as_str)
            .filter(|name| is_weights(name) && folder_of(name) == folder)
            .collect()
    }
}

fn depth(root: &str) -> usize {
    root.matches('/').count()
}

fn is_weights(name: &str) -> bool {
    let (folder, name) = name.split_at(folder_of(name).len());
    name.ends_with(".safetensors")
        || (name.starts_with(stem(folder, "safetensors"))
            || cfg!(feature = "text") && name.starts_with(stem(folder, "bin")))
            && (name.ends_with(".bin")
                || name.ends_with(".json")
                    && [".safetensors.index.", ".bin.index."].iter().any(|part| text::contains(name, part)))
}

fn is_pickled(name: &str) -> bool {
    name.ends_with(".bin") || text::contains(name, ".bin.index.")
}

/// What a weights file is in itself; a shard is nothing without its index.
fn whole_or_index(name: &str) -> Option<WeightFiles> {
    if name.ends_with(".json") {
        return Some(WeightFiles::Sharded(name.to_owned()));
    }
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let number = |digits: &str| digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit());
    let shard = stem.rsplit_once('-').is_some_and(|(before, count)| {
        let index = before.strip_suffix("-of").and_then(|before| before.rsplit_once('-'));
        number(count) && index.is_some_and(|(_, index)| number(index))
    });
    (!shard).then(|| WeightFiles::Whole(name.to_owned()))
}

/// Everything up to and with the last slash.
fn folder_of(name: &str) -> &str {
    name.rfind('/').map_or("", |slash| &name[..=slash])
}

fn tidy(name: &str) -> String {
    let name = name.replace('\\', "/");
    name.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/")
}

/// Whether a file or folder of this name is version control's, an editor's or an archiver's own.
pub(super) fn is_hidden(part: &str) -> bool {
    part.starts_with('.') || part == "__MACOSX"
}

/// A few of the names, for a message.
pub(super) fn list(names: impl ExactSizeIterator<Item = impl ToString>) -> String {
    const SHOWN: usize = 6;
    let more = names.len().saturating_sub(SHOWN);
    let mut shown: Vec<String> =
        names.take(SHOWN).map(|name| text::name(name.to_string()).to_string()).collect();
    if more > 0 {
        shown.push(format!("{more} more"));
    }
    if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [&str; 2] = ["unet/config.json", "unet/diffusion_pytorch_model.safetensors"];
    const B: [&str; 2] = ["config.json", "diffusion_pytorch_model.safetensors"];

    /// The weights' name as it was given.
    fn weights(names: &[&str], variant: Option<&str>) -> Result<String> {
        let listing = Listing::new(names);
        let (root, layout) = listing.root()?;
        let found = listing.weights(&root, layout.folder, variant)?;
        Ok(listing.given(&format!("{root}{}", found.name())).unwrap().to_owned())
    }

    #[test]
    fn both_layouts_are_found_at_the_top_and_further_in() {
        for (layout, names) in LAYOUTS.iter().zip([A, B]) {
            for folder in ["", "./", "my model/", "models--x/snapshots/0f3a/", "C:\\drop\\", ".cache/"] {
                let mut all: Vec<_> = names.iter().map(|n| format!("{folder}{n}")).collect();
                if !folder.starts_with(".cache") {
                    all.extend(
                        ["README.md", ".git/config.json", "__MACOSX/unet/config.json"].map(str::to_owned),
                    );
                }
                let listing = Listing::new(&all);
                let (root, found) = listing.root().unwrap();
                assert_eq!(found, layout, "{all:?}");
                assert_eq!(listing.given(&format!("{root}{}", layout.unet_config)), Some(&*all[0]));
                let chosen = listing.weights(&root, layout.folder, None).unwrap();
                assert_eq!(listing.given(&format!("{root}{}", chosen.name())), Some(&*all[1]));
            }
        }
    }

    #[test]
    fn a_lone_file_of_another_name_will_do() {
        assert_eq!(
            weights(&["config.json", "butterflies.safetensors"], None).unwrap(),
            "butterflies.safetensors"
        );
        let two = ["config.json", "a.safetensors", "b.safetensors"];
        assert!(
            matches!(weights(&two, None), Err(Error::MissingFile { found, .. }) if found.contains("a.s"))
        );
    }

    #[test]
    fn both_layouts_at_once_are_the_first() {
        assert_eq!(weights(&[A, B].concat(), None).unwrap(), A[1]);
        // An encoder's folder beside it changes nothing.
        let other = ["vae/config.json", "vae/diffusion_pytorch_model.safetensors"];
        assert_eq!(weights(&[A, other].concat(), None).unwrap(), A[1]);
    }

    #[test]
    fn a_variant_is_taken_when_asked_for_or_alone() {
        let plain = "unet/diffusion_pytorch_model.safetensors";
        let half = "unet/diffusion_pytorch_model.fp16.safetensors";
        let ema = "unet/diffusion_pytorch_model.non_ema.safetensors";
        let index = "unet/diffusion_pytorch_model.safetensors.index.fp16.json";
        let shard = "unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors";
        let pick = |names: &[&str], variant| weights(&[names, &["unet/config.json"]].concat(), variant);
        assert_eq!(pick(&[plain, half], None).unwrap(), plain);
        assert_eq!(pick(&[plain, half], Some("fp16")).unwrap(), half);
        assert_eq!(pick(&[half], None).unwrap(), half);
        assert_eq!(pick(&[half, ema], Some("non_ema")).unwrap(), ema);
        // Its shards, too.
        assert_eq!(pick(&[index, shard], None).unwrap(), index);
        assert_eq!(pick(&[index, shard, plain], Some("fp16")).unwrap(), index);
        assert!(
            matches!(pick(&[shard], None), Err(Error::MissingFile { found, .. }) if found.contains(shard))
        );
        match pick(&[half, ema], None) {
            Err(Error::Option { option: "variant", expected, .. }) => {
                assert_eq!(expected, "one of those that are here: fp16, non_ema");
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(pick(&[plain], Some("fp16")), Err(Error::MissingFile { .. })));
        for bad in ["", "../x", "a b", "fp16?"] {
            assert!(matches!(check_variant(Some(bad)), Err(Error::Option { .. })), "{bad}");
        }
    }

    #[test]
    fn pickles_come_last() {
        let pickle = "unet/diffusion_pytorch_model.bin";
        let half = "unet/diffusion_pytorch_model.fp16.safetensors";
        let pick = |names: &[&str], variant| weights(&[names, &["unet/config.json"]].concat(), variant);
        assert_eq!(pick(&[pickle], None).unwrap(), pickle);
        assert_eq!(pick(&[pickle, half], None).unwrap(), half);
        let index = "unet/diffusion_pytorch_model.bin.index.json";
        let shard = "unet/diffusion_pytorch_model-00001-of-00002.bin";
        assert_eq!(pick(&[index, shard], None).unwrap(), index);
        // transformers' pickles are no network's.
        assert!(pick(&["unet/pytorch_model.bin"], None).is_err());
    }

    #[test]
    fn what_is_tried_unseen_is_what_would_be_chosen_alone() {
        for variant in [None, Some("fp16"), Some("ema")] {
            for candidate in candidates("unet/", variant) {
                assert_eq!(
                    weights(&["unet/config.json", candidate.name()], variant).unwrap(),
                    candidate.name()
                );
            }
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        let missing = weights(&["unet/config.json", "unet/README.md"], None).unwrap_err();
        assert!(
            matches!(&missing, Error::MissingFile { wanted, .. } if wanted.ends_with("model.safetensors"))
        );
        assert!(matches!(weights(&[], None), Err(Error::MissingFile { found, .. }) if found == "nothing"));
        // The configs of a pipeline that has no `unet` are not mistaken for one.
        let other = [
            "model_index.json",
            "transformer/config.json",
            "transformer/diffusion_pytorch_model.safetensors",
        ];
        assert!(matches!(weights(&other, None), Err(Error::MissingFile { .. })));
        assert_eq!(Listing::new(&other).pipeline(), Some(""));
    }
}
