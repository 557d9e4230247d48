//! Formats whose structure is followed: HDF5, FlatBuffers, UBJSON, LightGBM's text; and those that are only recognized.

use tsumugi_base::rng::{Key, Stream};
use tsumugi_base::testing::repository_root;
use tsumugi_scan::{FileReport, Limits, Severity, scan_bytes};

use crate::samples::gzip;

fn scanned(bytes: &[u8], name: &str) -> FileReport {
    scan_bytes(bytes, name, &Limits::default())
}

pub fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(repository_root().join("crates/scan/fixtures/hdf5").join(name)).expect("the fixture is there")
}

/// The rule and message of each finding.
fn found(report: &FileReport) -> Vec<(&str, String)> {
    report
        .findings
        .iter()
        .map(|finding| (finding.rule.id, format!("{}: {}", finding.place(), finding.message)))
        .collect()
}

#[test]
fn hdf5_files_that_lead_elsewhere() {
    let outside = ": in `/`: a link leads to `../outside.h5`";
    for (name, rule, message) in [
        ("symbol-table.h5", "other-file", ": in `/a`: a link leads to `../outside.h5`"),
        ("messages.h5", "other-file", ": in `/a`: a link leads to `../outside.h5`"),
        ("many-old.h5", "other-file", outside),
        ("many-new.h5", "other-file", outside),
        ("external-data.h5", "other-file", ": in `/a`: a dataset keeps its bytes in `/etc/hostname`"),
        ("virtual.h5", "other-file", ": in `/a`: a virtual dataset reads `sibling.h5`"),
        ("shape.h5", "archive-bomb", ": `/a` becomes 4398046511104 bytes, and the file has 1400"),
    ] {
        let report = scanned(&fixture(name), name);
        assert_eq!(found(&report), [(rule, message.to_owned())], "{name}");
    }
    let sibling = scanned(&fixture("virtual.h5"), "a.h5");
    assert_eq!(sibling.worst(), Some(Severity::Medium), "a file beside is less than one outside");
    assert_eq!(found(&scanned(&fixture("harmless.h5"), "a.h5")), []);
}

#[test]
fn attributes_of_hdf5_are_read() {
    // The configuration spells a letter, so that no search for words finds it.
    let keras = scanned(&fixture("keras.h5"), "a.h5");
    assert!(keras.findings.iter().any(|finding| finding.member.starts_with("/@model_config")), "{:?}", found(&keras));
    let pickle = scanned(&fixture("pickle.h5"), "a.h5");
    assert_eq!((pickle.findings[0].rule.id, &*pickle.findings[0].member), ("pickle-dangerous-import", "/@state"));
}

#[test]
fn broken_hdf5_is_told() {
    let whole = fixture("symbol-table.h5");
    for cut in [9, 60, 200, 900] {
        let report = scanned(&whole[..cut], "a.h5");
        assert!(report.findings.iter().any(|finding| finding.rule.id == "broken-file"), "cut at {cut}");
    }
}

#[test]
fn hdf5_that_points_in_circles_ends() {
    // A superblock of version 0, the root's header at byte 72, and in it a continuation at byte 88, which is itself.
    let mut file = b"\x89HDF\r\n\x1A\n\0\0\0\0\0\x08\x08\0".to_vec();
    file.resize(64, 0);
    file.extend([72u64, 0x0000_0001_0001_0001, 24].map(u64::to_le_bytes).concat());
    file.extend([0x0010_0010u64, 88, 24].map(u64::to_le_bytes).concat());
    let report = scanned(&file, "a.h5");
    assert!(report.unread.is_some_and(|why| why.contains("more objects")), "{:?}", report.findings);
}

/// A FlatBuffer of one table with the fields' places given from the table on, and what lies behind the table.
pub fn flatbuffer(places: &[u16], behind: &[u8]) -> Vec<u8> {
    let size = 4 + 2 * places.len();
    let table = (8 + size).next_multiple_of(4);
    let mut file = [&(table as u32).to_le_bytes(), b"TFL3".as_slice(), &(size as u16).to_le_bytes(), &[4, 0]].concat();
    file.extend(places.iter().flat_map(|place| place.to_le_bytes()));
    file.resize(table, 0);
    file.extend(((table - 8) as u32).to_le_bytes());
    file.extend(behind);
    file
}

#[test]
fn tables_of_tensorflow_lite() {
    assert_eq!(found(&scanned(&flatbuffer(&[], &[]), "a.tflite")), []);
    // Field 1 lies 4 bytes behind the table's start: a list of one table, which has the text in its own field 1.
    let list = [4u32, 1, 16].map(u32::to_le_bytes).concat();
    let places = [8u16, 8, 0, 4].map(u16::to_le_bytes).concat();
    let operator = [8u32, 4, 4].map(u32::to_le_bytes).concat();
    let own = flatbuffer(&[0, 4], &[&*list, &[0; 4], &places, &operator, b"Mine\0\0\0\0"].concat());
    assert_eq!(
        found(&scanned(&own, "a.tflite")),
        [("tflite-custom-operator", ": operator `Mine` is its own".to_owned())]
    );
    let beyond = flatbuffer(&[0, 4], &[4u32, 1 << 30].map(u32::to_le_bytes).concat());
    assert_eq!(scanned(&beyond, "a.tflite").findings[0].rule.id, "broken-file");
}

#[test]
fn models_of_decision_trees() {
    let lightgbm =
        |leaves: &str| format!("tree\nversion=v4\n\nTree=0\nnum_leaves={leaves}\nleaf_value=1 2 3\n\nend of trees\n");
    assert_eq!(found(&scanned(lightgbm("3").as_bytes(), "a.txt")), []);
    assert_eq!(scanned(lightgbm("4").as_bytes(), "a.txt").findings[0].rule.id, "broken-file");
    let xgboost = b"{L\0\0\0\0\0\0\0\x07learner{L\0\0\0\0\0\0\0\x01aSL\0\0\0\0\0\0\0\x15cos\nsystem\n(S'a'\ntR.\n}}";
    let report = scanned(xgboost, "a.ubj");
    assert_eq!((report.formats[0], report.findings[0].rule.id), ("XGBoost", "pickle-dangerous-import"));
    assert_eq!(scanned(&xgboost[..20], "a.ubj").findings[0].rule.id, "broken-file");
    let text = b"SL\0\0\0\0\0\0\0\x15cos\nsystem\n(S'a'\ntR.\n";
    let many = [b"[".as_slice(), &b"Si\x01x".repeat(100_001), text, b"]"].concat();
    let report = scanned(&[b"{i\x07learner".as_slice(), &many, b"}"].concat(), "a.ubj");
    assert_eq!(report.findings[0].rule.id, "pickle-dangerous-import", "{report:?}");
    // Entries that share one text of the length of the file.
    let entry = [8u16, 8, 4, 0].map(u16::to_le_bytes).concat();
    let core = {
        let (count, text) = (1000u32, b"x".repeat(4000));
        let places: Vec<u8> = (0..count).flat_map(|index| (4 * (count - index) + 8).to_le_bytes()).collect();
        let table = [8u32.to_le_bytes(), 4u32.to_le_bytes(), (text.len() as u32).to_le_bytes()].concat();
        let list = [&4u32.to_le_bytes()[..], &count.to_le_bytes(), &places, &entry, &table, &text].concat();
        flatbuffer(&[0, 0, 4], &list)
    };
    let model = [b"CBM1".as_slice(), &(core.len() as u32).to_le_bytes(), &core].concat();
    assert_eq!(scanned(&model, "a.cbm").findings[0].rule.id, "broken-file");
    let catboost = scanned(b"CBM1\xFF\0\0\0....", "a.cbm");
    assert_eq!((catboost.formats[0], catboost.findings[0].rule.id), ("CatBoost", "broken-file"));
}

#[test]
fn what_is_only_recognized_says_what_was_not_looked_at() {
    for (bytes, name, format) in [
        (b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1\x0D\0\0\0nn.Sequential".as_slice(), "a", "torch7"),
        (b"4\n1\n3\nV 1\n13\nnn.Sequential\n", "a.t7", "torch7"),
        (b"\x03\0\0\0\x01\0\0\0\0\0\0\0", "a.t7", "torch7"),
        (b"X\n\0\0\0\x03\0\x04\x03\0", "a.rds", "R"),
        (b"RDX3\nX\n\0\0\0\x03", "a.rda", "R"),
    ] {
        let report = scanned(bytes, name);
        assert!(report.formats.contains(&format) && report.unread.is_some(), "{name}: {:?}", report.formats);
    }
    let pmml = b"<?xml version='1.0'?><PMML version='4.4'></PMML>";
    assert_eq!(found(&scanned(pmml, "a.pmml")), []);
    let entity = b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><PMML>&b;</PMML>";
    assert_eq!(scanned(entity, "a.pmml").findings[0].rule.id, "other-file");
}

/// What is unpacked of members in one another is held at once.
#[test]
fn members_in_one_another_share_the_memory() {
    let limits = Limits { member_bytes: 100 << 10, ..Limits::default() };
    let inner = gzip(&vec![b'x'; 60 << 10]);
    let filled = |more: usize| {
        // Bytes that do not compress, so that the middle one is as long unpacked as packed.
        let mut random = Stream::new(Key::from_seed(1));
        let noise: Vec<u8> = (0..more).map(|_| random.below(256) as u8).collect();
        gzip(&[inner.as_slice(), &noise].concat())
    };
    let unread = |bytes: &[u8]| scan_bytes(bytes, "a.gz", &limits).unread;
    assert!(!unread(&filled(10 << 10)).unwrap_or_default().contains("than the scanner holds"));
    assert!(unread(&filled(60 << 10)).unwrap_or_default().contains("than the scanner holds"));
}
