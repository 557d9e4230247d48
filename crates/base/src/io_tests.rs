//! Atomic files: whole or not at all; texts: each wrong one has its own sentence.

use super::*;
use crate::testing::temporary_folder;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_is_replaced_whole() {
    let folder = temporary_folder();
    let path = folder.path().join("a.txt");
    write_atomic(&path, b"old").unwrap();
    let mut file = AtomicFile::create(&path).unwrap();
    file.write_all(b"new").unwrap();
    file.flush().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(file.path(), path);
    file.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(folder.path()), ["a.txt"]);
}

#[test]
fn a_secret_is_its_owners_and_replaces_nothing() {
    let folder = temporary_folder();
    let path = folder.path().join("key");
    write_secret(&path, b"secret").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"secret");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(write_secret(&path, b"other").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path).unwrap(), b"secret");
}

#[test]
fn an_uncommitted_file_leaves_nothing() {
    let folder = temporary_folder();
    let path = folder.path().join("a.txt");
    write_atomic(&path, b"old").unwrap();
    let mut file = AtomicFile::create(&path).unwrap();
    file.write_all(&vec![1; 1 << 20]).unwrap();
    drop(file);
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(folder.path()), ["a.txt"]);
}

#[test]
fn a_full_disk_is_an_error_and_leaves_the_old_file() {
    // /dev/full refuses every byte, as a full disk does; it cannot be the target of a rename, so the writer is
    // pointed at it by hand.
    if !Path::new("/dev/full").exists() {
        return;
    }
    let folder = temporary_folder();
    let path = folder.path().join("a.txt");
    write_atomic(&path, b"old").unwrap();
    let mut file = AtomicFile::create(&path).unwrap();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    file.file = Some(BufWriter::new(full));
    file.write_all(b"new").unwrap();
    let error = file.commit().unwrap_err();
    assert_eq!(error.to_string(), format!("cannot write {}: the disk is full", path.display()));
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(folder.path()), ["a.txt"]);
}

#[test]
fn a_folder_in_the_way_and_a_missing_folder_are_told() {
    let folder = temporary_folder();
    let error = write_atomic(folder.path(), b"x").unwrap_err();
    assert_eq!(error.to_string(), format!("cannot create {}: it is a folder", folder.path().display()));
    let path = folder.path().join("none/a.txt");
    let error = write_atomic(&path, b"x").unwrap_err();
    assert_eq!(error.to_string(), format!("cannot create {}: no such file or folder", path.display()));
}

#[test]
#[cfg(target_os = "linux")]
fn leftovers_of_dead_processes_are_removed_and_those_of_living_ones_stay() {
    let folder = temporary_folder();
    let host = host_word();
    let process = std::process::id();
    // Linux process numbers stay below 2^22.
    let dead = format!(".a.txt{PARTIAL_MARK}{host}-4194999-0");
    let living = format!(".a.txt{PARTIAL_MARK}{host}-1-0");
    // In a container that is started again, the process before this one had the same number.
    let earlier = format!(".a.txt{PARTIAL_MARK}{host}-{process}-999999");
    let elsewhere = format!(".a.txt{PARTIAL_MARK}{host}x-4194999-0");
    for name in [&dead, &living, &earlier, &elsewhere] {
        fs::write(folder.path().join(name), "part").unwrap();
    }
    write_atomic(&folder.path().join("a.txt"), b"x").unwrap();
    let mut expected = vec![living, elsewhere, "a.txt".into()];
    expected.sort();
    assert_eq!(names(folder.path()), expected);
}

#[test]
fn a_folder_appears_whole() {
    let folder = temporary_folder();
    let path = folder.path().join("step-1");
    let begun = AtomicFolder::create(&path).unwrap();
    fs::write(begun.partial_path().join("a"), "1").unwrap();
    fs::create_dir(begun.partial_path().join("below")).unwrap();
    fs::write(begun.partial_path().join("below/b"), "2").unwrap();
    assert!(!path.exists());
    begun.commit().unwrap();
    assert_eq!(names(&path), ["a", "below"]);
    assert_eq!(names(folder.path()), ["step-1"]);

    let error = AtomicFolder::create(&path).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot create {}: it already exists", path.display()));
    drop(AtomicFolder::create(&folder.path().join("step-2")).unwrap());
    assert_eq!(names(folder.path()), ["step-1"]);
}

#[test]
fn texts() {
    let folder = temporary_folder();
    let at = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let read = |path: &Path| read_to_string_limited(path, 10).map_err(|error| (error.to_string(), error.hint()));
    assert_eq!(read(&at("good", "schön".as_bytes())).unwrap(), "schön");
    assert_eq!(read(&at("bom", b"\xef\xbb\xbfabc")).unwrap(), "abc");
    let cases: [(&str, &[u8], &str, &str); 7] = [
        ("empty", b"", "{} is empty", "was it written completely?"),
        ("nul", b"ab\0\xffc", "{} is not a text file: a NUL byte at byte 2", "plain text file"),
        ("latin1", b"sch\xf6n\0", "{} is not a text file: 0xf6, which is not UTF-8, at byte 3", "iconv -f LATIN1"),
        ("cut", b"sch\xc3", "{} is not a text file: 0xc3, which is not UTF-8, at byte 3", "iconv -f LATIN1"),
        ("utf16", b"\xff\xfea\0", "{} is not a text file: a UTF-16 byte-order mark at byte 0", "iconv -f UTF-16"),
        ("utf16be", b"\xfe\xff\0a", "{} is not a text file: a UTF-16 byte-order mark at byte 0", "iconv -f UTF-16"),
        ("large", b"12345678901", "{} has 11 B, but at most 10 B are read", "split it"),
    ];
    for (name, bytes, message, hint_part) in cases {
        let path = at(name, bytes);
        let (found, hint) = read(&path).unwrap_err();
        assert_eq!(found, message.replace("{}", &path.display().to_string()));
        assert!(hint.as_deref().is_some_and(|hint| hint.contains(hint_part)), "{name}: {hint:?}");
    }
    let (found, _) = read(folder.path()).unwrap_err();
    assert_eq!(found, format!("{} is a folder, but a text file is needed", folder.path().display()));
    let (found, _) = read(&folder.path().join("none")).unwrap_err();
    assert!(found.ends_with("none: no such file or folder"), "{found}");
}

#[test]
#[cfg(target_os = "linux")]
fn an_endless_file_is_cut_at_the_limit() {
    let error = read_to_string_limited(Path::new("/dev/zero"), 1000).unwrap_err();
    assert_eq!(error.to_string(), "/dev/zero has more, but at most 1000 B are read");
}

#[cfg(unix)]
#[test]
fn a_device_is_never_replaced() {
    use std::os::unix::fs::FileTypeExt as _;
    let null = Path::new("/dev/null");
    let error = AtomicFile::create(null).unwrap_err();
    assert!(error.to_string().contains("no ordinary file"), "{error}");
    assert!(std::fs::metadata(null).unwrap().file_type().is_char_device());
}
