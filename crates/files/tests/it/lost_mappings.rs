//! What becomes of a process whose mapped file is shortened by another.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use tsumugi_base::testing::temporary_folder;
use tsumugi_files::mmap::{MappedFile, tell_lost_mappings};

/// Tells the test's own child which file to lose.
const FILE: &str = "TSUMUGI_TEST_LOST_FILE";
const BYTES: usize = 1 << 20;

fn read_what_is_gone(path: &Path) -> u64 {
    tell_lost_mappings().unwrap();
    let neighbour = MappedFile::open(&path.with_extension("other")).unwrap();
    let mapped = MappedFile::open(path).unwrap();
    File::options().write(true).open(path).unwrap().set_len(100).unwrap();
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    // What is left of the file can be read, and another file as a whole.
    sum(&neighbour) + sum(&mapped[..100]) + sum(&mapped[BYTES / 2..])
}

#[test]
fn it_ends_with_the_name_of_the_file() {
    if let Some(path) = std::env::var_os(FILE) {
        panic!("read {}", read_what_is_gone(Path::new(&path)));
    }
    let folder = temporary_folder();
    let path = folder.path().join("weights.bin");
    for file in [&path, &path.with_extension("other")] {
        std::fs::write(file, vec![7; BYTES]).unwrap();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "lost_mappings::it_ends_with_the_name_of_the_file", "--nocapture"]).env(FILE, &path);
    let ended = child.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{said}");
    let message =
        format!("error: {}: it was shortened, or its disk failed, while it was mapped\n\nhint: ", path.display());
    assert!(said.contains(&message), "{said}");
}

/// Tells the own child of [`it_ends_when_the_signal_is_sent`] that it is one.
const SENT: &str = "TSUMUGI_TEST_SENT_SIGNAL";

#[test]
fn it_ends_when_the_signal_is_sent() {
    use std::os::unix::process::ExitStatusExt as _;

    if std::env::var_os(SENT).is_some() {
        tell_lost_mappings().unwrap();
        let sent = Command::new("kill").args(["-BUS", &std::process::id().to_string()]).status();
        panic!("still here after {sent:?}");
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "lost_mappings::it_ends_when_the_signal_is_sent", "--nocapture"]).env(SENT, "1");
    let ended = child.output().unwrap();
    assert!(matches!(ended.status.signal(), Some(7 | 10)), "{}", String::from_utf8_lossy(&ended.stderr)); // SIGBUS of Linux, of others
}

#[test]
fn whoever_can_do_without_the_file_reads_zeros_and_is_told() {
    tell_lost_mappings().unwrap();
    let folder = temporary_folder();
    let path = folder.path().join("weights.bin");
    std::fs::write(&path, vec![7; BYTES]).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let mapped = MappedFile::of_fleeting(&file, &path).unwrap();
    assert!(mapped.iter().all(|&byte| byte == 7) && mapped.is_whole());
    file.set_len(100).unwrap();
    assert!(mapped[..100].iter().all(|&byte| byte == 7) && mapped.is_whole(), "what is left is the file's");
    assert!(mapped[BYTES / 2..].iter().all(|&byte| byte == 0) && !mapped.is_whole());
    drop(mapped);
    let other = MappedFile::of_fleeting(&file, &path).unwrap();
    assert!(other.len() == 100 && other.is_whole(), "its place in the table is as new");
}
