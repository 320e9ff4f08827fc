//! One way to read a file natively: a regular one, and no more of it than the caller expects.
//!
//! A pipe would be waited on for ever, and a device such as `/dev/zero` has no end.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use crate::error::{Error, Result};

/// Opens a regular file, through links, and gives its length in bytes.
///
/// # Errors
/// [`Error::Io`] where it cannot be opened, or is a folder, a pipe, a socket or a device.
pub fn open_regular(path: &Path) -> Result<(File, u64)> {
    // Asked before it is opened, as opening a pipe waits for its writer; asked again afterwards, of what was opened.
    let check = |metadata: fs::Metadata| {
        if metadata.is_file() { Ok(metadata.len()) } else { Err(not_regular(&metadata)) }
    };
    let open = || {
        check(fs::metadata(path)?)?;
        let file = File::open(path)?;
        let length = check(file.metadata()?)?;
        Ok((file, length))
    };
    open().map_err(Error::io(path))
}

/// All bytes of a regular file of at most `limit` bytes.
///
/// # Errors
/// As [`open_regular`], and [`Error::Io`] where the file is larger.
pub fn read_regular(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let (file, length) = open_regular(path)?;
    let too_large = || Error::io(path)(io::Error::new(ErrorKind::InvalidData, larger(limit)));
    if length > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(length as usize);
    // A file may grow while it is read, and those of /proc have no length.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(Error::io(path))?;
    if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
}

/// As [`read_regular`], for text.
///
/// # Errors
/// As [`read_regular`], and [`Error::Io`] where the file is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> Result<String> {
    String::from_utf8(read_regular(path, limit)?)
        .map_err(|_| Error::io(path)(io::Error::new(ErrorKind::InvalidData, "it is not text in UTF-8")))
}

fn not_regular(metadata: &fs::Metadata) -> io::Error {
    if metadata.is_dir() {
        io::Error::new(ErrorKind::IsADirectory, "it is a folder, where a file is expected")
    } else {
        io::Error::new(ErrorKind::InvalidInput, "it is no regular file but a pipe, a socket or a device")
    }
}

fn larger(limit: u64) -> String {
    format!("it has more than {limit} bytes, the most that is read of such a file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_read_and_no_more_than_asked_for() {
        let folder = std::env::temp_dir().join(format!("noiseball-read-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("five.txt");
        fs::write(&file, "12345").unwrap();
        assert_eq!(read_text(&file, 5).unwrap(), "12345");
        let says = |result: Result<Vec<u8>>| result.unwrap_err().to_string();
        assert!(says(read_regular(&file, 4)).contains("more than 4 bytes"));
        assert!(says(read_regular(&folder, 5)).contains("it is a folder"));
        assert!(read_regular(&folder.join("none"), 5).is_err());
        fs::write(&file, [0xFF]).unwrap();
        assert!(read_text(&file, 5).unwrap_err().to_string().contains("UTF-8"));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn pipes_and_devices_are_refused_at_once() {
        let pipe = std::env::temp_dir().join(format!("noiseball-pipe-{}", std::process::id()));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [pipe.as_path(), Path::new("/dev/zero")] {
            let error = read_regular(path, 1 << 20).unwrap_err();
            assert!(error.to_string().contains("no regular file"), "{error}");
        }
        fs::remove_file(&pipe).unwrap();
    }
}
