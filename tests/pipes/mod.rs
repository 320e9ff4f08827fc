//! For tests that give a command a pipe where it wants a file.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// Makes a pipe that nobody writes into, in place of what is there.
pub(crate) fn make(path: &Path) {
    let _ = std::fs::remove_file(path);
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// What a command comes to that must not wait for a writer.
pub(crate) fn finished(mut command: Command) -> Output {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    for _ in 0..2000 {
        if child.try_wait().unwrap().is_some() {
            return child.wait_with_output().unwrap();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    panic!("{command:?} waits for ever");
}

/// Whether a command finds its input bad, and says so.
pub(crate) fn refused(command: Command, says: &str) {
    let shown = format!("{command:?}");
    let output = finished(command);
    assert_eq!(output.status.code(), Some(2), "{shown}: {output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains(says), "{shown}: {told}");
}
