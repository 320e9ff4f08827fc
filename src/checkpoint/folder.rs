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

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};

const STEM: &str = "diffusion_pytorch_model";

/// Where the weights are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WeightFiles {
    /// In one safetensors file.
    Whole(String),
    /// In several, which this index names ([`shard_files`](super::weights::shard_files)); they lie beside it.
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

    /// The name of a shard that lies beside the index.
    #[must_use]
    pub fn beside(index: &str, shard: &str) -> String {
        format!("{}{shard}", folder_of(index))
    }
}

/// The files of one checkpoint, by the names given to [`choose`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// `model_index.json`.
    pub model_index: Option<String>,
    /// The network's `config.json`.
    pub unet_config: String,
    /// The network's weights.
    pub weights: WeightFiles,
    /// `scheduler_config.json`.
    pub scheduler_config: Option<String>,
    /// `labels.json`.
    pub labels: Option<String>,
}

/// The names to look for in one layout, relative to the checkpoint's root. On a server, where files cannot be listed,
/// the layout is the first of [`layouts`] whose `unet_config` is there, and its weights the first that are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Optional, like [`Self::labels`].
    pub model_index: &'static str,
    /// Needed; tells the layouts apart.
    pub unet_config: &'static str,
    /// In the order in which to try them.
    pub weights: [WeightFiles; 2],
    /// Optional; in the order in which to try them.
    pub scheduler_config: [&'static str; 2],
    /// Optional.
    pub labels: &'static str,
}

/// Both layouts, `save_pretrained`'s first. A `variant` as in Python, for instance `"fp16"`, asks for the files that
/// carry it in their names.
///
/// # Errors
/// [`Error::Option`] where the variant is no part of a file name.
pub fn layouts(variant: Option<&str>) -> Result<[Layout; 2]> {
    if let Some(bad) =
        variant.filter(|v| v.is_empty() || !v.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
    {
        return Err(Error::Option {
            option: "variant",
            found: format!("{bad:?}"),
            expected: "letters, digits and underscores, as in `fp16`".to_owned(),
        });
    }
    let weights = |folder: &str| match variant {
        None => [
            WeightFiles::Whole(format!("{folder}{STEM}.safetensors")),
            WeightFiles::Sharded(format!("{folder}{STEM}.safetensors.index.json")),
        ],
        Some(variant) => [
            WeightFiles::Whole(format!("{folder}{STEM}.{variant}.safetensors")),
            WeightFiles::Sharded(format!("{folder}{STEM}.safetensors.index.{variant}.json")),
        ],
    };
    let layout = |unet_config, folder| Layout {
        model_index: "model_index.json",
        unet_config,
        weights: weights(folder),
        scheduler_config: ["scheduler/scheduler_config.json", "scheduler_config.json"],
        labels: "labels.json",
    };
    Ok([layout("unet/config.json", "unet/"), layout("config.json", "")])
}

/// Finds a checkpoint's files among names relative to a folder, in either layout, at its top or further in (as when a
/// folder is dropped with its own name before each file). Weights without the asked-for or any variant come first; a
/// lone safetensors file of another name will do.
///
/// # Errors
/// [`Error::MissingFile`] where a config or weights are not there, or several checkpoints are;
/// [`Error::Unsupported`] where the weights are there in PyTorch's pickle format only.
pub fn choose<S: AsRef<str>>(names: &[S], variant: Option<&str>) -> Result<Files> {
    let layouts = layouts(variant)?;
    // Tidied name → the name as given. Extended rather than collected, which would bring a sort of its own into the page.
    let mut given: BTreeMap<String, &str> = BTreeMap::new();
    given.extend(names.iter().map(|name| (tidy(name.as_ref()), name.as_ref())));
    given.retain(|tidied, _| !is_hidden(tidied));
    let mut names: BTreeSet<&str> = BTreeSet::new();
    names.extend(given.keys().map(String::as_str));

    let (root, layout) = find_root(&names, &layouts)?;
    let original = |name: &str| given[name].to_owned();
    let at_root = |name: &str| names.get(format!("{root}{name}").as_str()).map(|name| original(name));
    let weights = match find_weights(&names, &root, layout, variant)? {
        WeightFiles::Whole(name) => WeightFiles::Whole(original(&name)),
        WeightFiles::Sharded(name) => WeightFiles::Sharded(original(&name)),
    };
    Ok(Files {
        model_index: at_root(layout.model_index),
        unet_config: original(&format!("{root}{}", layout.unet_config)),
        weights,
        scheduler_config: layout.scheduler_config.iter().find_map(|name| at_root(name)),
        labels: at_root(layout.labels),
    })
}

/// The folder, `""` or ending in a slash, that holds the checkpoint: the outermost with a config, preferably with
/// weights.
fn find_root<'a>(names: &BTreeSet<&str>, layouts: &'a [Layout; 2]) -> Result<(String, &'a Layout)> {
    let mut roots: Vec<(String, &Layout)> = Vec::new();
    for name in names {
        // Layout A's config is also a B config one folder further in; A comes first.
        let layout = layouts.iter().find_map(|layout| {
            let root = name.strip_suffix(layout.unet_config)?;
            (root.is_empty() || root.ends_with('/')).then(|| (root.to_owned(), layout))
        });
        roots.extend(layout);
    }
    let depth = |root: &str| root.matches('/').count();
    let has_weights = |(root, layout): &&(String, &Layout)| {
        let folder = format!("{root}{}", folder_of(layout.unet_config));
        names.iter().any(|name| is_weights(name) && folder_of(name) == folder)
    };
    let with_weights: Vec<_> = roots.iter().filter(has_weights).cloned().collect();
    // A pipeline of another kind has configs of encoders and decoders below its index, which are no network to sample.
    let pipelines: Vec<_> = names.iter().filter_map(|name| name.strip_suffix("model_index.json")).collect();
    let mut roots = if with_weights.is_empty() { roots } else { with_weights };
    roots.retain(|(root, _)| !pipelines.iter().any(|p| root.len() > p.len() && root.starts_with(p)));
    let outermost = roots.iter().map(|(root, _)| depth(root)).min();
    roots.retain(|(root, _)| Some(depth(root)) == outermost);
    if let [(first, a), (second, b)] = &roots[..] {
        // Both layouts at one root: A.
        if first == second {
            return Ok((first.clone(), if a.unet_config.len() > b.unet_config.len() { a } else { b }));
        }
    }
    match roots.len() {
        0 => Err(Error::MissingFile {
            wanted: format!("{} or {}", layouts[0].unet_config, layouts[1].unet_config),
            found: list(names.iter()),
        }),
        1 => Ok(roots.swap_remove(0)),
        n => Err(Error::MissingFile {
            wanted: "single checkpoint".to_owned(),
            found: format!("{n}, in {}", list(roots.iter().map(|(root, _)| root))),
        }),
    }
}

fn find_weights(
    names: &BTreeSet<&str>,
    root: &str,
    layout: &Layout,
    variant: Option<&str>,
) -> Result<WeightFiles> {
    for weights in &layout.weights {
        let found = match weights {
            WeightFiles::Whole(name) => WeightFiles::Whole(format!("{root}{name}")),
            WeightFiles::Sharded(name) => WeightFiles::Sharded(format!("{root}{name}")),
        };
        if names.contains(found.name()) {
            return Ok(found);
        }
    }
    let folder = format!("{root}{}", folder_of(layout.unet_config));
    let beside: Vec<_> = names.iter().filter(|name| is_weights(name) && folder_of(name) == folder).collect();
    let safetensors: Vec<_> = beside.iter().filter(|name| name.ends_with(".safetensors")).collect();
    if let ([only], None) = (&safetensors[..], variant) {
        return Ok(WeightFiles::Whole((**only).to_string()));
    }
    if let (true, Some(pickle)) = (safetensors.is_empty(), beside.first()) {
        return Err(Error::Unsupported {
            what: (**pickle).to_string(),
            why: "PyTorch's pickle format can run code when it is read. Convert it in Python: \
                  `UNet2DModel.from_pretrained(folder).save_pretrained(folder, safe_serialization=True)`"
                .to_owned(),
        });
    }
    let found = if beside.is_empty() { list(names.iter()) } else { list(beside.iter()) };
    Err(Error::MissingFile { wanted: format!("{root}{}", layout.weights[0].name()), found })
}

fn is_weights(name: &str) -> bool {
    let name = &name[folder_of(name).len()..];
    name.ends_with(".safetensors")
        || name.starts_with(STEM)
            && (name.ends_with(".bin") || name.ends_with(".json") && name.contains(".safetensors.index."))
}

/// Everything up to and with the last slash.
fn folder_of(name: &str) -> &str {
    name.rfind('/').map_or("", |slash| &name[..=slash])
}

fn tidy(name: &str) -> String {
    let name = name.replace('\\', "/");
    name.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/")
}

/// Version control's, an editor's or an archiver's own.
fn is_hidden(name: &str) -> bool {
    name.split('/').any(|part| part.starts_with('.') || part == "__MACOSX")
}

/// A few of the names, for a message.
fn list(names: impl ExactSizeIterator<Item = impl ToString>) -> String {
    const SHOWN: usize = 6;
    let more = names.len().saturating_sub(SHOWN);
    let mut shown: Vec<String> =
        names.take(SHOWN).map(|n| n.to_string().chars().take(120).collect()).collect();
    if more > 0 {
        shown.push(format!("{more} more"));
    }
    if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [&str; 5] = [
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "scheduler/scheduler_config.json",
        "labels.json",
    ];
    const B: [&str; 5] = [
        "model_index.json",
        "config.json",
        "diffusion_pytorch_model.safetensors",
        "scheduler_config.json",
        "labels.json",
    ];

    fn files(names: [&str; 5], folder: &str) -> Files {
        let [model_index, unet_config, weights, scheduler_config, labels] =
            names.map(|n| format!("{folder}{n}"));
        Files {
            model_index: Some(model_index),
            unet_config,
            weights: WeightFiles::Whole(weights),
            scheduler_config: Some(scheduler_config),
            labels: Some(labels),
        }
    }

    #[test]
    fn both_layouts_are_found_at_the_top_and_further_in() {
        for layout in [A, B] {
            for folder in ["", "./", "my model/", "models--x/snapshots/0f3a/", "C:\\drop\\"] {
                let names: Vec<_> = layout
                    .iter()
                    .map(|n| format!("{folder}{n}"))
                    .chain(["README.md", ".git/config.json", "__MACOSX/unet/config.json"].map(str::to_owned))
                    .collect();
                assert_eq!(choose(&names, None).unwrap(), files(layout, folder), "{names:?}");
            }
        }
    }

    #[test]
    fn only_config_and_weights_are_needed() {
        let found = choose(&["unet/config.json", "unet/diffusion_pytorch_model.safetensors"], None).unwrap();
        assert_eq!((found.model_index, found.scheduler_config, found.labels), (None, None, None));
        // A network's config beside a scheduler in a folder of its own, and weights of another name.
        let found =
            choose(&["config.json", "butterflies.safetensors", "scheduler/scheduler_config.json"], None);
        let found = found.unwrap();
        assert_eq!(found.weights, WeightFiles::Whole("butterflies.safetensors".to_owned()));
        assert_eq!(found.scheduler_config.as_deref(), Some("scheduler/scheduler_config.json"));
    }

    #[test]
    fn the_first_layout_and_the_outermost_folder_win() {
        let both: Vec<_> = A.iter().chain(&B).copied().collect();
        assert_eq!(choose(&both, None).unwrap().unet_config, "unet/config.json");
        let training = A.map(str::to_owned).into_iter().chain(A.map(|n| format!("checkpoint-500/{n}")));
        assert_eq!(choose(&training.collect::<Vec<_>>(), None).unwrap(), files(A, ""));
        // A config without weights is some other program's.
        let mut names = A.map(|n| format!("model/{n}")).to_vec();
        names.push("config.json".to_owned());
        assert_eq!(choose(&names, None).unwrap(), files(A, "model/"));
    }

    #[test]
    fn several_checkpoints_are_not_guessed_between() {
        let names: Vec<_> = ["cats/", "dogs/"].iter().flat_map(|f| B.map(|n| format!("{f}{n}"))).collect();
        let e = choose(&names, None).unwrap_err();
        assert!(matches!(&e, Error::MissingFile { found, .. } if found.contains("cats/, dogs/")), "{e}");
    }

    #[test]
    fn variants_are_taken_when_asked_for_or_alone() {
        let plain = "unet/diffusion_pytorch_model.safetensors";
        let half = "unet/diffusion_pytorch_model.fp16.safetensors";
        let ema = "unet/diffusion_pytorch_model.non_ema.safetensors";
        let pick = |names: &[&str], variant| {
            choose(&[names, &["unet/config.json"]].concat(), variant).map(|f| f.weights.name().to_owned())
        };
        assert_eq!(pick(&[plain, half], None).unwrap(), plain);
        assert_eq!(pick(&[plain, half], Some("fp16")).unwrap(), half);
        assert_eq!(pick(&[half], None).unwrap(), half);
        assert!(
            matches!(pick(&[half, ema], None), Err(Error::MissingFile { found, .. }) if found.contains(ema))
        );
        assert!(matches!(pick(&[plain], Some("fp16")), Err(Error::MissingFile { .. })));
        for bad in ["", "../x", "a b", "fp16?"] {
            assert!(matches!(pick(&[plain], Some(bad)), Err(Error::Option { .. })), "{bad}");
        }
    }

    #[test]
    fn shards_are_read_through_their_index() {
        let index = "unet/diffusion_pytorch_model.safetensors.index.json";
        let shards = [
            "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
            "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
        ];
        let names = [&["unet/config.json", index][..], &shards].concat();
        assert_eq!(choose(&names, None).unwrap().weights, WeightFiles::Sharded(index.to_owned()));
        assert_eq!(WeightFiles::beside(index, "x.safetensors"), "unet/x.safetensors");
        let half = "unet/diffusion_pytorch_model.safetensors.index.fp16.json";
        assert_eq!(choose(&["unet/config.json", half], Some("fp16")).unwrap().weights.name(), half);
    }

    #[test]
    fn what_cannot_be_read_says_so() {
        let pickle = choose(&["config.json", "diffusion_pytorch_model.bin"], None).unwrap_err();
        assert!(
            matches!(&pickle, Error::Unsupported { .. }) && pickle.to_string().contains("safe_serialization")
        );
        let weights = choose(&["unet/config.json", "unet/README.md"], None).unwrap_err();
        assert!(
            matches!(&weights, Error::MissingFile { wanted, .. } if wanted.ends_with("model.safetensors"))
        );
        assert!(
            matches!(choose::<&str>(&[], None), Err(Error::MissingFile { found, .. }) if found == "nothing")
        );
        // The configs of a pipeline that has no `unet` are not mistaken for one.
        let other = [
            "model_index.json",
            "transformer/config.json",
            "transformer/diffusion_pytorch_model.safetensors",
        ];
        assert!(matches!(choose(&other, None), Err(Error::MissingFile { .. })));
    }
}
