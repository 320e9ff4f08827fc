//! Two processes in one folder, kill -9, and a full disk: what was saved before is never lost.

#![cfg(all(feature = "cli", feature = "burn", unix))]
#![allow(clippy::print_stdout, reason = "tests say what they counted")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use noiseball::store::Folder;
use noiseball::train::inspect;

const STATE: &str = "training-state.safetensors";

/// A folder of this test's own with eight 8×8 pictures as MNIST has them.
fn temporary(name: &str) -> (PathBuf, PathBuf) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("store").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let data = folder.join("pictures-idx3-ubyte");
    let pixels: Vec<u8> = (0..8 * 64u32).map(|i| (i * 37 % 256) as u8).collect();
    fs::write(&data, [&[0, 0, 8, 3, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0, 0, 8][..], &pixels].concat()).unwrap();
    (data, folder.join("model"))
}

fn arguments(data: &Path, out: &Path) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["train", data.to_str().unwrap(), "--out", out.to_str().unwrap()].map(str::to_owned).to_vec();
    if out.join(STATE).exists() {
        arguments.push("--resume".to_owned());
    } else {
        let new = ["--preset", "tiny", "--size", "8", "--steps", "1000000", "--batch", "1"];
        arguments.extend(new.map(str::to_owned));
    }
    arguments.extend(["--save-every", "1", "--device", "cpu"].map(str::to_owned));
    arguments
}

/// `noiseball train`, with more to do than a test waits for.
fn start(data: &Path, out: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_noiseball"));
    command.args(arguments(data, out)).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn kill(mut child: Child) -> Output {
    child.kill().unwrap();
    child.wait_with_output().unwrap()
}

fn wait_for(path: &Path) {
    while !path.exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The step that a run can go on from; none before its first save.
fn saved(out: &Path) -> Option<u64> {
    let bytes = fs::read(out.join(STATE)).ok()?;
    Some(inspect(STATE, &bytes).unwrap().1)
}

fn left_over(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|e| e == "partial")).collect()
}

#[test]
fn a_second_process_is_told_that_the_folder_is_busy() {
    let (data, out) = temporary("busy");
    let first = start(&data, &out);
    wait_for(&out.join(STATE));
    let second = start(&data, &out).wait_with_output().unwrap();
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    let told = String::from_utf8(second.stderr).unwrap();
    assert!(told.contains("is being written by another process"), "{told}");
    kill(first);
    // The system has given the lock back.
    assert!(Folder::lock(&out).is_ok());
}

/// `DOUBLE_KILLS=200 cargo test …` made the figures in docs/training.md.
#[test]
fn two_processes_killed_at_any_moment_lose_nothing() {
    let (data, out) = temporary("kills");
    let kills: u64 = std::env::var("DOUBLE_KILLS").map_or(20, |n| n.parse().unwrap());
    // On any machine, kills are spread from during the start to after a save or two.
    let started = Instant::now();
    let first = start(&data, &out);
    while saved(&out) < Some(2) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut span = started.elapsed();
    kill(first);
    let (mut last, mut left) = (saved(&out), 0);
    let from = last;
    // How many kills fell so many saves after the start of their two processes.
    let mut fell: BTreeMap<u64, u64> = BTreeMap::new();
    for i in 0..kills {
        let children = [start(&data, &out), start(&data, &out)];
        let share = (i * 7919 % 500) as f64 / 500.0;
        std::thread::sleep(span.mul_f64(share));
        for output in children.map(kill) {
            let told = String::from_utf8(output.stderr).unwrap();
            let expected = ["another process", "holds a run already"];
            let mut errors = told.lines().filter(|line| line.starts_with("noiseball:"));
            assert!(errors.all(|line| expected.iter().any(|part| line.contains(part))), "{told}");
            assert!(!told.contains("panicked"), "{told}");
        }
        let found = saved(&out);
        assert!(found >= last, "kill {i}: from step {last:?} back to {found:?}");
        let saves = found.unwrap_or(0) - last.unwrap_or(0);
        *fell.entry(saves).or_default() += 1;
        left += u64::from(!left_over(&out).is_empty());
        last = found;
        if saves == 0 && share > 0.8 {
            // The machine is busier than it was when the span was measured.
            span = span.mul_f64(1.5);
        }
    }
    println!("{kills} double kills from step {from:?} to {last:?}, {left} in the middle of a save;");
    fell.iter().for_each(|(saves, count)| println!("{count} of them {saves} saves after the start"));
    assert!(kills < 5 || (last > from && fell.contains_key(&0)), "kills fall before a save and after one");
    let _folder = Folder::lock(&out).unwrap();
    assert_eq!(left_over(&out), Vec::<PathBuf>::new(), "what the killed left is removed by the next");
    let weights = out.join("unet/diffusion_pytorch_model.safetensors");
    if weights.exists() {
        assert!(noiseball::Checkpoint::open(out.to_str().unwrap()).is_ok());
    }
}

#[test]
fn a_full_disk_loses_nothing_and_does_not_stay_full() {
    let (data, out) = temporary("full");
    let first = start(&data, &out);
    wait_for(&out.join(STATE));
    kill(first);
    drop(Folder::lock(&out).unwrap());
    let before = (saved(&out), fs::read(out.join(STATE)).unwrap());
    // No file may grow beyond some kilobytes, and a write that would is refused rather than deadly.
    let script = "trap '' XFSZ; ulimit -f 16; exec \"$@\"";
    let limited = Command::new("sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_noiseball")])
        .args(arguments(&data, &out))
        .output()
        .unwrap();
    assert_eq!(limited.status.code(), Some(1), "{limited:?}");
    let told = String::from_utf8(limited.stderr).unwrap();
    assert!(told.contains("make room and try again"), "{told}");
    assert_eq!((saved(&out), fs::read(out.join(STATE)).unwrap()), before);
    for folder in [&out, &out.join("unet"), &out.join("scheduler")] {
        assert_eq!(left_over(folder), Vec::<PathBuf>::new());
    }
    let again = start(&data, &out);
    while saved(&out) <= before.0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    kill(again);
}
