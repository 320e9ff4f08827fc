//! Files that are replaced as a whole, and folders that one process at a time writes.
//!
//! Whoever reads a file that [`replace`] wrote finds the old bytes or the new, also after a kill, a crash of the machine
//! or a full disk: the new bytes go into a file of their own beside it, reach the disk, and then take the old one's name.
//! That file is locked as long as its writer lives, so that what a dead one left can be told and is removed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Error, Result};

const LOCK: &str = ".noiseball.lock";
const PARTIAL: (&str, &str) = (".noiseball-", ".partial");
/// How many folders below a run's one the files of a checkpoint lie.
const DEPTH: usize = 2;

/// A folder that this process alone writes, until this is dropped or the process ends in whatever way.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    /// The system holds the lock as long as the file is open.
    _lock: File,
}

impl Folder {
    /// Makes the folder where it is not there, takes its lock, and removes the unfinished files of processes that were
    /// killed in it.
    ///
    /// # Errors
    /// [`Error::InUse`] while another process has it, [`Error::Io`] where it cannot be made or written.
    pub fn lock(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        make(&root).map_err(Error::io(&root))?;
        let path = root.join(LOCK);
        let mut options = OpenOptions::new();
        let lock = options.read(true).write(true).create(true).truncate(false).open(&path);
        let lock = lock.map_err(Error::io(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse { folder: root.display().to_string() }),
            // Some network drives know no locks: there, that one process writes is up to the user.
            Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(e)) => return Err(Error::io(&path)(e)),
        }
        remove_left_over(&root, DEPTH);
        Ok(Self { root, _lock: lock })
    }

    /// Replaces a file of the folder, `name` being relative to it: see [`replace`].
    ///
    /// # Errors
    /// [`Error::Io`]; the file is then what it was.
    pub fn write(&self, name: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
        let path = self.root.join(name);
        write(&path, bytes).map_err(explained(&path))
    }
}

/// Whether a folder was ever one that [`Folder::lock`] took.
#[must_use]
pub fn was_locked(folder: &Path) -> bool {
    folder.join(LOCK).is_file()
}

/// Makes a folder that is there as a whole in the end or not at all: `fill` writes into one beside it, which then takes its
/// name.
///
/// # Errors
/// [`Error::Option`] where the folder is there already with anything in it, [`Error::InUse`] while another process makes it,
/// [`Error::Io`], and those of `fill`.
pub fn make_whole(path: &Path, fill: impl FnOnce(&Folder) -> Result<()>) -> Result<()> {
    let taken = || Error::Option {
        option: "out",
        found: path.display().to_string(),
        expected: "a folder that does not exist yet, or is empty".to_owned(),
    };
    // What takes a name but cannot be read is a link that leads nowhere.
    if fs::symlink_metadata(path).is_ok() && !path.exists() {
        return Err(taken());
    }
    let is_there = match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none().then_some(true).ok_or_else(taken)?,
        Err(e) if e.kind() == ErrorKind::NotFound => false,
        Err(_) => return Err(taken()),
    };
    let name = path.file_name().ok_or_else(taken)?.to_string_lossy();
    let partial = path.with_file_name(format!("{}{name}{}", PARTIAL.0, PARTIAL.1));
    let folder = Folder::lock(&partial)?;
    let moved = fill(&folder).and_then(|()| {
        let lock = partial.join(LOCK);
        // Windows does not rename a folder in which something is open.
        drop(folder);
        let moved =
            fs::remove_file(&lock).and_then(|()| if is_there { fs::remove_dir(path) } else { Ok(()) });
        moved
            .and_then(|()| fs::rename(&partial, path))
            .and_then(|()| sync(folder_of(path)))
            .map_err(explained(path))
    });
    if moved.is_err() {
        let _ = fs::remove_dir_all(&partial);
    }
    moved
}

/// Replaces a file as a whole, or makes it, with the folders that it needs. A link stays one: the file that it leads to
/// is replaced. What is no regular file (a pipe, `/dev/stdout`) is written to as it is.
///
/// # Errors
/// [`Error::Io`]; the file is then what it was, and nothing unfinished is left beside it.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    remove_left_over(folder_of(path), 0);
    write(path, bytes).map_err(explained(path))
}

fn explained(path: &Path) -> impl Fn(io::Error) -> Error + '_ {
    move |e| {
        let full =
            matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge);
        let advice = format!("{e}. What was there before is as it was; make room and try again");
        Error::io(path)(if full { io::Error::new(e.kind(), advice) } else { e })
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let existing = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Some(metadata),
        Ok(_) => return OpenOptions::new().write(true).open(path)?.write_all(bytes),
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    let target = match &existing {
        Some(_) => fs::canonicalize(path)?,
        None => path.to_owned(),
    };
    let folder = folder_of(&target);
    make(folder)?;
    let (mut file, partial) = partial(folder)?;
    let written = file.write_all(bytes).and_then(|()| {
        if let Some(metadata) = existing {
            file.set_permissions(metadata.permissions())?;
        }
        file.sync_all()
    });
    // Windows does not rename what is open.
    drop(file);
    let renamed = written.and_then(|()| fs::rename(&partial, &target));
    if renamed.is_err() {
        // The room that it takes may be the room that is lacking.
        let _ = fs::remove_file(&partial);
    }
    renamed.and_then(|()| sync(folder))
}

/// A new locked file of a name that nobody else has.
fn partial(folder: &Path) -> io::Result<(File, PathBuf)> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{}{}-{count}{}", PARTIAL.0, std::process::id(), PARTIAL.1));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            // Another process that removes what was left over may have it for a moment: then the next.
            Ok(file) => match file.try_lock() {
                Err(TryLockError::WouldBlock) => {}
                _ => return Ok((file, path)),
            },
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
}

/// Removes the unfinished files that nobody holds any more, in a folder and as many levels below it.
fn remove_left_over(folder: &Path, depth: usize) {
    // What cannot be read or removed is in nobody's way.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (Ok(kind), name) = (entry.file_type(), entry.file_name()) else { continue };
        if kind.is_dir() && depth > 0 {
            remove_left_over(&entry.path(), depth - 1);
        }
        let ours = name.to_str().is_some_and(|n| n.starts_with(PARTIAL.0) && n.ends_with(PARTIAL.1));
        if kind.is_file()
            && ours
            && let Ok(file) = OpenOptions::new().write(true).open(entry.path())
            && file.try_lock().is_ok()
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes a folder and those above it, and sees to it that their names are on the disk.
fn make(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    sync(folder_of(folder))
}

/// Brings a folder's names to the disk: without it a rename can be lost in a crash of the machine.
fn sync(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        match File::open(folder).and_then(|f| f.sync_all()) {
            // Some file systems cannot.
            Err(e)
                if !matches!(
                    e.kind(),
                    ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::PermissionDenied
                ) =>
            {
                return Err(e);
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("noiseball-store-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn one_at_a_time_writes_a_folder() {
        let root = temporary("one").join("made/with/it");
        let first = Folder::lock(&root).unwrap();
        let second = Folder::lock(&root).unwrap_err();
        assert_eq!(second.kind(), "busy");
        assert!(second.to_string().contains("made/with/it"), "{second}");
        first.write("unet/config.json", b"{}").unwrap();
        drop(first);
        let again = Folder::lock(&root).unwrap();
        again.write("unet/config.json", b"{ }").unwrap();
        assert_eq!(fs::read(root.join("unet/config.json")).unwrap(), b"{ }");
        assert_eq!(names(&root.join("unet")), ["config.json"]);
    }

    #[test]
    fn what_the_dead_left_is_removed_and_what_the_living_write_is_not() {
        let root = temporary("left");
        fs::create_dir_all(root.join("unet")).unwrap();
        let dead = [root.join(".noiseball-1-0.partial"), root.join("unet/.noiseball-1-7.partial")];
        dead.iter().for_each(|path| fs::write(path, "half").unwrap());
        fs::write(root.join("thesis.partial"), "somebody's own").unwrap();
        let (_open, living) = partial(&root).unwrap();
        let _folder = Folder::lock(&root).unwrap();
        assert!(dead.iter().all(|path| !path.exists()));
        assert!(living.exists() && root.join("thesis.partial").exists());
    }

    #[cfg(unix)]
    #[test]
    fn links_pipes_and_permissions_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let root = temporary("links");
        fs::write(root.join("target"), "old").unwrap();
        fs::set_permissions(root.join("target"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink("target", root.join("link")).unwrap();
        replace(&root.join("link"), b"new").unwrap();
        assert_eq!(fs::read(root.join("target")).unwrap(), b"new");
        assert_eq!(fs::metadata(root.join("target")).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::symlink_metadata(root.join("link")).unwrap().is_symlink());
        replace(Path::new("/dev/null"), b"gone").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        assert_eq!(names(&root), ["link", "target"]);
    }

    #[test]
    fn a_write_that_fails_leaves_nothing_and_changes_nothing() {
        let root = temporary("fails");
        fs::create_dir(root.join("folder")).unwrap();
        assert!(replace(&root.join("folder"), b"x").is_err());
        fs::write(root.join("file"), "old").unwrap();
        assert!(replace(&root.join("file/below"), b"x").is_err());
        assert_eq!(names(&root), ["file", "folder"]);
        assert_eq!(fs::read(root.join("file")).unwrap(), b"old");
    }
}
