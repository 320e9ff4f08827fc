//! A data set from files on disk: a folder, a ZIP archive, NPY, NPZ, IDX (also compressed), or one picture.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::builder::Options;
use super::reader::{Reader, Reading, Step};
use super::{Source, names};
use crate::error::{Error, Result};
use crate::read::open_regular;

/// Reads what there is to train on. Folders within a folder or an archive are classes, by their names; IDX, NPY and NPZ bring
/// their labels in a second array. What is no picture is left out, and told.
///
/// # Errors
/// [`Error::Io`] where `path` cannot be read, [`Error::Dataset`] where there is nothing in it to train on or it is not clear
/// what it is, [`Error::Option`] for an impossible size.
pub fn open(path: &Path, options: Options) -> Result<Reading> {
    let mut reader = Reader::new(options, false)?;
    if path.is_dir() {
        Listing { reader: &mut reader, root: path, seen: BTreeSet::new() }.folder(path)?;
    } else {
        let mut give = |path: &Path| {
            let (_, size) = open_regular(path)?;
            let name = path.file_name().map_or_else(String::new, |n| names::text(n.as_encoded_bytes()));
            reader.push(name, Box::new(OnDisk::new(path.to_owned(), size)))
        };
        give(path)?;
        if let Some(labels) = labels_beside(path) {
            give(&labels)?;
        }
    }
    while !matches!(reader.next()?, Step::Done) {}
    reader.finish()
}

/// Lists the files below a folder. Links are followed, but no folder is read twice.
struct Listing<'a> {
    reader: &'a mut Reader,
    root: &'a Path,
    seen: BTreeSet<PathBuf>,
}

impl Listing<'_> {
    fn folder(&mut self, folder: &Path) -> Result<()> {
        let real = fs::canonicalize(folder).map_err(Error::io(folder))?;
        if !self.seen.insert(real) {
            self.skip(folder, "it is a folder that was read already, by another link");
            return Ok(());
        }
        let entries = match fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries,
            Err(error) if folder == self.root => return Err(Error::io(folder)(error)),
            Err(error) => {
                self.skip(folder, &error.to_string());
                return Ok(());
            }
        };
        let mut paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
        paths.sort_unstable();
        for path in paths {
            if names::is_hidden(&self.name(&path)) {
                continue;
            }
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => self.folder(&path)?,
                Ok(metadata) if metadata.is_file() => {
                    let name = self.name(&path);
                    self.reader.push(name, Box::new(OnDisk::new(path, metadata.len())))?;
                }
                Ok(_) => self.skip(&path, "it is no regular file but a pipe, a socket or a device"),
                Err(error) if path.is_symlink() => {
                    self.skip(&path, &format!("its link leads nowhere ({error})"));
                }
                Err(error) => self.skip(&path, &error.to_string()),
            }
        }
        Ok(())
    }

    /// A file's path within the root, with slashes.
    fn name(&self, path: &Path) -> String {
        let path = path.strip_prefix(self.root).unwrap_or(path);
        path.components().map(|c| names::text(c.as_os_str().as_encoded_bytes())).collect::<Vec<_>>().join("/")
    }

    fn skip(&mut self, path: &Path, why: &str) {
        let name = self.name(path);
        self.reader.skip(&name, why);
    }
}

/// MNIST's labels lie beside its images: `train-labels-idx1-ubyte` beside `train-images-idx3-ubyte`.
fn labels_beside(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let labels = name.replace("images", "labels").replace("idx3", "idx1");
    let beside = path.with_file_name(&labels);
    (labels != name && beside.is_file()).then_some(beside)
}

/// A file that is open only while it is read.
struct OnDisk {
    path: PathBuf,
    size: u64,
    open: RefCell<Option<File>>,
}

impl OnDisk {
    fn new(path: PathBuf, size: u64) -> Self {
        Self { path, size, open: RefCell::new(None) }
    }
}

impl Source for OnDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut open = self.open.borrow_mut();
        if open.is_none() {
            let opened = open_regular(&self.path);
            *open = Some(
                opened
                    .map_err(|e| if let Error::Io { source, .. } = e { source } else { io::Error::other(e) })?
                    .0,
            );
        }
        let Some(file) = open.as_mut() else { return Ok(0) };
        file.seek(SeekFrom::Start(offset))?;
        file.read(buffer)
    }

    fn close(&self) {
        *self.open.borrow_mut() = None;
    }
}
