//! The zip walker: archives of Python's zipfile (`tools/goldens/make_zip_goldens.py`) and of PyTorch have no fault; each
//! wrong archive has its own sentence, and what it hides is found.

use std::fs;

use tsumugi_base::testing::mutations;
use tsumugi_files::zip::{Archive, crc32, walk};

use crate::pickles::fixture;

fn read(name: &str) -> Vec<u8> {
    fs::read(fixture(name)).unwrap()
}

fn faults(archive: &Archive<'_>) -> Vec<String> {
    archive.faults.iter().map(ToString::to_string).collect()
}

fn names(archive: &Archive<'_>) -> Vec<String> {
    archive.entries.iter().map(|entry| entry.name_text()).collect()
}

#[test]
fn honest_archives_have_no_fault() {
    for name in ["zip/plain.zip", "zip/wide.zip", "zip/streamed.zip"] {
        let bytes = read(name);
        let archive = walk(&bytes);
        assert_eq!(faults(&archive), [""; 0], "{name}");
        assert_eq!(names(&archive)[..3], ["folder/a", "folder/b", "folder/é"], "{name}");
        let first = &archive.entries[0];
        assert_eq!(first.stored(&bytes), Some(&b"first"[..]), "{name}");
        assert_eq!((first.size, first.crc32, first.is_listed), (5, crc32(b"first"), true), "{name}");
        let packed = &archive.entries[1];
        assert_eq!((packed.stored(&bytes), packed.size), (None, 120), "{name}");
        assert!(packed.packed.len() < 120, "{name}");
    }
    for protocol in 2..=5 {
        let bytes = read(&format!("torch/zip-{protocol}.pt"));
        let archive = walk(&bytes);
        assert_eq!(faults(&archive), [""; 0], "{protocol}");
        assert!(archive.entries.len() > 20);
        for entry in &archive.entries {
            assert_eq!(crc32(entry.stored(&bytes).unwrap()), entry.crc32, "{}", entry.name_text());
        }
    }
}

/// Where `needle` stands in `bytes`, the `count`-th time.
fn find(bytes: &[u8], needle: &[u8], count: usize) -> usize {
    let places = bytes.windows(needle.len()).enumerate().filter(|(_, window)| *window == needle);
    places.map(|(at, _)| at).nth(count).unwrap()
}

/// The faults of `plain.zip` after one change, without their places.
fn told(change: impl FnOnce(&mut Vec<u8>)) -> Vec<String> {
    let mut bytes = read("zip/plain.zip");
    change(&mut bytes);
    faults(&walk(&bytes)).into_iter().map(|fault| fault.rsplit_once(", at byte ").unwrap().0.to_owned()).collect()
}

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";

#[test]
fn each_lie_has_its_sentence() {
    let set = |needle: &'static [u8], count: usize, at: usize, to: u8| {
        told(|bytes| {
            let place = find(bytes, needle, count) + at;
            bytes[place] = to;
        })
    };
    // The first local header: flags at 6, method at 8, checksum at 14, sizes at 18 and 22, name at 30.
    assert_eq!(set(LOCAL, 0, 6, 1), ["entry `folder/a` has flags 1 in its own header and 0 in the directory"]);
    assert_eq!(set(LOCAL, 0, 8, 8), ["entry `folder/a` has method 8 in its own header and 0 in the directory"]);
    assert!(set(LOCAL, 0, 14, 0)[0].starts_with("entry `folder/a` has checksum "));
    assert_eq!(set(LOCAL, 0, 18, 4), ["entry `folder/a` has packed size 4 in its own header and 5 in the directory"]);
    assert_eq!(set(LOCAL, 0, 30, b'F'), ["entry `folder/a` is called `Folder/a` in its own header"]);
    assert_eq!(
        set(CENTRAL, 0, 24, 9),
        [
            "entry `folder/a` has size 5 in its own header and 9 in the directory",
            "entry `folder/a` is stored, but has 5 packed and 9 unpacked bytes"
        ]
    );
    assert!(
        set(CENTRAL, 0, 23, 1)
            .iter()
            .any(|fault| fault.starts_with("entry `folder/a` has 16777221 packed bytes, but "))
    );
    assert_eq!(set(CENTRAL, 0, 43, 1)[0], "entry `folder/a` has no header where the directory says");
    assert_eq!(set(CENTRAL, 1, 53, b'a')[0], "entry `folder/a` stands in the directory twice");
    assert_eq!(set(END, 0, 4, 1), ["the archive is a part of another one"]);
    assert_eq!(
        told(|bytes| {
            let end = find(bytes, END, 0);
            (bytes[end + 8], bytes[end + 10]) = (9, 9);
        }),
        ["the directory holds 4 entries, but 9 are announced"]
    );
    assert_eq!(told(|bytes| bytes.extend(b"tail")), ["4 bytes belong to no entry"]);
    assert_eq!(
        told(|bytes| bytes.extend(b"PK\x05\x06".iter().chain(&[0; 18])))[0],
        "the archive has another end record"
    );
    let prefixed = faults(&walk(&read("zip/prefixed.zip")));
    assert_eq!(prefixed, ["10 bytes belong to no entry, at byte 0"]);
}

#[test]
fn hidden_entries_are_found() {
    let plain = read("zip/plain.zip");
    let directory = find(&plain, CENTRAL, 0);
    // Another archive's entries between the entries and the directory: the end record leads past them.
    let mut bytes = plain[..directory].to_vec();
    let streamed = read("zip/streamed.zip");
    bytes.extend(&streamed[..find(&streamed, CENTRAL, 0)]);
    let shift = bytes.len() - directory;
    bytes.extend(&plain[directory..]);
    let end = bytes.len() - b"a comment".len() - 22;
    let said = u32::from_le_bytes(*bytes[end + 16..].first_chunk().unwrap()) + shift as u32;
    bytes[end + 16..end + 20].copy_from_slice(&said.to_le_bytes());
    let archive = walk(&bytes);
    let hidden: Vec<String> =
        archive.entries.iter().filter(|entry| !entry.is_listed).map(|entry| entry.name_text()).collect();
    assert_eq!(hidden, ["folder/a", "folder/b", "folder/é"]);
    let told = faults(&archive);
    assert!(told[0].starts_with("entry `folder/a` is hidden: the directory does not have it, at byte "), "{told:?}");

    // Without directory and end, everything is hidden.
    let archive = walk(&plain[..directory]);
    assert_eq!(names(&archive), ["folder/a", "folder/b", "folder/é", "empty/"]);
    assert_eq!(archive.entries[0].stored(&plain), Some(&b"first"[..]));
    assert!(faults(&archive)[0].starts_with("the archive has no end record"));

    // Two names for the same bytes.
    let mut bytes = plain.clone();
    let second = find(&bytes, CENTRAL, 1) + 42;
    bytes[second..second + 4].fill(0);
    assert!(
        faults(&walk(&bytes)).iter().any(|fault| fault.starts_with("entry `folder/b` overlaps what comes before it"))
    );
}

#[test]
fn broken_archives_never_panic_and_stay_inside() {
    let mut faultless = 0;
    for (seed, name) in [(1, "zip/plain.zip"), (2, "zip/wide.zip"), (3, "zip/streamed.zip"), (4, "zip/prefixed.zip")] {
        for mutation in mutations(&read(name), seed, 5_000) {
            let archive = walk(&mutation.bytes);
            faultless += usize::from(archive.faults.is_empty());
            for entry in &archive.entries {
                assert!(entry.packed.end <= mutation.bytes.len() && entry.header < mutation.bytes.len());
            }
        }
    }
    // A change of dates, attributes or data is none of the walker's business; most others are.
    assert!((100..5_000).contains(&faultless), "{faultless}");
}
