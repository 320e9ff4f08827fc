//! Data sets as people have them, read from disk.
#![cfg(all(feature = "data", not(target_arch = "wasm32")))]

mod data_cases;

use std::fs;
use std::path::{Path, PathBuf};

use data_cases::{Outcome, cases};
use noiseball::train::dataset::{Options, Pixels, Reader, Reading, Step, open};

/// An empty folder of this test's own.
fn temporary(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dataset").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn read(path: &Path) -> Reading {
    open(path, Options::default()).unwrap()
}

fn bytes(reading: &Reading) -> &[u8] {
    match &reading.data.pixels {
        Pixels::Bytes(bytes) => bytes,
        Pixels::Floats(_) => &[],
    }
}

/// A grey picture of 8×8.
fn grey(path: &Path, value: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let encoder = png::Encoder::new(fs::File::create(path).unwrap(), 8, 8);
    encoder.write_header().unwrap().write_image_data(&[value; 64]).unwrap();
}

#[test]
fn the_table_of_cases_is_read_as_in_the_page() {
    let folder = temporary("cases");
    let mut wrong = Vec::new();
    for (i, case) in cases().into_iter().enumerate() {
        let folder = folder.join(i.to_string());
        for (name, bytes) in &case.files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        // A single file is given as it is.
        let given = if let [(name, _)] = &case.files[..] { folder.join(name) } else { folder };
        let options = Options::default().no_classes(!case.classes);
        let outcome = open(&given, options).map_err(|e| e.to_string()).map(|reading| Outcome {
            shape: reading.data.shape,
            pixels: bytes(&reading).to_vec(),
            names: reading.data.names.clone(),
            labels: reading.data.labels.clone(),
            left_out: reading.skipped.into_iter().map(|s| (s.name, s.why)).collect(),
            notes: reading.notes,
        });
        if let Err(problem) = case.compare(outcome) {
            wrong.push(format!("{}: {problem}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_what_is_no_regular_file_is_left_out() {
    use std::os::unix::fs::symlink;
    let folder = temporary("links");
    grey(&folder.join("real/cats/1.png"), 1);
    grey(&folder.join("real/dogs/2.png"), 2);
    let linked = folder.join("linked");
    fs::create_dir(&linked).unwrap();
    for class in ["cats", "dogs"] {
        symlink(folder.join("real").join(class), linked.join(class)).unwrap();
    }
    let reading = read(&linked);
    assert_eq!(
        (reading.data.names.as_slice(), bytes(&reading).len()),
        (&["cats", "dogs"].map(str::to_owned)[..], 128)
    );

    // A circle of links, links that lead nowhere, a pipe and devices.
    symlink(&linked, linked.join("cats/again")).unwrap();
    symlink("nowhere", linked.join("broken.npy")).unwrap();
    symlink("nowhere", linked.join("broken.png")).unwrap();
    symlink("/dev/zero", linked.join("zero.png")).unwrap();
    let pipe = linked.join("pipe.png");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(linked.join("socket.npy")).unwrap();
    let reading = read(&linked);
    let left_out: Vec<(&str, bool)> = reading
        .skipped
        .iter()
        .map(|s| (s.name.as_str(), s.why.contains("link") || s.why.contains("no regular file")))
        .collect();
    let expected =
        ["broken.npy", "broken.png", "cats/again", "pipe.png", "socket.npy", "zero.png"].map(|n| (n, true));
    assert_eq!((left_out.as_slice(), reading.data.len()), (&expected[..], 2));
    for alone in ["pipe.png", "zero.png", "broken.npy"] {
        assert!(open(&linked.join(alone), Options::default()).is_err(), "{alone}");
    }
}

#[cfg(unix)]
#[test]
fn folders_whose_names_are_no_text_stay_apart() {
    use std::os::unix::ffi::OsStrExt;
    let folder = temporary("names");
    for (i, name) in [b"caf\xe9", b"caf\xe8"].into_iter().enumerate() {
        grey(&folder.join(std::ffi::OsStr::from_bytes(name)).join("1.png"), i as u8);
    }
    assert_eq!(read(&folder).data.names.len(), 2);
}

/// Every file of the table with bytes changed, or cut off: it is read or refused, and never a panic.
#[test]
fn damaged_files_are_read_or_refused() {
    let mut state = 1u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below.max(1)
    };
    for case in cases() {
        for _ in 0..100 {
            let mut reader = Reader::new(Options::default(), false).unwrap();
            for (name, bytes) in &case.files {
                let mut bytes = bytes.clone();
                for _ in 0..=random(4) {
                    let at = random(bytes.len());
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = [0, 1, 127, 255, random(256) as u8][random(5)];
                    }
                }
                bytes.truncate(if random(8) == 0 { random(bytes.len()) } else { bytes.len() });
                reader.push(name.clone(), Box::new(bytes)).unwrap();
            }
            while matches!(reader.next(), Ok(Step::Read { .. })) {}
            let _ = reader.finish();
        }
    }
}

/// A scalar has no sizes, and is no array of anything.
#[test]
fn a_number_alone_is_left_out() {
    let folder = temporary("scalar");
    let header = "{'descr': '<i8', 'fortran_order': False, 'shape': (), }";
    let npy = [b"\x93NUMPY\x01\0", &[header.len() as u8, 0][..], header.as_bytes(), &[7; 8]].concat();
    fs::write(folder.join("a.npy"), npy).unwrap();
    grey(&folder.join("b.png"), 1);
    let reading = read(&folder);
    assert_eq!((reading.data.len(), reading.skipped[0].name.as_str()), (1, "a.npy"));
}
