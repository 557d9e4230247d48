//! The safetensors reader and writer: the format's own reader is the judge, and each wrong file has its own sentence.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::SafeTensors;
use tsumugi_base::Hint;
use tsumugi_base::testing::temporary_folder;
use tsumugi_files::safetensors::parse_header;
use tsumugi_files::{ElementType, FilesError, TensorSpec, read_f32_into, to_f32, write_safetensors};

use crate::support::{admit, no_metadata, raw_file, view, write};

#[test]
fn what_we_write_the_formats_own_reader_reads() {
    let folder = temporary_folder();
    let path = folder.path().join("model.safetensors");
    let (a, b, c) = ([1u8, 2, 3], [0u8; 24], [0x80u8, 0x3f]);
    let tensors = [
        view("a.bytes", ElementType::U8, &[3], &a),
        view("b.numbers", ElementType::F32, &[2, 3], &b),
        view("c.one \"quoted\" ü", ElementType::BF16, &[], &c),
        view("d.none", ElementType::F32, &[0, 7], &[]),
    ];
    let metadata = BTreeMap::from([("recipe".to_owned(), "tiny".to_owned())]);
    write_safetensors(&path, &tensors, &metadata).unwrap();

    let bytes = std::fs::read(&path).unwrap();
    let judge = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(judge.len(), 4);
    for tensor in &tensors {
        let found = judge.tensor(tensor.name).unwrap();
        assert_eq!((found.dtype().to_string().as_str(), found.shape()), (tensor.element_type.name(), tensor.shape));
        assert_eq!(found.data(), tensor.bytes);
    }
    let (header_bytes, about) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header_bytes % 8, 0);
    let words = about.metadata().clone().unwrap();
    assert_eq!(words.len(), 2);
    assert_eq!((words["format"].as_str(), words["recipe"].as_str()), ("pt", "tiny"));

    let model = admit(folder.path()).unwrap();
    let read = model.tensors().unwrap();
    assert_eq!(read.names().collect::<Vec<_>>(), ["a.bytes", "b.numbers", "c.one \"quoted\" ü", "d.none"]);
    for tensor in &tensors {
        assert_eq!(read.get(tensor.name), Some(*tensor));
        assert_eq!(&*read.mapped(tensor.name).unwrap(), tensor.bytes);
    }
    assert_eq!(read.metadata()["format"], "pt");
    assert_eq!(read.summary()[&ElementType::F32], (2, 24));
    assert_eq!(to_f32(&read.get("c.one \"quoted\" ü").unwrap()).unwrap(), [1.0]);
}

#[test]
fn the_order_of_the_tensors_does_not_matter() {
    let folder = temporary_folder();
    let data = [0u8; 8];
    let mut tensors = vec![
        view("b", ElementType::F32, &[2], &data),
        view("a", ElementType::F32, &[2], &data),
        view("c", ElementType::F64, &[1], &data),
    ];
    let path = folder.path().join("x.safetensors");
    write_safetensors(&path, &tensors, &no_metadata()).unwrap();
    let first = std::fs::read(&path).unwrap();
    tensors.reverse();
    write_safetensors(&path, &tensors, &no_metadata()).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), first);
}

#[test]
fn every_element_type_has_the_formats_name_and_bits() {
    for element_type in ElementType::all().filter(|element_type| !element_type.is_quantized()) {
        let data_bytes = element_type.tensor_bytes(&[8]).unwrap();
        let header = format!(r#"{{"t":{{"dtype":"{element_type}","shape":[8],"data_offsets":[0,{data_bytes}]}}}}"#);
        let bytes = raw_file(&header, &vec![0; data_bytes as usize]);
        SafeTensors::deserialize(&bytes).unwrap_or_else(|error| panic!("{element_type}: {error}"));
        assert_eq!(parse_header(&bytes, Path::new("t")).unwrap().tensors[0].element_type, element_type);
    }
}

/// One tensor entry of a header.
fn entry(name: &str, dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#)
}

fn refusal(bytes: &[u8]) -> (String, Option<String>) {
    let error = parse_header(bytes, Path::new("m.safetensors")).unwrap_err();
    let text = error.to_string();
    let text = text.strip_prefix("m.safetensors: ").unwrap_or_else(|| panic!("no file name in `{text}`"));
    (text.to_owned(), error.hint())
}

#[test]
fn each_wrong_file_has_its_own_sentence() {
    let of = |entries: &[String], data_bytes: usize| {
        refusal(&raw_file(&format!("{{{}}}", entries.join(",")), &vec![0; data_bytes])).0
    };
    let good = entry("a", "F32", "[2]", "[0,8]");
    let cases = [
        (
            of(std::slice::from_ref(&good), 12),
            "bytes 8 to 12 of the data belong to no tensor; the format allows no holes",
        ),
        (
            of(std::slice::from_ref(&good), 7),
            "tensor `a` covers bytes 0 to 8 of the data, but the file has 7 (header, at byte 9 of the file)",
        ),
        (of(&[good.clone(), good.clone()], 8), "the header names tensor `a` twice (header, at byte 62 of the file)"),
        (
            of(&[entry("a", "F33", "[2]", "[0,8]")], 8),
            "tensor `a` has the unknown type `F33` (header, at byte 9 of the file)",
        ),
        (
            of(&[entry("a", "F32", "[3]", "[0,8]")], 8),
            "tensor `a` of type F32 and shape [3] needs 12 bytes, but 8 are given (header, at byte 9 of the file)",
        ),
        (
            of(&[entry("a", "F32", "[2]", "[8,0]")], 8),
            "tensor `a` covers bytes 8 to 0, which is backwards (header, at byte 9 of the file)",
        ),
        (
            of(&[good.clone(), entry("b", "F32", "[2]", "[4,12]")], 12),
            "tensors `a` and `b` overlap: one ends at byte 8, the other begins at 4 (header, at byte 62 of the file)",
        ),
        (
            of(&[good.clone(), entry("b", "F32", "[2]", "[9,17]")], 17),
            "bytes 8 to 9 of the data belong to no tensor; the format allows no holes",
        ),
        (
            of(&[entry("a", "F32", "[4294967296,4294967296]", "[0,8]")], 8),
            "tensor `a` of type F32 and shape [4294967296, 4294967296] is no whole, countable number of bytes (header, at byte 9 of the file)",
        ),
        (
            of(&[entry("a", "F4", "[3]", "[0,2]")], 2),
            "tensor `a` of type F4 and shape [3] is no whole, countable number of bytes (header, at byte 9 of the file)",
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
    // A name within the metadata is no entry.
    let header = format!(r#"{{"__metadata__":{{"a":"b"}},{}}}"#, entry("a", "F33", "[2]", "[0,8]"));
    assert!(refusal(&raw_file(&header, &[0; 8])).0.ends_with("`F33` (header, at byte 34 of the file)"));
    let wrong_json = [
        ("[]", "invalid type: sequence, expected an object of tensors"),
        ("{\n \"a\":\n1}", "at line 3 column 1 (header, at byte 16 of the file)"),
        (r#"{"a":1}"#, "invalid type: integer `1`"),
        (r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,0]}}"#, "invalid value: integer `-1`, expected u64"),
        (r#"{"a":{"dtype":"F32","shape":[1]}}"#, "missing field `data_offsets`"),
        (r#"{"__metadata__":{},"__metadata__":{}}"#, "`__metadata__` stands there twice"),
        (r#"{"a""#, "EOF while parsing"),
    ];
    for (header, expected) in wrong_json {
        let (found, hint) = refusal(&raw_file(header, b""));
        assert!(found.starts_with("the header is not as the format wants it: ") && found.contains(expected), "{found}");
        assert!(hint.is_some());
    }
}

#[test]
fn files_that_are_no_safetensors_say_what_they_look_like() {
    assert_eq!(refusal(b"").0, "0 bytes are too few for a safetensors file, which begins with an 8-byte header length");
    let cut = &raw_file(&format!("{{{}}}", entry("a", "F32", "[2]", "[0,8]")), &[0; 8])[..20];
    assert_eq!(refusal(cut).0, "the header should have 54 bytes, but the file ends 12 bytes after its length");
    assert!(refusal(cut).1.is_some_and(|hint| hint.contains("cut short")));
    let lookalikes: [(&[u8], &str); 5] = [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS"),
        (b"<!DOCTYPE html><html>not found</html>", "web page"),
        (b"PK\x03\x04\x00\x00\x00\x00\x00\x00archive/data.pkl", "PyTorch"),
        (b"\x80\x02}q\x00(X\x05\x00\x00\x00", "PyTorch"),
        (b"GGUF\x03\x00\x00\x00\x01\x00", "GGUF"),
    ];
    for (bytes, word) in lookalikes {
        let (text, hint) = refusal(bytes);
        assert!(hint.as_deref().is_some_and(|hint| hint.contains(word)), "{text} -> {hint:?}");
    }
    let (text, _) = refusal(
        &raw_file("{\"\u{e9}\"", b"")[..].iter().map(|&b| if b == 0xc3 { 0xff } else { b }).collect::<Vec<_>>(),
    );
    assert_eq!(text, "the header is not UTF-8 text at byte 10 of the file");
}

#[test]
fn a_header_may_be_padded_empty_or_without_metadata() {
    assert!(parse_header(&raw_file("{}", b""), Path::new("x")).unwrap().tensors.is_empty());
    assert!(parse_header(&raw_file("{}      ", b""), Path::new("x")).unwrap().tensors.is_empty());
    assert!(parse_header(&raw_file(r#"{"__metadata__":null}"#, b""), Path::new("x")).unwrap().metadata.is_empty());
    let unaligned = format!("{{{}}} ", entry("a", "F32", "[1]", "[0,4]"));
    let header = parse_header(&raw_file(&unaligned, &[0; 4]), Path::new("x")).unwrap();
    assert_eq!(header.tensors[0].bytes, 8 + unaligned.len()..12 + unaligned.len());
}

#[test]
fn what_cannot_be_written_is_told_and_leaves_nothing() {
    let folder = temporary_folder();
    let path = folder.path().join("x.safetensors");
    let told = |tensors: &[tsumugi_files::TensorView<'_>]| {
        let text = write_safetensors(&path, tensors, &no_metadata()).unwrap_err().to_string();
        text.strip_prefix(&format!("{}: ", path.display())).unwrap().to_owned()
    };
    let data = [0u8; 8];
    let good = view("a", ElementType::F32, &[2], &data);
    assert_eq!(told(&[good, good]), "the header names tensor `a` twice");
    assert_eq!(
        told(&[view("a", ElementType::F32, &[3], &data)]),
        "tensor `a` of type F32 and shape [3] needs 12 bytes, but 8 are given"
    );
    assert_eq!(
        told(&[view("__metadata__", ElementType::F32, &[2], &data)]),
        "a tensor cannot be named `__metadata__` in a safetensors file"
    );
    let block = [0u8; 18];
    assert_eq!(told(&[view("a", ElementType::Q4_0, &[32], &block)]), "tensor `a` has the unknown type `Q4_0`");
    let spec = TensorSpec { name: "a", element_type: ElementType::F32, shape: &[2] };
    let error = tsumugi_files::safetensors::write_safetensors_with(&path, &[spec], &no_metadata(), |_, sink| {
        sink.write_all(&[0; 9])
    });
    assert!(error.unwrap_err().to_string().ends_with("needs 8 bytes, but 9 are given"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn numbers_are_widened_and_other_types_are_refused() {
    let one_and_a_half: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(to_f32(&view("a", ElementType::F32, &[2], &one_and_a_half)).unwrap(), [1.5, -2.0]);
    assert_eq!(to_f32(&view("a", ElementType::BF16, &[2], &[0xc0, 0x3f, 0x00, 0xc0])).unwrap(), [1.5, -2.0]);
    assert_eq!(to_f32(&view("a", ElementType::F16, &[2], &[0x00, 0x3e, 0x00, 0xc0])).unwrap(), [1.5, -2.0]);
    let told = |result: Result<_, FilesError>| result.map(|_: Vec<f32>| ()).unwrap_err().to_string();
    assert_eq!(
        told(to_f32(&view("a", ElementType::I8, &[2], &[1, 2]))),
        "tensor `a` is stored as I8, which is not read as floating-point numbers"
    );
    assert_eq!(
        told(to_f32(&view("a", ElementType::F32, &[2], &[0; 7]))),
        "tensor `a` of type F32 and shape [2] comes with 7 bytes"
    );
    let error = read_f32_into(&view("a", ElementType::F32, &[2], &one_and_a_half), &mut [0.0; 3]).unwrap_err();
    assert_eq!(error.to_string(), "tensor `a` has 2 elements, but there is room for 3");
}

#[test]
fn a_damaged_file_is_named_with_its_folder() {
    let folder = temporary_folder();
    let path = write(folder.path(), "model.safetensors", b"short");
    let error = admit(folder.path()).unwrap().tensors().unwrap_err();
    assert!(error.to_string().starts_with(&format!("{}: 5 bytes are too few", path.display())));
    assert!(error.hint().is_some());
}
