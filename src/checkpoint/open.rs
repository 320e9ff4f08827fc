//! Opening checkpoints natively, from wherever they are.

use std::path::{Path, PathBuf};

use super::Checkpoint;
use super::address::Address;
use super::disk::Disk;
use super::opening::Opening;
#[cfg(feature = "text")]
use super::parts::{Parts, PartsOpening};
use super::pump::{self, Observer, Progress};
#[cfg(feature = "text")]
use super::pump::{Got, Source};
#[cfg(feature = "text")]
use super::weights::Sink;
use crate::error::Result;

impl Checkpoint {
    /// Opens a checkpoint from a folder, from the address of one (`https://…`), or from the Hugging Face hub by its id
    /// (`org/name`). Addresses and ids need the crate's `fetch` feature; nothing but the checkpoint's own files is
    /// asked for, and nothing at all for a path that exists. Its weights hold what the config asks for and nothing else.
    ///
    /// # Errors
    /// [`Error::MissingFile`](crate::Error::MissingFile), [`Error::Unsupported`](crate::Error::Unsupported),
    /// [`Error::Json`](crate::Error::Json), [`Error::Config`](crate::Error::Config),
    /// [`Error::Safetensors`](crate::Error::Safetensors), [`Error::MissingKey`](crate::Error::MissingKey),
    /// [`Error::WrongShape`](crate::Error::WrongShape), [`Error::Dtype`](crate::Error::Dtype) or
    /// [`Error::KeyNames`](crate::Error::KeyNames) by what is wrong with the files;
    /// [`Error::Option`](crate::Error::Option) where there are several variants to choose from;
    /// [`Error::Io`](crate::Error::Io) or [`Error::Fetch`](crate::Error::Fetch) where they cannot be read.
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
        pump::open(Opening::listed(source, &disk.list()?, variant)?, &disk, observer)
    }
}

#[cfg(feature = "text")]
/// A folder of a pipeline of several networks, on a disk or a server, of which the small files have been read.
pub struct Folder {
    /// The small files.
    pub parts: Parts,
    source: Box<dyn Source>,
}

#[cfg(feature = "text")]
impl Folder {
    /// Opens a folder from where [`Checkpoint::open_with`] would; none where that is to be done, as the folder has one network alone.
    ///
    /// # Errors
    /// [`Error::MissingFile`](crate::Error::MissingFile) for a part without a config, [`Error::Json`](crate::Error::Json),
    /// [`Error::Option`](crate::Error::Option) for a variant that is no part of a file name; [`Error::Io`](crate::Error::Io) or
    /// [`Error::Fetch`](crate::Error::Fetch) where the files cannot be read.
    pub fn open(source: &str, variant: Option<&str>) -> Result<Option<Self>> {
        let (mut opening, source) = match address(source) {
            Some(address) => (PartsOpening::unlisted(&address.file(""), variant)?, source_at(&address)?),
            None => {
                let disk = Disk { root: PathBuf::from(source) };
                let opening = PartsOpening::listed(source, &disk.list()?, variant)?;
                (opening, Box::new(disk) as Box<dyn Source>)
            }
        };
        while let Some(path) = opening.wanted().into_iter().next() {
            match source.read(&path)? {
                Got::Here(bytes) => opening.give(&path, bytes)?,
                Got::Absent | Got::Refused => opening.absent(&path)?,
            }
        }
        Ok(opening.finish()?.map(|parts| Self { parts, source }))
    }

    /// Reads a part's weights: `asked` are the names and shapes of those that it needs, which `sink` gets one after the other.
    ///
    /// # Errors
    /// As [`Checkpoint::open`] has them for weights, the observer's and the sink's.
    pub fn read(
        &self,
        part: &str,
        asked: Vec<(String, Vec<usize>)>,
        sink: Box<dyn Sink>,
        observer: &mut dyn FnMut(Progress<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut opening = self.parts.opening(part, asked)?;
        opening.deliver(sink);
        pump::open(opening, &*self.source, observer).map(|_| ())
    }
}

/// The address that `source` means, if it is one or a hub id rather than a path.
fn address(source: &str) -> Option<Address> {
    Address::of_web(source).or_else(|| {
        // If the first part exists here this is a mistyped path: don't ask the hub about it.
        let parent = source.split('/').next().unwrap_or(source);
        let local = Path::new(source).exists() || Path::new(parent).exists();
        if local { None } else { Address::of_hub_id(source) }
    })
}

#[cfg(feature = "fetch")]
fn open_address(address: &Address, variant: Option<&str>, observer: Observer<'_>) -> Result<Checkpoint> {
    super::fetch::open(address, variant, observer)
}

#[cfg(all(feature = "text", feature = "fetch"))]
fn source_at(address: &Address) -> Result<Box<dyn Source>> {
    Ok(super::fetch::source(address))
}

#[cfg(all(feature = "text", not(feature = "fetch")))]
fn source_at(address: &Address) -> Result<Box<dyn Source>> {
    Err(cannot_download(address))
}

#[cfg(not(feature = "fetch"))]
fn open_address(address: &Address, _: Option<&str>, _: Observer<'_>) -> Result<Checkpoint> {
    Err(cannot_download(address))
}

#[cfg(not(feature = "fetch"))]
fn cannot_download(address: &Address) -> crate::Error {
    crate::Error::Unsupported {
        what: address.file(""),
        why: "this build cannot download (cargo's feature `fetch`). Give a folder".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_paths() {
        assert_eq!(
            address("no-such-org/ddpm-mnist").unwrap().folder,
            "https://huggingface.co/no-such-org/ddpm-mnist/resolve/main/"
        );
        // `src` is a folder where the tests run.
        for path in
            ["src/mistyped", "./a/b", "../a", "/a/b", "a/b/c", "butterflies", "", "/", "a/", "a b/c", "-x/y"]
        {
            assert_eq!(address(path), None, "{path}");
        }
    }
}
