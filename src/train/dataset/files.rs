//! A data set from files: a folder, a ZIP archive, NPY, NPZ, IDX (also compressed), or one picture.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::builder::{Builder, Skipped};
use super::{Dataset, array, decode};
use crate::error::{Error, Result};

/// The most bytes that a compressed file may grow to.
const MAX_UNPACKED: u64 = 1 << 32;

/// Reads what there is to train on. Folders within a folder or an archive are classes, by their names; IDX and NPZ bring
/// their labels in a second array. Files that are no pictures are left out, and told.
///
/// # Errors
/// [`Error::Io`] where `path` cannot be read, [`Error::Dataset`] where there is nothing in it to train on,
/// [`Error::Option`] for an impossible `size`, the height and width wanted (see [`Builder::new`]).
pub fn open(path: &Path, size: Option<usize>) -> Result<(Dataset, Vec<Skipped>)> {
    let mut builder = Builder::new(size)?;
    if path.is_dir() {
        let mut files = Vec::new();
        list(path, &mut files)?;
        files.sort();
        let arrays: Vec<&PathBuf> = files.iter().filter(|f| is_array(f)).collect();
        if !arrays.is_empty() {
            let mut found = Vec::new();
            for file in arrays {
                found.push((name(path, file), read(file)?));
            }
            add_arrays(&mut builder, found);
        }
        for file in files.iter().filter(|f| !is_array(f)) {
            let name = name(path, file);
            match read(file) {
                Ok(bytes) => add_picture(&mut builder, &name, &bytes),
                Err(error) => builder.skip(&name, &error.to_string()),
            }
        }
    } else {
        let bytes = read(path)?;
        let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        if bytes.starts_with(b"PK") {
            archive(&mut builder, &bytes)
                .map_err(|problem| Error::Dataset { problem: format!("{name}: {problem}") })?;
        } else if is_array(path) {
            let mut found = vec![(name, bytes)];
            found.extend(labels_beside(path)?);
            add_arrays(&mut builder, found);
        } else {
            add_picture(&mut builder, &name, &bytes);
        }
    }
    builder.finish()
}

/// All files below a folder but hidden ones.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // A link's own kind, so that a circle of links ends.
        if entry.file_type().map_err(Error::io(folder))?.is_dir() {
            list(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// A file's path within a folder, with slashes.
fn name(folder: &Path, file: &Path) -> String {
    let path = file.strip_prefix(folder).unwrap_or(file);
    path.components().map(|c| c.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    if !bytes.starts_with(&[0x1F, 0x8B]) {
        return Ok(bytes);
    }
    let mut unpacked = Vec::new();
    flate2::read::MultiGzDecoder::new(&bytes[..])
        .take(MAX_UNPACKED)
        .read_to_end(&mut unpacked)
        .map_err(Error::io(path))?;
    Ok(unpacked)
}

fn is_array(path: &Path) -> bool {
    let name = path.to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.ends_with(".npy") || name.ends_with("ubyte") || name.ends_with(".idx")
}

/// MNIST's labels lie beside its images: `train-labels-idx1-ubyte` beside `train-images-idx3-ubyte`.
fn labels_beside(path: &Path) -> Result<Option<(String, Vec<u8>)>> {
    let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let labels = name.replace("images", "labels").replace("idx3", "idx1");
    let beside = path.with_file_name(&labels);
    if labels == name || !beside.is_file() {
        return Ok(None);
    }
    read(&beside).map(|bytes| Some((labels, bytes)))
}

fn add_arrays(builder: &mut Builder, files: Vec<(String, Vec<u8>)>) {
    for Skipped { name, why } in array::add_all(builder, files, true) {
        builder.skip(&name, &why);
    }
}

/// The name of the folder that a file is in; empty at the top.
fn class(name: &str) -> &str {
    name.rsplit('/').nth(1).unwrap_or("")
}

fn add_picture(builder: &mut Builder, name: &str, bytes: &[u8]) {
    match decode::pictures(bytes) {
        Ok(pictures) => pictures.iter().for_each(|picture| builder.add(class(name), picture)),
        Err(why) => builder.skip(name, &why),
    }
}

/// Adds the files of a ZIP archive, or the arrays of an NPZ.
fn archive(builder: &mut Builder, bytes: &[u8]) -> Result<(), String> {
    let text = |e: rawzip::Error| e.to_string();
    let archive = rawzip::ZipArchive::from_slice(bytes).map_err(text)?;
    let mut entries = Vec::new();
    let mut listing = archive.entries();
    while let Some(entry) = listing.next_entry().map_err(text)? {
        let path = entry.file_path();
        let name = String::from_utf8_lossy(path.as_bytes()).into_owned();
        let hidden = name.split('/').any(|part| part.starts_with('.') || part == "__MACOSX");
        if !entry.is_dir() && !hidden {
            entries.push((
                name,
                entry.wayfinder(),
                entry.compression_method(),
                entry.uncompressed_size_hint(),
            ));
        }
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    let mut arrays = Vec::new();
    let mut left = MAX_UNPACKED;
    for (name, at, method, size) in entries {
        let unpack = || -> Result<Vec<u8>, String> {
            let entry = archive.get_entry(at).map_err(text)?;
            let data = entry.data();
            let mut unpacked = Vec::new();
            let limit = size.min(left) + 1;
            if method == rawzip::CompressionMethod::STORE {
                entry.verifying_reader(data).take(limit).read_to_end(&mut unpacked)
            } else if method == rawzip::CompressionMethod::DEFLATE {
                let inflate = flate2::bufread::DeflateDecoder::new(data);
                entry.verifying_reader(inflate).take(limit).read_to_end(&mut unpacked)
            } else {
                return Err("its compression is neither none nor deflate".to_owned());
            }
            .map_err(|e| e.to_string())?;
            if unpacked.len() as u64 >= limit {
                return Err("it is larger than it says, or than 4 GiB with the others".to_owned());
            }
            Ok(unpacked)
        };
        match unpack() {
            Err(why) => builder.skip(&name, &why),
            Ok(unpacked) => {
                if is_array(Path::new(&name)) {
                    left -= unpacked.len() as u64;
                    arrays.push((name, unpacked));
                } else {
                    add_picture(builder, &name, &unpacked);
                }
            }
        }
    }
    add_arrays(builder, arrays);
    Ok(())
}
