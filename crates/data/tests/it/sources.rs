//! Every format of a source, whole and damaged: what is bad is counted and named, and the rest goes on.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::basic::{Compression as Packing, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use tsumugi_base::progress::Silent;
use tsumugi_base::rng::{Key, Stream};
use tsumugi_base::testing::temporary_folder;
use tsumugi_data::corpus::{self, CorpusError, Outcome};
use tsumugi_data::source::{Item, find, parts};

use crate::corpus::{documents, gzip, options, recipe, run, texts};

/// What the files of a folder `in` give: texts, and problems of faults.
struct Found {
    texts: Vec<String>,
    outcome: Outcome,
}

impl Found {
    fn problems(&self) -> Vec<String> {
        let fault = |fault: &corpus::Fault| {
            let name = fault.file.file_name().unwrap().to_string_lossy();
            format!("{name} {:?} {}", fault.offset, fault.problem)
        };
        self.outcome.summary.named_faults.iter().map(fault).collect()
    }
}

fn source(folder: &Path, settings: &str) -> String {
    format!("document-bytes-max = 65536\n[[source]]\nname = 's'\npaths = ['{}/in']\n{settings}", folder.display())
}

fn read(folder: &Path, settings: &str) -> Found {
    let out = folder.join("out");
    let _ = fs::remove_dir_all(&out);
    let outcome = run(&source(folder, settings), &out).unwrap();
    Found { texts: texts(&out.join("documents")), outcome }
}

/// A folder with these files below `in`.
fn folder_of(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = temporary_folder();
    fs::create_dir(folder.path().join("in")).unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join("in").join(name), bytes).unwrap();
    }
    folder
}

fn lines(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| format!("{{\"text\":\"{text}\"}}\n").into_bytes()).collect()
}

#[test]
fn json_lines_plain_and_packed() {
    let plain = lines(&["one", "two"]);
    let zstandard = zstd::bulk::compress(&lines(&["five"]), 3).unwrap();
    let mut members = gzip(&lines(&["three"]));
    members.extend([0; 20]);
    members.extend(gzip(&lines(&["four"])));
    let folder = folder_of(&[("a.jsonl", &plain), ("b.jsonl.gz", &members), ("c.jsonl.zst", &zstandard)]);
    let found = read(folder.path(), "");
    assert_eq!(found.texts, ["one", "two", "three", "four", "five"]);
    assert_eq!(found.problems(), [""; 0]);
    let ids: Vec<_> = documents(&folder.path().join("out/documents")).iter().map(|d| d["id"].clone()).collect();
    assert_eq!(ids[..2], ["a.jsonl#0", "a.jsonl#15"]);
}

#[test]
fn bad_lines_are_named_and_the_rest_goes_on() {
    let mut text = lines(&["one"]);
    text.extend(b"{\"no_text\": 1}\n\n{\"text\": \"two\"\n[1]\n{\"text\": 5}\n\"\xff\"\n");
    text.extend(format!("{{\"text\":\"{}\"}}\n", "x".repeat(70_000)).into_bytes());
    text.extend(b"{\"text\":\"last\"}");
    let folder = folder_of(&[("a.jsonl", &text)]);
    let found = read(folder.path(), "");
    assert_eq!(found.texts, ["one", "last"]);
    let expected = [
        "a.jsonl Some(15) it has no field `text`",
        "a.jsonl Some(31) a line that is no JSON: EOF while parsing an object at line 1 column 14",
        "a.jsonl Some(46) a line that is no JSON object",
        "a.jsonl Some(50) its field `text` is no string",
        "a.jsonl Some(62) a line that is not UTF-8: 0xff is its byte 1",
        "a.jsonl Some(66) a document of 68.4 KiB, but at most 64.0 KiB are read",
    ];
    assert_eq!(found.problems(), expected);
    let mut strict = options(&Silent);
    strict.strict = true;
    let error = corpus::run(&recipe(&source(folder.path(), "")), &folder.path().join("strict"), &strict).unwrap_err();
    assert!(matches!(error, CorpusError::Strict(_)));
    assert!(error.to_string().ends_with("a.jsonl, byte 15: it has no field `text`"), "{error}");
}

#[test]
fn a_file_that_is_cut_into_shards_loses_no_line() {
    let folder = temporary_folder();
    fs::create_dir(folder.path().join("in")).unwrap();
    let mut stream = Stream::new(Key::from_seed(1));
    let mut text = String::new();
    for index in 0..500 {
        text.push_str(&format!("{{\"text\":\"{index} {}\"}}\n", "x".repeat(stream.below(90) as usize)));
    }
    for end in ["", "\n"] {
        fs::write(folder.path().join("in/a.jsonl"), text.trim_end().to_owned() + end).unwrap();
        let recipe =
            source(folder.path(), "").replacen("document-bytes-max", "shard-bytes = 1024\ndocument-bytes-max", 1);
        let out = folder.path().join("out");
        let _ = fs::remove_dir_all(&out);
        run(&recipe, &out).unwrap();
        let found = texts(&out.join("documents"));
        let numbers: Vec<usize> = found.iter().map(|text| text.split(' ').next().unwrap().parse().unwrap()).collect();
        assert_eq!(numbers, (0..500).collect::<Vec<_>>());
        assert!(fs::read_dir(out.join("documents")).unwrap().count() > 15);
    }
}

/// The member that is damaged is lost, and no other.
#[test]
fn a_damaged_gzip_member_costs_itself() {
    let mut stream = Stream::new(Key::from_seed(2));
    let mut noise = || (0..400).map(|_| char::from(b'a' + stream.below(26) as u8)).collect::<String>();
    let texts: Vec<String> = (0..5).map(|_| noise()).collect();
    let members: Vec<Vec<u8>> = texts.iter().map(|text| gzip(&lines(&[text]))).collect();
    let mut bytes = members.concat();
    let damaged = members[0].len() + members[1].len() + 150;
    bytes[damaged..damaged + 8].fill(0xff);
    let cut = members.concat();
    let folder =
        folder_of(&[("a.jsonl.gz", &bytes), ("b.jsonl.gz", &cut[..cut.len() - 30]), ("c.jsonl", &lines(&["c"]))]);
    let found = read(folder.path(), "");
    let mut expected: Vec<String> = [0, 1, 3, 4, 0, 1, 2, 3].map(|index| texts[index].clone()).to_vec();
    expected.push("c".into());
    assert_eq!(found.texts, expected);
    let begin = |member: usize| members[..member].iter().map(Vec::len).sum::<usize>();
    let problems = found.problems();
    let begins = format!("a.jsonl.gz Some({}) a gzip member that cannot be read: ", begin(2));
    assert!(problems.iter().any(|problem| problem.starts_with(&begins)), "{problems:?}");
    let begins = format!("b.jsonl.gz Some({}) a gzip member that cannot be read: ", begin(4));
    assert!(problems.last().unwrap().starts_with(&begins), "{problems:?}");
    // Within one member, the lines before the damage are kept.
    let mut one = gzip(&texts.iter().flat_map(|text| lines(&[text])).collect::<Vec<u8>>());
    let middle = one.len() / 2;
    one.truncate(middle);
    let zstandard = zstd::bulk::compress(&lines(&["z"; 100]), 3).unwrap();
    let folder = folder_of(&[("a.jsonl.gz", &one), ("b.jsonl.zst", &zstandard[..zstandard.len() - 8])]);
    let found = read(folder.path(), "");
    assert_eq!(found.texts[0], texts[0]);
    assert_eq!(found.outcome.summary.faults, 2, "{:?}", found.problems());
}

#[test]
fn text_files_in_three_splits() {
    let text = b"First line.\nSecond line.\n\n\nThird.\r\n";
    let folder =
        folder_of(&[("a.txt", text), ("b.md", b"# T\xe9l\xe9phone"), ("c.txt", b"\xff\xfeh\0i\0"), ("d.bin", b"x")]);
    let found = read(folder.path(), "");
    assert_eq!(found.texts, ["First line.\nSecond line.\n\n\nThird.\r\n", "# Téléphone", "hi"]);
    let read_back = documents(&folder.path().join("out/documents"));
    assert_eq!(read_back[1]["metadata"]["encoding"], "windows-1252");
    assert_eq!(read_back[1]["id"], "b.md");
    let found = read(folder.path(), "split = 'lines'");
    assert_eq!(found.texts[..3], ["First line.", "Second line.", "Third."]);
    let found = read(folder.path(), "split = 'paragraphs'");
    assert_eq!(found.texts[..2], ["First line.\nSecond line.\n", "Third.\n"]);
    let folder = folder_of(&[("a.txt", &b"word ".repeat(20_000)), ("b.txt", b"\x7fELF\0"), ("c.txt", b"fine")]);
    let found = read(folder.path(), "");
    assert_eq!(found.texts, ["fine"]);
    let problems = found.problems();
    assert_eq!(problems[0], "a.txt Some(0) a document of more, but at most 64.0 KiB are read");
    assert_eq!(problems[1], "b.txt Some(0) it is no text: a NUL is its byte 4");
}

#[test]
fn tables_with_quotes_and_bad_rows() {
    let table = b"id,text,year\n1,\"a, b\n\"\"c\"\"\",2001\n2,short\n3,d\xe9j\xe0 vu,2003\n";
    let open = [b"text\n\"never closed ".to_vec(), b"x".repeat(300_000)].concat();
    let files: [(&str, &[u8]); 4] =
        [("a.csv", table), ("b.tsv", b"text\tk\nx y\t1\n"), ("c.csv", b"words\nno text here\n"), ("d.csv", &open)];
    let folder = folder_of(&files);
    let found = read(folder.path(), "");
    assert_eq!(found.texts, ["a, b\n\"c\"", "déjà vu", "x y"]);
    let problems = found.problems();
    assert_eq!(problems[0], "a.csv Some(33) a row of 2 columns under a head of 3");
    assert_eq!(problems[1], "c.csv Some(0) it has no column `text`");
    assert!(problems[2].contains("a row is larger than a document may be"), "{problems:?}");
    assert_eq!(documents(&folder.path().join("out/documents"))[0]["metadata"]["year"], "2001");
}

#[test]
fn quotes_that_are_wrong_are_faults_of_their_rows() {
    let read_table = |name: &str, table: &str| {
        let folder = folder_of(&[(name, table.as_bytes()), ("z.jsonl", &lines(&["end"]))]);
        let found = read(folder.path(), "");
        (found.texts.clone(), found.problems())
    };
    for (open, end) in [("a.csv", "\n"), ("a.csv", ""), ("a.csv", "\r\n")] {
        let (texts, problems) = read_table(open, &format!("id,text\n1,one\n2,\"two\n3,three\n4,four{end}"));
        assert_eq!(texts, ["one", "end"]);
        assert_eq!(problems, ["a.csv Some(16) a quote that is never closed; the rest of the file is left out"]);
    }
    let (texts, problems) =
        read_table("a.csv", "\u{feff}\"id\",text\n1,\"a \"b\" c\"\n2,\"a, \"\"b\"\"\"\n3,c \"d\"\n");
    assert_eq!(texts, ["a, \"b\"", "c \"d\"", "end"], "a quote within a field without quotes is a letter");
    assert_eq!(problems, ["a.csv Some(15) a quote that is closed in the middle of a field"]);
    // An open quote that the next one of another row closes.
    let (texts, problems) = read_table("a.csv", "id,text\n1,\"one\n2,two\n3,\"three\"\n4,four\n");
    assert_eq!(texts, ["four", "end"]);
    assert_eq!(problems, ["a.csv Some(10) a quote that is closed in the middle of a field"]);
    let (texts, problems) = read_table("a.csv", "id,\"text\n1,one\n");
    assert_eq!(texts, ["end"]);
    assert!(problems[0].starts_with("a.csv Some(3) a head that cannot be read: a quote"), "{problems:?}");
    let (texts, _) = read_table("a.tsv.csv", "id,text\n1,one\n");
    assert_eq!(texts, ["one", "end"], "what ends in .csv has commas");
}

#[test]
fn pages_give_their_main_text() {
    let sentence =
        "A sentence of a page that goes on for long enough to be taken as a part of its main text, and more.";
    let page = format!("<meta charset=utf-8><title>T</title><nav><a href=x>Menu</a></nav><p>{sentence}</p>");
    let folder = folder_of(&[("a.html", page.as_bytes()), ("b.html", b"<p>caf\xe9 cr\xe8me br\xfbl\xe9e")]);
    let found = read(folder.path(), "");
    assert_eq!(found.texts, [sentence, "café crème brûlée"]);
    assert_eq!(documents(&folder.path().join("out/documents"))[0]["metadata"]["title"], "T");
    assert!(read(folder.path(), "main-text = false").texts[0].starts_with("Menu\n\n"));
}

fn record(kind: &str, head: &str, body: &[u8]) -> Vec<u8> {
    let id = format!("<urn:uuid:{kind}-{}>", body.len());
    let head = format!(
        "WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: {id}\r\n{head}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body, b"\r\n\r\n"].concat()
}

#[test]
fn web_archives_plain_packed_and_damaged() {
    let origin = "WARC-Target-URI: https://example.org/\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n";
    let answer = |head: &str, body: &[u8]| [b"HTTP/1.1 200 OK\r\n", head.as_bytes(), b"\r\n\r\n", body].concat();
    let html = answer("Content-Type: text/html; charset=iso-8859-1", b"<p>caf\xe9");
    let chunked =
        answer("Content-Type: text/html\r\nTransfer-Encoding: chunked", b"4\r\n<p>a\r\n3;x\r\nbcd\r\n0\r\n\r\n");
    let packed = answer("Content-Type: text/plain\r\nContent-Encoding: gzip", &gzip(b"packed"));
    let image = answer("Content-Type: image/png", b"\x89PNG");
    let records = [
        record("warcinfo", "", b"software: x"),
        record("response", origin, &html),
        record("request", "", b"GET / HTTP/1.1"),
        record("response", "", &chunked),
        record("response", "", &packed),
        record("response", "", &image),
        record("conversion", origin, "plain wörds".as_bytes()),
    ];
    let whole = records.concat();
    let mut damaged = records[..2].concat();
    damaged.extend(b"rubbish\nmore rubbish\r\n");
    damaged.extend(records[3..].concat());
    damaged.extend(b"WARC/1.0\r\nWARC-Type: response\r\n\r\n");
    damaged.extend(record("response", "", &vec![b'x'; 400_000]));
    damaged.extend(&records[6][..records[6].len() - 8]);
    let members: Vec<Vec<u8>> = records.iter().map(|record| gzip(record)).collect();
    let mut broken = members.clone();
    broken[1][30..34].fill(0xff);
    let folder = folder_of(&[("a.warc", &whole), ("b.warc.gz", &members.concat())]);
    let found = read(folder.path(), "");
    let expected = ["café", "abcd", "packed", "plain wörds"];
    assert_eq!(found.texts, [expected, expected].concat());
    assert_eq!(found.problems(), [""; 0]);
    let first = &documents(&folder.path().join("out/documents"))[0];
    assert_eq!(
        (&first["metadata"]["url"], &first["metadata"]["encoding"]),
        (&"https://example.org/".into(), &"windows-1252".into())
    );
    let folder = folder_of(&[("a.warc", &damaged), ("b.warc.gz", &broken.concat())]);
    let found = read(folder.path(), "");
    assert_eq!(found.texts, [&expected[..], &expected[1..]].concat());
    let problems = found.problems();
    assert!(problems[0].ends_with("bytes that are no record"), "{problems:?}");
    assert!(problems[1].ends_with("a record without its Content-Length"), "{problems:?}");
    assert!(problems[2].ends_with("but at most 64.0 KiB are read"), "{problems:?}");
    assert!(problems[3].contains("of which"), "{problems:?}");
    assert!(problems[4].starts_with("b.warc.gz") && problems[4].contains("a gzip member"), "{problems:?}");
}

/// A table of years and texts, in row groups of two.
fn table(texts: &[&str]) -> Vec<u8> {
    table_packed(texts, Packing::SNAPPY)
}

fn table_packed(texts: &[&str], packing: Packing) -> Vec<u8> {
    let column = |name: &str, physical, logical| {
        let column = Type::primitive_type_builder(name, physical).with_repetition(Repetition::REQUIRED);
        Arc::new(column.with_logical_type(logical).build().unwrap())
    };
    let text = column("text", Physical::BYTE_ARRAY, Some(parquet::basic::LogicalType::String));
    let year = column("year", Physical::INT64, None);
    let schema = Type::group_type_builder("schema").with_fields(vec![text, year]).build().unwrap();
    let properties = WriterProperties::builder().set_compression(packing).set_dictionary_enabled(false).build();
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, Arc::new(schema), Arc::new(properties)).unwrap();
    for (index, texts) in texts.chunks(2).enumerate() {
        let mut group = writer.next_row_group().unwrap();
        let values: Vec<ByteArray> = texts.iter().map(|text| ByteArray::from(*text)).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&vec![2000 + index as i64; texts.len()], None, None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.close().unwrap();
    bytes
}

#[test]
fn parquet_whole_and_damaged() {
    let bytes = table(&["one", "two", "three", "four", "five"]);
    let folder =
        folder_of(&[("a.parquet", &bytes), ("b.parquet", &bytes[..bytes.len() - 9]), ("c.jsonl", &lines(&["c"]))]);
    let found = read(folder.path(), "");
    assert_eq!(found.texts, ["one", "two", "three", "four", "five", "c"]);
    assert_eq!(found.outcome.summary.faults, 1);
    assert!(found.problems()[0].starts_with("b.parquet"), "{:?}", found.problems());
    let read_back = documents(&folder.path().join("out/documents"));
    assert_eq!((&read_back[4]["metadata"]["year"], &read_back[4]["id"]), (&2002.into(), &"a.parquet#4".into()));
    let out = folder.path().join("none");
    let error = run(&source(folder.path(), "text-field = 'no'"), &out).unwrap_err();
    assert!(matches!(error, CorpusError::NothingRead { files: 3, faults: 3, .. }), "{error}");
    let faults = fs::read_to_string(out.join("faults.jsonl")).unwrap();
    assert!(faults.contains("it has no column `no` of strings"), "{faults}");
}

#[test]
fn a_page_of_a_table_that_takes_too_much_memory_is_left_out() {
    let (most, more) = ("x".repeat(260_000), "y".repeat(700_000));
    let folder = folder_of(&[("a.parquet", &table(&["one", "two", &most, "four", &more, "six"]))]);
    let found = read(folder.path(), "");
    assert_eq!(found.texts, ["one", "two", "four"], "a text that is too long costs itself, a page its row group");
    let problems = found.problems();
    assert!(problems[0].ends_with("a document of 253.9 KiB, but at most 64.0 KiB are read"), "{problems:?}");
    assert!(
        problems[1].contains("row group 2") && problems[1].contains("a page of column \"text\" takes"),
        "{problems:?}"
    );
}

#[test]
fn a_page_that_is_larger_than_its_header_says_is_left_out() {
    let large = "x".repeat(700_000);
    for packing in [Packing::GZIP(Default::default()), Packing::BROTLI(Default::default())] {
        let mut bytes = table_packed(&["one", "two", &large], packing);
        // The size of the page of one text and its length, as the header has it (field 2, a number of three bytes): now 1,000.
        let size = 2 * (700_000 + 4);
        let said = [0x15, size as u8 | 128, (size >> 7) as u8 | 128, (size >> 14) as u8];
        let at = bytes.windows(4).position(|window| window == said).unwrap();
        bytes[at..at + 4].copy_from_slice(&[0x15, 0xd0, 0x8f, 0]);
        let folder = folder_of(&[("a.parquet", &bytes)]);
        let found = read(folder.path(), "");
        assert_eq!(found.texts, ["one", "two"]);
        let problems = found.problems();
        assert!(
            problems[0].ends_with("a page of column \"text\" takes more than 512.0 KiB, the most that is read"),
            "{problems:?}"
        );
    }
}

#[test]
fn every_fault_is_named_in_a_file_that_the_report_links() {
    let texts = "no JSON\n".repeat(3000) + "{\"text\": \"a\"}\n" + &"{}\n".repeat(500);
    let folder = folder_of(&[("a.jsonl", texts.as_bytes()), ("b.jsonl", b"[]\n{\"text\": \"b\"}")]);
    let out = folder.path().join("out");
    let settings = source(folder.path(), "[[stage]]\nkind = 'exact-duplicates'\n");
    let outcome = run(&format!("shard-bytes = 4096\n{settings}"), &out).unwrap();
    assert_eq!((outcome.summary.faults, outcome.summary.named_faults.len()), (3501, 100));
    let faults = fs::read_to_string(out.join("faults.jsonl")).unwrap();
    let faults: Vec<corpus::Fault> = faults.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(faults.len(), 3501);
    assert_eq!(faults[..100], outcome.summary.named_faults);
    assert!(faults[..3500].is_sorted_by_key(|fault| fault.offset) && faults[3500].file.ends_with("b.jsonl"));
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("<a href=\"faults.jsonl\">") && page.contains("The first 100:"));
}

/// Mutated files of every format: reading always comes to its end.
#[test]
fn damaged_files_of_every_format_are_read_to_their_end() {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&lines(&["alpha beta", "gamma delta"])).unwrap();
    let seeds: [(&str, Vec<u8>); 7] = [
        ("a.parquet", table(&["one", "two", "three"])),
        ("a.jsonl.gz", packed.finish().unwrap()),
        ("a.jsonl.zst", zstd::bulk::compress(&lines(&["alpha beta", "gamma"]), 3).unwrap()),
        ("a.warc", record("conversion", "", b"some words")),
        ("a.csv", b"id,text\n1,\"a\"\n2,b\n".to_vec()),
        ("a.html", b"<title>t</title><p>a <b>b</b> &amp; <a href='x'>c</a><pre>d</pre>".to_vec()),
        ("a.txt", b"caf\xe9\nna\xc3\xafve".to_vec()),
    ];
    let mut stream = Stream::new(Key::from_seed(3));
    let (mut read_ones, mut faults) = (0, 0);
    for (name, seed) in seeds {
        let folder = folder_of(&[(name, &seed)]);
        let path = folder.path().join("in").join(name);
        let source = recipe(&source(folder.path(), "")).sources.remove(0);
        for _ in 0..300 {
            let mut bytes = seed.clone();
            for _ in 0..1 + stream.below(4) {
                let at = stream.below(bytes.len() as u64) as usize;
                match stream.below(3) {
                    0 => bytes[at] = stream.below(256) as u8,
                    1 => bytes[at] ^= 1 << stream.below(8),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            fs::write(&path, &bytes).unwrap();
            for file in find(&source).unwrap() {
                for part in parts(&file, source.split, 16) {
                    let mut sink = |item| {
                        match item {
                            Item::Document(_) => read_ones += 1,
                            Item::Fault(_) => faults += 1,
                        }
                        Ok(())
                    };
                    tsumugi_data::source::read(&source, &file, part, 4096, &mut sink).unwrap();
                }
            }
        }
    }
    assert!(read_ones > 500 && faults > 500, "{read_ones} documents, {faults} faults");
}

#[test]
fn a_byte_order_mark_is_no_text_and_deep_fields_cost_their_line() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let line = |levels| format!("{{\"text\": \"{levels} deep\", \"x\": {}}}\n", deep(levels));
    let marked = format!("\u{feff}{{\"text\": \"first\"}}\n{}{}", line(100), line(126));
    let folder = folder_of(&[("a.jsonl", marked.as_bytes())]);
    // A stage with a barrier: what it reads again was written in between.
    let found = read(folder.path(), "[[stage]]\nkind = 'exact-duplicates'\n");
    assert_eq!(found.texts, ["first", "100 deep"]);
    let problems = found.problems();
    assert!(problems.len() == 1 && problems[0].contains("nested more than 100 deep"), "{problems:?}");
}
