//! `kill -9` at any moment: a file is the old one or the new one, a log has whole lines, and nothing is left over.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tsumugi_base::io::write_atomic;
use tsumugi_base::jsonl::{self, JsonLinesWriter};
use tsumugi_base::rng::{Key, Stream};
use tsumugi_base::testing::temporary_folder;

const ROLE: &str = "TSUMUGI_TEST_KILLED_CHILD";
const LEN: usize = 3_000_000;

/// Not a test by itself: writes until it is killed.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(ROLE) else { return };
    let folder = Path::new(&folder);
    let mut log = JsonLinesWriter::open_append(&folder.join("log.jsonl")).unwrap();
    for round in 0u64.. {
        write_atomic(&folder.join("weights"), &vec![(round % 251) as u8; LEN]).unwrap();
        log.write(&serde_json::json!({"round": round, "text": "x".repeat(5000)})).unwrap();
    }
}

#[test]
fn nothing_is_half_written() {
    let folder = temporary_folder();
    let weights = folder.path().join("weights");
    let mut stream = Stream::new(Key::from_seed(1));
    let mut seen = 0;
    let mut zombies = Vec::new();
    for round in 0..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::child"])
            .env(ROLE, folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(20_000 + stream.below(60_000)));
        child.kill().unwrap();
        if round % 2 == 0 {
            child.wait().unwrap();
        } else {
            // Not waited for: dead all the same, and what it left is removed. `Z` needs a moment.
            let stat = format!("/proc/{}/stat", child.id());
            while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
                std::thread::sleep(Duration::from_millis(1));
            }
            zombies.push(child);
        }
        if let Ok(bytes) = std::fs::read(&weights) {
            assert_eq!(bytes.len(), LEN);
            assert!(bytes.iter().all(|&byte| byte == bytes[0]));
            seen += 1;
        }
        let log = folder.path().join("log.jsonl");
        if log.exists() {
            jsonl::read::<serde_json::Value>(&log).unwrap();
        }
    }
    assert!(seen > 0, "no child lived long enough to write one file");
    write_atomic(&weights, b"last").unwrap();
    let mut names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["log.jsonl", "weights"]);
    for mut zombie in zombies {
        zombie.wait().unwrap();
    }
}
