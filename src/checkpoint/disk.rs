//! Checkpoints on disk, natively.

use std::fs::{self, File};
use std::path::PathBuf;

use super::folder::is_hidden;
use super::opening::Opening;
use super::pump::{Got, Observer, Source, push_all, read_small};
use crate::error::{Error, Result};
use crate::read::open_regular;

/// More files than any checkpoint's folder has: what holds more is some other folder, for instance a home directory.
const MAX_FILES: usize = 10_000;
/// How many files that are no part of a checkpoint are looked at.
const MAX_OTHERS: usize = 100;
/// How far below the given folder a config may be, in folders: `snapshots/<revision>/unet/`.
const MAX_DEPTH: usize = 3;

/// A folder on disk.
pub(super) struct Disk {
    pub(super) root: PathBuf,
}

impl Disk {
    /// The files' names relative to the root, with slashes, as far down as a checkpoint may lie.
    pub(super) fn list(&self) -> Result<Vec<String>> {
        if self.root.is_file() {
            return Err(Error::MissingFile {
                wanted: "folder".to_owned(),
                found: format!("the file {}", self.root.display()),
            });
        }
        let mut names = Vec::new();
        let mut folders = vec![(String::new(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            let path = self.root.join(&folder);
            let entries = match fs::read_dir(&path) {
                Ok(entries) => entries,
                // Skip folders within that cannot be read: they may be somebody else's.
                Err(_) if depth > 0 => continue,
                Err(source) => return Err(Error::io(&path)(source)),
            };
            for entry in entries {
                let entry = entry.map_err(Error::io(&path))?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                let candidate = [".json", ".safetensors", ".bin"].iter().any(|end| name.ends_with(end));
                let candidate = candidate || name == "merges.txt";
                // A few of the others, for messages: there may be a million pictures beside a checkpoint.
                if !candidate && entry.file_type().is_ok_and(|t| t.is_file()) && names.len() > MAX_OTHERS {
                    continue;
                }
                // Through links: the hub's cache is made of them.
                let Ok(metadata) = fs::metadata(entry.path()) else { continue };
                if metadata.is_file() {
                    names.push(format!("{folder}{name}"));
                } else if metadata.is_dir() && depth < MAX_DEPTH && !is_hidden(&name) {
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

    /// The file and its length; none where there is none, or a folder or a pipe in its place.
    fn open(&self, name: &str) -> Result<Option<(File, u64)>> {
        let path = self.root.join(name);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => open_regular(&path).map(Some),
            Ok(_) => Ok(None),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::io(&path)(source)),
        }
    }
}

impl Source for Disk {
    fn read(&self, path: &str) -> Result<Got<Vec<u8>>> {
        let Some((file, _)) = self.open(path)? else { return Ok(Got::Absent) };
        read_small(file).map_err(Error::io(&self.root.join(path))).map(Got::Here)
    }

    fn stream(&self, path: &str, opening: &mut Opening, observer: Observer<'_>) -> Result<Got<()>> {
        let Some((file, length)) = self.open(path)? else { return Ok(Got::Absent) };
        opening.begin(path, Some(length))?;
        push_all(file, opening, observer).map_err(Error::io(&self.root.join(path)))??;
        Ok(Got::Here(()))
    }
}
