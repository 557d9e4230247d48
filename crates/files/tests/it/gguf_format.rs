//! The GGUF reader and writer: a file of the format's own package comes in with every value and goes out with the same
//! bytes, and each wrong file has its own sentence.

use std::path::Path;

use tsumugi_base::Hint;
use tsumugi_base::testing::{asset, temporary_folder};
use tsumugi_files::gguf::{Array, Header, Metadata, Value, parse_header, write_gguf_with};
use tsumugi_files::{ElementType, FilesError, ModelFiles, TensorSpec, TensorView, narrow_f32_into, to_f32, write_gguf};

use crate::support::{admit, view, write};

/// Written by the package `gguf` 0.19.0: `tools/goldens/make_gguf_goldens.py`.
pub const REFERENCE: &[u8] = include_bytes!("../../fixtures/reference.gguf");

fn parse(bytes: &[u8]) -> Header {
    parse_header(bytes, Path::new("m.gguf")).unwrap()
}

fn views<'a>(header: &'a Header, bytes: &'a [u8]) -> Vec<TensorView<'a>> {
    let of = |entry: &'a tsumugi_files::TensorEntry| {
        view(&entry.name, entry.element_type, &entry.shape, &bytes[entry.bytes.clone()])
    };
    header.tensors.iter().map(of).collect()
}

/// What our writer makes of metadata and tensors.
pub fn written(metadata: &Metadata, tensors: &[TensorView<'_>]) -> Vec<u8> {
    let folder = temporary_folder();
    let path = folder.path().join("m.gguf");
    write_gguf(&path, metadata, tensors).unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn every_value_of_the_reference_file_is_read() {
    let header = parse(REFERENCE);
    let strings = |texts: &[&str]| Value::Array(Array::String(texts.iter().map(|&text| text.into()).collect()));
    let expected = [
        ("general.architecture", Value::String("llama".into())),
        ("kinds.u8", Value::U8(255)),
        ("kinds.i8", Value::I8(-128)),
        ("kinds.u16", Value::U16(65_535)),
        ("kinds.i16", Value::I16(-32_768)),
        ("kinds.u32", Value::U32(u32::MAX)),
        ("kinds.i32", Value::I32(i32::MIN)),
        ("kinds.f32", Value::F32(1.5)),
        ("kinds.bool", Value::Bool(true)),
        ("kinds.string", Value::String("紡ぎ \u{1f9f6}".into())),
        ("kinds.u64", Value::U64(u64::MAX)),
        ("kinds.i64", Value::I64(i64::MIN)),
        ("kinds.f64", Value::F64(0.1)),
        ("tokenizer.ggml.tokens", strings(&["<s>", "</s>", "", "▁the", "<0xE2>"])),
        ("tokenizer.ggml.scores", Value::Array(Array::F32(vec![0.0, -1.0, -2.5]))),
        ("tokenizer.ggml.token_type", Value::Array(Array::I32(vec![3, 3, 1, 1, 6]))),
        ("nested.flags", Value::Array(Array::Array(vec![Array::Bool(vec![true, false]), Array::Bool(vec![true])]))),
        (
            "nested.ragged",
            Value::Array(Array::Array(vec![
                Array::Array(vec![Array::I32(vec![1, 2])]),
                Array::Array(vec![Array::I32(vec![3]), Array::I32(vec![4, 5, 6])]),
            ])),
        ),
    ];
    assert_eq!(header.version, 3);
    for ((found_key, found), (key, value)) in header.metadata.iter().zip(&expected) {
        assert_eq!((found_key, found), (*key, value));
    }
    assert_eq!(header.metadata.len(), expected.len());
    let tensors: Vec<_> =
        header.tensors.iter().map(|entry| (entry.name.as_str(), entry.element_type, &entry.shape[..])).collect();
    let expected: [(&str, ElementType, &[usize]); 6] = [
        ("token_embd.weight", ElementType::F32, &[2, 32]),
        ("blk.0.attn_norm.weight", ElementType::F32, &[5]),
        ("blk.0.attn_q.weight", ElementType::Q4_0, &[4, 64]),
        ("blk.0.ffn_up.weight", ElementType::Q4_K, &[2, 256]),
        ("blk.0.ffn_gate.weight", ElementType::F16, &[3, 32]),
        ("output.weight", ElementType::BF16, &[2, 32]),
    ];
    assert_eq!(tensors, expected);
}

#[test]
fn the_reference_file_is_written_with_the_same_bytes() {
    let header = parse(REFERENCE);
    assert_eq!(written(&header.metadata, &views(&header, REFERENCE)), REFERENCE);
}

#[test]
fn an_array_of_every_kind_comes_back() {
    let arrays = [
        Array::U8(vec![0, 255]),
        Array::I8(vec![-128, 127]),
        Array::U16(vec![0, 65_535]),
        Array::I16(vec![i16::MIN, i16::MAX]),
        Array::U32(vec![u32::MAX]),
        Array::I32(vec![i32::MIN]),
        Array::F32(vec![-0.5, f32::INFINITY]),
        Array::Bool(vec![true, false]),
        Array::String(vec!["".into(), "ü".into()]),
        Array::Array(vec![]),
        Array::U64(vec![u64::MAX]),
        Array::I64(vec![i64::MIN]),
        Array::F64(vec![0.1]),
        Array::U8(vec![]),
    ];
    let mut metadata = Metadata::default();
    for (number, array) in arrays.iter().enumerate() {
        metadata.insert(format!("array.{number}"), Value::Array(array.clone()));
    }
    metadata.insert("array.mixed", Value::Array(Array::Array(arrays.to_vec())));
    let bytes = written(&metadata, &[]);
    assert_eq!(parse(&bytes).metadata, metadata);
    let mut version_2 = bytes;
    version_2[4] = 2;
    assert_eq!((parse(&version_2).version, parse(&version_2).metadata), (2, metadata));
}

#[test]
fn a_model_is_admitted_mapped_and_widened() {
    let folder = temporary_folder();
    let path = write(folder.path(), "m.gguf", REFERENCE);
    let model = admit(&path).unwrap();
    assert_eq!(model.path(), path);
    assert_eq!(model.gguf().unwrap().get("general.architecture").and_then(Value::as_str), Some("llama"));
    let tensors = model.tensors().unwrap();
    assert_eq!((tensors.len(), model.text("config.json").unwrap()), (6, None));
    assert_eq!(tensors.summary()[&ElementType::Q4_0], (1, 4 * 2 * 18));
    let query = tensors.get("blk.0.attn_q.weight").unwrap();
    assert_eq!(&*tensors.mapped(query.name).unwrap(), query.bytes);
    let values = to_f32(&query).unwrap();
    let mut again = Vec::new();
    narrow_f32_into(&values, ElementType::Q4_0, &mut again).unwrap();
    let mut values_again = Vec::new();
    let view = TensorView { bytes: &again, ..query };
    values_again.extend(to_f32(&view).unwrap());
    assert_eq!(values, values_again);
}

#[test]
fn tensors_begin_at_the_alignment_that_the_metadata_says() {
    let data = [7u8; 12];
    let tensors = [view("a", ElementType::F32, &[3], &data), view("b", ElementType::U8, &[0], &[])];
    for alignment in [1u32, 8, 64, 4096] {
        let mut metadata = Metadata::default();
        metadata.insert("general.alignment", Value::U32(alignment));
        let tensors = [tensors[0], view("b", ElementType::I8, &[0], &[]), view("c", ElementType::F32, &[3], &data)];
        let bytes = written(&metadata, &tensors);
        let header = parse(&bytes);
        assert_eq!(views(&header, &bytes), tensors);
        assert!(header.tensors.iter().all(|entry| entry.bytes.start.is_multiple_of(alignment as usize)));
        assert!(bytes.len().is_multiple_of(alignment as usize));
    }
    let folder = temporary_folder();
    let path = folder.path().join("m.gguf");
    for wrong in [Value::U32(0), Value::U32(24), Value::U64(32), Value::String("32".into())] {
        let mut metadata = Metadata::default();
        metadata.insert("general.alignment", wrong);
        let text = write_gguf(&path, &metadata, &tensors[..1]).unwrap_err().to_string();
        assert!(
            text.contains("metadata `general.alignment` cannot be written: the alignment must be a power"),
            "{text}"
        );
    }
}

#[test]
fn a_model_in_parts_is_opened_by_any_part() {
    let folder = temporary_folder();
    let part = |number: u16, tensor: &str| {
        let mut metadata = Metadata::default();
        metadata.insert("part", Value::String(format!("{number}")));
        metadata.insert("split.no", Value::U16(number));
        metadata.insert("split.count", Value::U16(2));
        let path = folder.path().join(format!("m-{:05}-of-00002.gguf", number + 1));
        write_gguf(&path, &metadata, &[view(tensor, ElementType::I8, &[2], &[number as u8; 2])]).unwrap();
        path
    };
    let paths = [part(0, "a"), part(1, "b")];
    for path in &paths {
        let model = admit(path).unwrap();
        assert_eq!(model.gguf().unwrap().get("part").and_then(Value::as_str), Some("0"));
        let tensors = model.tensors().unwrap();
        assert_eq!(tensors.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(tensors.get("b").unwrap().bytes, [1, 1]);
        assert_eq!(tensors.file_of("b"), Some(&*paths[1]));
    }

    let alone = folder.path().join("alone.gguf");
    std::fs::copy(&paths[1], &alone).unwrap();
    let text = admit(&alone).unwrap_err().to_string();
    assert!(text.ends_with("it says that it is part 2 of 2, but by its name it is part 1 of 1"), "{text}");
    part(1, "a");
    let error = admit(&paths[0]).unwrap_err();
    assert!(error.to_string().starts_with("tensor `a` is in ") && error.hint().is_some(), "{error}");
    std::fs::remove_file(&paths[1]).unwrap();
    let text = admit(&paths[0]).unwrap_err().to_string();
    assert!(text.contains("m-00002-of-00002.gguf"), "{text}");
    std::fs::remove_file(&alone).unwrap();
    assert!(admit(folder.path()).is_err());
}

#[test]
fn a_folder_that_holds_one_gguf_model_is_that_model() {
    let folder = temporary_folder();
    for part in ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"] {
        let mut metadata = Metadata::default();
        metadata.insert("split.no", Value::U16(u16::from(part.contains("00002-of"))));
        metadata.insert("split.count", Value::U16(2));
        write_gguf(&folder.path().join(part), &metadata, &[view(part, ElementType::I8, &[2], &[1; 2])]).unwrap();
    }
    write(folder.path(), "config.json", "{}");
    let model = admit(folder.path()).unwrap();
    assert_eq!((model.path(), model.tensors().unwrap().len()), (folder.path(), 2));
    assert!(model.gguf().is_some());

    write(folder.path(), "other.gguf", REFERENCE);
    let error = admit(folder.path()).unwrap_err();
    let files = "m-00001-of-00002.gguf, other.gguf";
    assert_eq!(error.to_string(), format!("{} holds several models: {files}", folder.path().display()));
    assert!(error.hint().unwrap().ends_with("m-00001-of-00002.gguf"));

    write(folder.path(), "model.safetensors", crate::support::raw_file("{}", &[]));
    let model = admit(folder.path()).unwrap();
    assert_eq!((model.gguf(), model.tensors().unwrap().len()), (None, 0), "other weights come first");
}

#[test]
fn a_gate_sees_the_file_and_may_refuse_it() {
    struct No;
    impl tsumugi_files::Gate for No {
        fn check(&self, folder: &tsumugi_files::OpenFolder) -> Result<(), tsumugi_files::Refusal> {
            let names: Vec<&str> = folder.files().map(|(name, _)| name).collect();
            assert_eq!(names, ["m.gguf"]);
            let reason = "it is a test".into();
            Err(tsumugi_files::Refusal { path: folder.path().to_owned(), reason, next_step: None })
        }
    }
    let folder = temporary_folder();
    write(folder.path(), "other.gguf", REFERENCE);
    let path = write(folder.path(), "m.gguf", b"not even looked at");
    assert!(matches!(ModelFiles::admit(&path, &No), Err(FilesError::Refused(_))));
}

/// A GGUF file by hand: version 3, one metadata entry, one row of the table, data.
struct ByHand {
    key: Vec<u8>,
    value: Vec<u8>,
    name: Vec<u8>,
    rank: u32,
    axes: Vec<u64>,
    element_type: u32,
    begin: u64,
    data: Vec<u8>,
}

impl Default for ByHand {
    fn default() -> Self {
        let value = [vec![4, 0, 0, 0], vec![1, 0, 0, 0]].concat();
        let (key, name) = (b"k".to_vec(), b"t".to_vec());
        Self { key, value, name, rank: 1, axes: vec![2], element_type: 0, begin: 0, data: vec![0; 8] }
    }
}

impl ByHand {
    fn text(text: &[u8]) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes()[..], text].concat()
    }

    fn entry(&self) -> Vec<u8> {
        [Self::text(&self.key), self.value.clone()].concat()
    }

    fn row(&self) -> Vec<u8> {
        let axes = self.axes.iter().flat_map(|axis| axis.to_le_bytes()).collect();
        let (rank, number) = (self.rank.to_le_bytes().to_vec(), self.element_type.to_le_bytes().to_vec());
        [Self::text(&self.name), rank, axes, number, self.begin.to_le_bytes().to_vec()].concat()
    }

    fn file(entries: &[Vec<u8>], rows: &[Vec<u8>], data: &[u8]) -> Vec<u8> {
        let counts = [(rows.len() as u64).to_le_bytes(), (entries.len() as u64).to_le_bytes()].concat();
        let mut bytes = [b"GGUF\x03\0\0\0".to_vec(), counts, entries.concat(), rows.concat()].concat();
        if !rows.is_empty() {
            bytes.resize(bytes.len().next_multiple_of(32), 0);
        }
        bytes.extend(data);
        bytes
    }

    fn bytes(&self) -> Vec<u8> {
        Self::file(&[self.entry()], &[self.row()], &self.data)
    }
}

fn refusal(bytes: &[u8]) -> String {
    let error = parse_header(bytes, Path::new("m.gguf")).unwrap_err();
    assert!(error.hint().is_some(), "{error}");
    let text = error.to_string();
    text.strip_prefix("m.gguf: ").unwrap_or_else(|| panic!("no file name in `{text}`")).to_owned()
}

/// An array value of that kind and count, with what follows.
fn array(kind: u32, count: u64, rest: &[u8]) -> Vec<u8> {
    [&9u32.to_le_bytes()[..], &kind.to_le_bytes(), &count.to_le_bytes(), rest].concat()
}

#[test]
fn wrong_metadata_has_its_own_sentence() {
    assert_eq!(parse(&ByHand::default().bytes()).metadata.get("k"), Some(&Value::U32(1)));
    let of = |value: Vec<u8>| {
        let text = refusal(&ByHand::file(&[ByHand { value, ..Default::default() }.entry()], &[], &[]));
        text.strip_prefix("metadata `k` at byte 33: ").unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    assert_eq!(of(vec![13, 0, 0, 0]), "a value has the unknown kind 13; kinds are 0 to 12");
    assert_eq!(of(vec![7, 0, 0, 0, 2]), "a truth value is 2; it must be 0 or 1");
    assert_eq!(of(vec![4, 0, 0, 0, 1]), "it needs 4 bytes, but the file has 1 more");
    let text = [&8u32.to_le_bytes()[..], &ByHand::text(b"\xff")].concat();
    assert_eq!(of(text), "it is not UTF-8 text");
    let endless = [&8u32.to_le_bytes()[..], &u64::MAX.to_le_bytes()].concat();
    assert_eq!(of(endless), "it needs 18446744073709551615 bytes, but the file has 0 more");
    assert_eq!(of(array(10, u64::MAX / 4, &[])), "it needs 18446744073709551615 bytes, but the file has 0 more");
    assert_eq!(of(array(8, 1 << 40, &[])), "it needs 8796093022208 bytes, but the file has 0 more");
    assert_eq!(of(array(7, 3, &[1, 0, 9])), "a truth value is 9; it must be 0 or 1");
    let deep = (0..9).fold(array(0, 0, &[])[4..].to_vec(), |inner, _| array(9, 1, &inner)[4..].to_vec());
    assert_eq!(of([&9u32.to_le_bytes()[..], &deep].concat()), "arrays are nested deeper than 8");

    let twice = [ByHand::default().entry(), ByHand::default().entry()];
    assert_eq!(refusal(&ByHand::file(&twice, &[], &[])), "metadata `k` at byte 41: the name is there twice");
    let nameless = ByHand { key: vec![], ..Default::default() };
    assert_eq!(refusal(&nameless.bytes()), "the key of metadata entry 0 at byte 24: its name is empty");
    let long = ByHand { key: vec![b'k'; 65_536], ..Default::default() };
    assert_eq!(
        refusal(&long.bytes()),
        "the key of metadata entry 0 at byte 24: its name has 65536 bytes, at most 65535 are allowed"
    );
    let alignment = ByHand { key: b"general.alignment".to_vec(), ..Default::default() };
    assert!(parse_header(&alignment.bytes(), Path::new("m")).is_ok(), "1 is a power of two");
    let alignment = ByHand { value: vec![4, 0, 0, 0, 24, 0, 0, 0], ..alignment };
    assert_eq!(
        refusal(&alignment.bytes()),
        "metadata `general.alignment` at byte 49: the alignment must be a power of two, as a 32-bit unsigned number"
    );
}

#[test]
fn wrong_tensors_have_their_own_sentence() {
    let of = |tensor: ByHand| {
        let text = refusal(&tensor.bytes());
        text.strip_prefix("tensor `t` at byte 41: ").unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    let good = ByHand::default;
    assert_eq!(of(ByHand { rank: 5, ..good() }), "it has 5 axes, at most 4 are allowed");
    assert_eq!(of(ByHand { element_type: 4, ..good() }), "it has the unknown element type 4");
    assert_eq!(
        of(ByHand { element_type: 2, ..good() }),
        "type Q4_0 and shape [2] are no whole, countable number of blocks of 32 elements"
    );
    assert_eq!(
        of(ByHand { rank: 2, axes: vec![1 << 40, 1 << 40], ..good() }),
        "type F32 and shape [1099511627776, 1099511627776] are no whole, countable number of blocks of 1 elements"
    );
    assert_eq!(
        of(ByHand { begin: 4, ..good() }),
        "it begins at byte 4 of the data, which is no multiple of the alignment 32"
    );
    assert_eq!(
        of(ByHand { axes: vec![3], ..good() }),
        "it covers 12 bytes from byte 0 of the data, but the file has 8"
    );
    assert_eq!(
        of(ByHand { begin: u64::MAX - 31, ..good() }),
        "it covers 8 bytes from byte 18446744073709551584 of the data, but the file has 8"
    );
    let (first, second) = (good().row(), ByHand { name: b"u".to_vec(), ..good() }.row());
    let text = refusal(&ByHand::file(&[], &[first.clone(), second], &[0; 8]));
    assert_eq!(text, "tensors `t` and `u` overlap: one ends at byte 104, the other begins at 96");
    let text = refusal(&ByHand::file(&[], &[first.clone(), first.clone()], &[0; 8]));
    assert_eq!(text, "tensor `t` at byte 57: the name is there twice");
    let mut cut = ByHand::file(&[], &[first], &[]);
    cut.truncate(60);
    assert_eq!(refusal(&cut), "the data at byte 57: it needs 4 bytes, but the file has 0 more");
}

#[test]
fn files_that_are_no_gguf_say_what_they_are() {
    assert_eq!(refusal(b""), "it does not begin with `GGUF`, so it is no GGUF file");
    assert_eq!(refusal(b"GGUF"), "the version at byte 4: it needs 4 bytes, but the file has 0 more");
    assert_eq!(refusal(b"GGUF\x01\0\0\0"), "it is a GGUF file of version 1; versions 2 and 3 are read");
    assert_eq!(refusal(b"GGUF\x04\0\0\0"), "it is a GGUF file of version 4; versions 2 and 3 are read");
    assert_eq!(refusal(b"GGUF\0\0\0\x03"), "it is a big-endian GGUF file; only little-endian ones are read");
    assert_eq!(
        refusal(b"GGUF\x03\0\0\0"),
        "the number of tensors at byte 8: it needs 8 bytes, but the file has 0 more"
    );
    let counts =
        |tensors: u64, entries: u64| [b"GGUF\x03\0\0\0", &tensors.to_le_bytes()[..], &entries.to_le_bytes()].concat();
    assert_eq!(refusal(&counts(1 << 40, 0)), "it has 1099511627776 tensors, and at most 4000000 are read");
    assert_eq!(refusal(&counts(0, 1 << 40)), "it has 1099511627776 metadata entries, and at most 65536 are read");
    let hint = |bytes: &[u8]| parse_header(bytes, Path::new("m")).unwrap_err().hint().unwrap();
    assert!(hint(b"PK\x03\x04").contains("PyTorch"));
    assert!(hint(b"version https://git-lfs.github.com/spec/v1").contains("Git LFS"));
    assert!(hint(b"\x40\0\0\0\0\0\0\0{\"a\":{}}").contains("safetensors"));
}

#[test]
fn what_cannot_be_written_is_told_and_leaves_nothing() {
    let folder = temporary_folder();
    let path = folder.path().join("x.gguf");
    let data = [0u8; 8];
    let none = Metadata::default();
    let told = |metadata: &Metadata, tensors: &[TensorView<'_>]| {
        let text = write_gguf(&path, metadata, tensors).unwrap_err().to_string();
        text.strip_prefix(&format!("{}: ", path.display())).unwrap().to_owned()
    };
    let good = view("a", ElementType::F32, &[2], &data);
    assert_eq!(told(&none, &[good, good]), "tensor `a` cannot be written: the name is there twice");
    assert_eq!(
        told(&none, &[view("a", ElementType::F32, &[3], &data)]),
        "tensor `a` cannot be written: type F32 and shape [3] need 12 bytes, but 8 are given"
    );
    assert_eq!(
        told(&none, &[view("a", ElementType::U8, &[8], &data)]),
        "tensor `a` cannot be written: it has the unknown element type U8"
    );
    assert_eq!(
        told(&none, &[view("a", ElementType::F32, &[1, 1, 1, 1, 2], &data)]),
        "tensor `a` cannot be written: it has 5 axes, at most 4 are allowed"
    );
    let long = "n".repeat(64);
    let text = told(&none, &[view(&long, ElementType::F32, &[2], &data)]);
    assert!(text.ends_with("its name has 64 bytes, at most 63 are allowed"), "{text}");
    let mut nameless = Metadata::default();
    nameless.insert("", Value::U8(1));
    assert_eq!(told(&nameless, &[]), "metadata `` cannot be written: its name is empty");
    let deep = (0..8).fold(Array::U8(vec![]), |inner, _| Array::Array(vec![inner]));
    let mut metadata = Metadata::default();
    metadata.insert("deep", Value::Array(deep));
    assert_eq!(told(&metadata, &[]), "metadata `deep` cannot be written: arrays are nested deeper than 8");
    let spec = TensorSpec { name: "a", element_type: ElementType::F32, shape: &[2] };
    let error = write_gguf_with(&path, &none, &[spec], |_, sink| sink.write_all(&[0; 9])).unwrap_err();
    assert!(error.to_string().ends_with("need 8 bytes, but 9 are given"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn published_vocabularies_are_read_and_written_with_the_same_bytes() {
    for (name, tokens) in [("bert-bge", 30_522), ("gpt-2", 50_257), ("llama-spm", 32_000)] {
        let Some(path) = asset(&format!("gguf-vocab/ggml-vocab-{name}.gguf")) else { return };
        let model = admit(&path).unwrap();
        let Some(Value::Array(Array::String(found))) = model.gguf().unwrap().get("tokenizer.ggml.tokens") else {
            panic!("{name} has no tokens");
        };
        assert_eq!((found.len(), model.tensors().unwrap().len()), (tokens, 0), "{name}");
        assert_eq!(written(model.gguf().unwrap(), &[]), std::fs::read(path).unwrap(), "{name}");
    }
}

/// SmolLM2-135M-Instruct (Apache-2.0), which `cargo xtask assets` fetches. The numbers are those of
/// the `gguf` package.
#[test]
fn a_published_checkpoint_widens_to_the_numbers_of_the_reference() {
    let Some(path) = asset("models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let model = admit(&path).unwrap();
    let tensors = model.tensors().unwrap();
    let check = |name: &str, element_type, shape: &[usize], first: [f32; 4], sum: f64, largest: f32| {
        let tensor = tensors.get(name).unwrap();
        assert_eq!((tensor.element_type, tensor.shape), (element_type, shape), "{name}");
        let values = to_f32(&tensor).unwrap();
        assert!(values.iter().zip(first).all(|(value, first)| (value - first).abs() < 1e-6), "{name}");
        let found: f64 = values.iter().copied().map(f64::from).sum();
        assert!((found - sum).abs() < 1e-4, "{name}: {found}");
        let found = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        assert!((found - largest).abs() < 1e-6, "{name}: {found}");
    };
    let first = [-0.330811, 0.346069, 0.075317, -0.466187];
    check("blk.0.ffn_down.weight", ElementType::Q4_1, &[576, 1536], first, 150.63577, 2.875);
    let first = [-0.106544, 0.032978, 0.048199, -0.022831];
    check("token_embd.weight", ElementType::Q8_0, &[49_152, 576], first, -15353.04449, 1.961121);
    let bytes = std::fs::read(&path).unwrap();
    let header = parse(&bytes);
    assert!(written(&header.metadata, &views(&header, &bytes)) == bytes, "not written with the same bytes");
}
