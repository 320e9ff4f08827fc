//! Opening checkpoints natively, where reading may block.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::Checkpoint;
use super::folder::{self, WeightFiles};
use super::json::parse_object;
use super::labels::Labels;
use super::safetensors::WeightsReader;
use super::weights::{Weights, shard_files};
use crate::error::{Error, Result};

/// More bytes than any of a checkpoint's JSON files has.
const MAX_JSON: u64 = 4 << 20;
/// More files than any checkpoint's folder has: what holds more is some other folder, for instance a home directory.
const MAX_FILES: usize = 10_000;
/// How many files that are no part of a checkpoint are looked at.
const MAX_OTHERS: usize = 100;
/// How far below the given folder a config may be, in folders: `snapshots/<revision>/unet/`.
const MAX_DEPTH: usize = 3;
const CHUNK: usize = 1 << 18;

/// How far [`Checkpoint::open_with`] has come.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// The network's config has been read, the weights have not: the moment to refuse an architecture.
    Config(&'a Map<String, Value>),
    /// A file of the weights is being read.
    Weights {
        /// Bytes so far.
        received: u64,
        /// Bytes in the file, once they are known.
        total: Option<u64>,
    },
}

/// Told about progress; an error stops the work and is returned.
pub(super) type Observer<'a> = &'a mut dyn FnMut(Progress<'_>) -> Result<()>;

/// Where a checkpoint's files are.
pub(super) trait Source {
    /// A whole small file, or none.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>>;

    /// Pushes a file into the reader; false where there is none.
    fn stream(&self, name: &str, reader: &mut WeightsReader, observer: Observer<'_>) -> Result<bool>;
}

impl Checkpoint {
    /// Opens a checkpoint from a folder, from the address of one (`https://…`), or from the Hugging Face hub by its id
    /// (`org/name`). Addresses and ids need the crate's `fetch` feature; nothing but the checkpoint's own files is
    /// asked for, and nothing at all for a path that exists.
    ///
    /// # Errors
    /// [`Error::MissingFile`], [`Error::Unsupported`], [`Error::Json`], [`Error::Config`], [`Error::Safetensors`] by
    /// what is wrong with the files; [`Error::Io`] or [`Error::Fetch`] where they cannot be read.
    pub fn open(source: &str) -> Result<Self> {
        Self::open_with(source, None, &mut |_| Ok(()))
    }

    /// The same with a `variant` as in Python, for instance `"fp16"`, and told of its progress, which an error from
    /// the observer ends.
    ///
    /// # Errors
    /// As [`Self::open`], and the observer's.
    pub fn open_with(
        source: &str,
        variant: Option<&str>,
        observer: &mut dyn FnMut(Progress<'_>) -> Result<()>,
    ) -> Result<Self> {
        if let Some(address) = address(source) {
            return open_address(&address, variant, observer);
        }
        let disk = Disk { root: PathBuf::from(source) };
        let files = folder::choose(&disk.list()?, variant)?;
        let object = |name: &Option<String>| match name {
            Some(name) => read_object(&disk, name),
            None => Ok(None),
        };
        let labels = match &files.labels {
            Some(name) => read_labels(&disk, name)?,
            None => None,
        };
        let checkpoint = Self {
            model_index: object(&files.model_index)?,
            unet_config: read_object(&disk, &files.unet_config)?
                .ok_or_else(|| missing(&files.unet_config))?,
            scheduler_config: object(&files.scheduler_config)?,
            labels,
            weights: Weights::default(),
        };
        checkpoint.with_weights(&disk, &[files.weights], observer)
    }

    /// Reads the first of the weights that is there.
    pub(super) fn with_weights(
        mut self,
        source: &dyn Source,
        candidates: &[WeightFiles],
        observer: Observer<'_>,
    ) -> Result<Self> {
        observer(Progress::Config(&self.unet_config))?;
        for candidate in candidates {
            let mut reader = WeightsReader::new(candidate.name());
            match candidate {
                WeightFiles::Whole(name) => {
                    if !source.stream(name, &mut reader, &mut *observer)? {
                        continue;
                    }
                }
                WeightFiles::Sharded(index) => {
                    let Some(bytes) = source.read(index)? else { continue };
                    for (i, shard) in shard_files(index, &bytes)?.iter().enumerate() {
                        let shard = WeightFiles::beside(index, shard);
                        if i == 0 {
                            reader = WeightsReader::new(&shard);
                        } else {
                            reader.next_file(&shard)?;
                        }
                        if !source.stream(&shard, &mut reader, &mut *observer)? {
                            return Err(missing(&shard));
                        }
                    }
                }
            }
            self.weights = reader.finish()?;
            return Ok(self);
        }
        let wanted: Vec<_> = candidates.iter().map(WeightFiles::name).collect();
        Err(missing(&wanted.join(" or ")))
    }
}

fn missing(wanted: &str) -> Error {
    Error::MissingFile { wanted: wanted.to_owned(), found: "other files".to_owned() }
}

pub(super) fn read_object(source: &dyn Source, name: &str) -> Result<Option<Map<String, Value>>> {
    source.read(name)?.map(|bytes| parse_object(name, &bytes)).transpose()
}

pub(super) fn read_labels(source: &dyn Source, name: &str) -> Result<Option<Labels>> {
    source.read(name)?.map(|bytes| Labels::parse(name, &bytes)).transpose()
}

/// All of a small file.
pub(super) fn read_small(name: &str, source: impl Read) -> std::io::Result<Result<Vec<u8>>> {
    let mut bytes = Vec::new();
    source.take(MAX_JSON + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_JSON {
        let problem = format!("it has more than {MAX_JSON} bytes");
        return Ok(Err(Error::Json { file: name.to_owned(), problem }));
    }
    Ok(Ok(bytes))
}

/// Pushes all that `source` holds. The outer error is the source's, which another try may not have.
pub(super) fn pump(
    mut source: impl Read,
    reader: &mut WeightsReader,
    observer: Observer<'_>,
) -> std::io::Result<Result<()>> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let n = match source.read(&mut chunk) {
            Ok(0) => return Ok(Ok(())),
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let told = reader.push(&chunk[..n]).and_then(|()| {
            observer(Progress::Weights { received: reader.received(), total: reader.total() })
        });
        if told.is_err() {
            return Ok(told);
        }
    }
}

/// The address that `source` means, if it is one or a hub id rather than a path.
fn address(source: &str) -> Option<String> {
    const HUB: &str = "https://huggingface.co/";
    if source.starts_with("http://") || source.starts_with("https://") {
        // A model's page, copied from the browser.
        let page = source.strip_prefix(HUB).map(|id| id.trim_end_matches('/').trim_end_matches("/tree/main"));
        return Some(match page {
            Some(id) if is_hub_id(id) => format!("{HUB}{id}/resolve/main/"),
            _ => source.to_owned(),
        });
    }
    // Where the first part is a folder here, the rest is a misspelt path, and nobody else's business.
    let parent = source.split('/').next().unwrap_or(source);
    let local = Path::new(source).exists() || Path::new(parent).exists();
    (!local && is_hub_id(source)).then(|| format!("{HUB}{source}/resolve/main/"))
}

fn is_hub_id(id: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '-'])
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    id.split_once('/').is_some_and(|(org, name)| part(org) && part(name))
}

#[cfg(feature = "fetch")]
use super::fetch::open_address;

#[cfg(not(feature = "fetch"))]
fn open_address(address: &str, _: Option<&str>, _: Observer<'_>) -> Result<Checkpoint> {
    Err(Error::Unsupported {
        what: address.to_owned(),
        why: "this build cannot download (cargo's feature `fetch`). Give a folder".to_owned(),
    })
}

/// A folder on disk.
struct Disk {
    root: PathBuf,
}

impl Disk {
    /// The files' names relative to the root, with slashes, as far down as a checkpoint may lie.
    fn list(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let mut folders = vec![(String::new(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            let path = self.root.join(&folder);
            let entries = match fs::read_dir(&path) {
                Ok(entries) => entries,
                // Somebody else's folder inside is not this checkpoint's trouble.
                Err(_) if depth > 0 => continue,
                Err(source) => return Err(Error::io(&path)(source)),
            };
            for entry in entries {
                let entry = entry.map_err(Error::io(&path))?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                let candidate = [".json", ".safetensors", ".bin"].iter().any(|end| name.ends_with(end));
                // A few of the others, for messages: there may be a million pictures beside a checkpoint.
                if !candidate && entry.file_type().is_ok_and(|t| t.is_file()) && names.len() > MAX_OTHERS {
                    continue;
                }
                // Through links: the hub's cache is made of them.
                let Ok(metadata) = fs::metadata(entry.path()) else { continue };
                if metadata.is_file() {
                    names.push(format!("{folder}{name}"));
                } else if metadata.is_dir() && depth < MAX_DEPTH && !name.starts_with('.') {
                    folders.push((format!("{folder}{name}/"), depth + 1));
                }
                if names.len() + folders.len() > MAX_FILES {
                    return Err(Error::MissingFile {
                        wanted: "single checkpoint".to_owned(),
                        found: format!("more than {MAX_FILES} files"),
                    });
                }
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> Result<Option<(File, PathBuf)>> {
        let path = self.root.join(name);
        match File::open(&path) {
            Ok(file) => Ok(Some((file, path))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::io(&path)(source)),
        }
    }
}

impl Source for Disk {
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some((file, path)) = self.open(name)? else { return Ok(None) };
        read_small(name, file).map_err(Error::io(&path))?.map(Some)
    }

    fn stream(&self, name: &str, reader: &mut WeightsReader, observer: Observer<'_>) -> Result<bool> {
        let Some((file, path)) = self.open(name)? else { return Ok(false) };
        let metadata = file.metadata().map_err(Error::io(&path))?;
        if !metadata.is_file() {
            return Ok(false);
        }
        reader.expect_len(metadata.len());
        pump(file, reader, observer).map_err(Error::io(&path))??;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_paths() {
        let hub = |id: &str| Some(format!("https://huggingface.co/{id}/resolve/main/"));
        assert_eq!(address("no-such-org/ddpm-mnist"), hub("no-such-org/ddpm-mnist"));
        assert_eq!(address("https://huggingface.co/a/b"), hub("a/b"));
        assert_eq!(address("https://huggingface.co/a/b/tree/main/"), hub("a/b"));
        let other = "https://example.com/models/butterflies";
        assert_eq!(address(other).as_deref(), Some(other));
        // `src` is a folder where the tests run.
        for path in
            ["src/mistyped", "./a/b", "../a", "/a/b", "a/b/c", "butterflies", "", "/", "a/", "a b/c", "-x/y"]
        {
            assert_eq!(address(path), None, "{path}");
        }
    }
}
