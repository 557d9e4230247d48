//! Checkpoints of PyTorch: `fixtures/torch/` was written by `tools/goldens/make_torch_goldens.py` with torch 2.15.0, and
//! `expected.safetensors` holds the same tensors in row-major order, by PyTorch's own `contiguous`.

use std::fs;
use std::path::Path;

use tsumugi_base::Hint;
use tsumugi_base::testing::{mutations, temporary_folder};
use tsumugi_files::mmap::MappedFile;
use tsumugi_files::pickle::{Limits, Machine};
use tsumugi_files::{ElementType, FilesError, TensorFile, TensorView, to_f32};

use crate::pickles::fixture;
use crate::support::{admit, write};

fn open(path: &Path) -> Result<TensorFile, FilesError> {
    TensorFile::torch(MappedFile::open(path).unwrap())
}

fn both_formats() -> impl Iterator<Item = String> {
    (2..=5).flat_map(|protocol| ["zip", "legacy"].map(|format| format!("torch/{format}-{protocol}.pt")))
}

fn refusal(path: &Path) -> String {
    let error = open(path).unwrap_err();
    assert!(error.hint().is_some(), "{error}");
    error.to_string().replace(&format!("{}: ", path.display()), "")
}

#[test]
fn every_tensor_is_what_pytorch_saved() {
    let expected = TensorFile::single(MappedFile::open(&fixture("torch/expected.safetensors")).unwrap()).unwrap();
    assert_eq!(expected.len(), 32);
    for name in both_formats() {
        let found = open(&fixture(&name)).unwrap();
        let expected_tensors: Vec<TensorView<'_>> = expected.iter().collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), expected_tensors, "{name}");
        assert_eq!(found.summary(), expected.summary(), "{name}");
        for tensor in found.iter() {
            assert_eq!(&*found.mapped(tensor.name).unwrap(), tensor.bytes, "{name}: {}", tensor.name);
        }
        // Tied weights and views of one storage are one place in the file.
        let place = |tensor: &str| found.entries().find(|entry| entry.name == tensor).unwrap().bytes.clone();
        assert_eq!(place("embed"), place("head"), "{name}");
        assert_eq!(place("whole"), place("transposed"), "{name}");
        assert_eq!(place("row"), place("whole").start + 48..place("whole").start + 72, "{name}");
        // The 24 numbers that eight views share count once; the tied 6 do, too.
        let single: u128 = found.iter().map(|tensor| tensor.element_count() as u128).sum();
        let repeated = (24 + 6 + 4 + 6 + 12 + 6 + 24) + 6;
        assert_eq!(found.distinct_elements(), single - repeated, "{name}");
    }
}

#[test]
fn weights_beside_other_things_and_old_dictionaries() {
    let wrapped = open(&fixture("torch/wrapped.pt")).unwrap();
    assert_eq!(wrapped.names().collect::<Vec<_>>(), ["bias", "weight"]);
    assert_eq!(to_f32(&wrapped.get("weight").unwrap()).unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let python2 = open(&fixture("torch/python2.pt")).unwrap();
    assert_eq!(to_f32(&python2.get("a").unwrap()).unwrap(), [1.0, 2.0]);
}

/// A legacy file without storages: the object's pickle is `object`.
fn legacy(object: &[u8]) -> Vec<u8> {
    let head = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.";
    [head, object, b"\x80\x02]."].concat()
}

#[test]
fn what_tensors_do_not_need_is_refused_with_its_name_and_place() {
    let told = |object: &[u8]| {
        let folder = temporary_folder();
        refusal(&write(folder.path(), "weights.pt", legacy(object)))
    };
    // The payloads only print, should anybody ever run them.
    let needless = "and tensors do not need that";
    assert_eq!(
        told(b"\x80\x02cbuiltins\nprint\nX\x02\0\0\0hi\x85R."),
        format!("its pickle asks for `builtins.print` at byte 27, {needless}")
    );
    assert_eq!(
        told(b"\x80\x02(X\x02\0\0\0hiibuiltins\nprint\n."),
        format!("its pickle asks for `builtins.print` at byte 35, {needless}")
    );
    assert_eq!(
        told(b"\x80\x04\x8c\x08builtins\x8c\x05print\x93\x8c\x02hi\x85R."),
        format!("its pickle asks for `builtins.print` at byte 44, {needless}")
    );
    assert_eq!(
        told(b"\x80\x04\x8c\x05torch\x8c\x10_utils.os.system\x93)R."),
        format!("its pickle asks for `torch._utils.os.system` at byte 52, {needless}")
    );
    assert_eq!(told(b"\x80\x02\x82\x07)R."), format!("its pickle asks for `extension(7)` at byte 27, {needless}"));
    assert_eq!(
        told(b"\x80\x02ctorch\nFloatStorage\n)R."),
        format!("its pickle calls `torch.FloatStorage()` at byte 48, {needless}")
    );
    assert_eq!(
        told(b"\x80\x02ctorch\nTensor\n}b."),
        format!("its pickle writes to `torch.Tensor` at byte 42, {needless}")
    );
    assert_eq!(
        told(b"\x80\x02ctorch._utils\n_rebuild_tensor\n)RX\x01\0\0\0aK\x01s."),
        format!("its pickle writes to `torch._utils._rebuild_tensor().set_items('a', 1)` at byte 67, {needless}")
    );
    assert_eq!(
        refusal(&fixture("torch/module.pt")),
        format!("its pickle asks for `torch.nn.modules.linear.Linear` at byte 66, {needless}")
    );
    // A payload behind an honest pickle.
    let mut bytes = fs::read(fixture("torch/python2.pt")).unwrap();
    bytes.extend(b"\x80\x02cbuiltins\nprint\n)R.");
    let folder = temporary_folder();
    assert!(refusal(&write(folder.path(), "a.pt", bytes)).starts_with("other bytes follow the pickle at byte "));
}

#[test]
fn files_that_are_wrong_in_other_ways() {
    let folder = temporary_folder();
    let told = |bytes: &[u8]| refusal(&write(folder.path(), "weights.pt", bytes));
    assert_eq!(told(b"hello"), "neither a zip archive nor a pickle, as `torch.save` writes them");
    assert_eq!(told(b""), "neither a zip archive nor a pickle, as `torch.save` writes them");
    assert!(told(b"\x80\x02K\x01.").ends_with("no magic number, at byte 0"));
    assert_eq!(told(&legacy(b"\x80\x02K\x01.")), "it holds `1`, which is no dictionary of tensors by name");
    assert_eq!(told(&legacy(b"\x80\x02N")), "the pickle is wrong at byte 28: PROTO stands in the middle of the pickle");
    assert!(told(&fs::read(fixture("zip/plain.zip")).unwrap()).starts_with("the archive holds 0 entries named"));
    let zip = fs::read(fixture("torch/zip-2.pt")).unwrap();
    assert!(told(&zip[..zip.len() - 1]).contains("at byte "));
    assert_eq!(told(&[&zip[..], b"x"].concat()), format!("1 bytes belong to no entry, at byte {}", zip.len()));
    let mut damaged = zip.clone();
    let name = damaged.windows(10).position(|window| window == b"transposed").unwrap();
    damaged[name] = b'T';
    assert_eq!(told(&damaged), "entry `zip-2/data.pkl` does not have its checksum");
    assert_eq!(refusal(&fixture("torch/big-endian.pt")), "it was written on a big-endian machine, which is not read");

    let legacy = fs::read(fixture("torch/legacy-2.pt")).unwrap();
    assert!(told(&legacy[..legacy.len() - 1]).contains("should have"), "{}", told(&legacy[..legacy.len() - 1]));
    // Strides that reach beyond the storage: `every other` has stride 2.
    let mut far = legacy.clone();
    let name = far.windows(11).position(|window| window == b"every other").unwrap();
    let stride = name + far[name..].windows(3).position(|window| window == b"K\x02\x85").unwrap();
    far[stride + 1] = 200;
    assert_eq!(
        told(&far),
        "tensor `every other` (offset 1, shape [12], strides [200]) reaches beyond its storage of 96 bytes"
    );
}

#[test]
fn a_view_that_repeats_elements_for_ever_is_refused() {
    let folder = temporary_folder();
    let mut bytes = fs::read(fixture("torch/python2.pt")).unwrap();
    // `K\x02\x85` is the shape (2,), `K\x01\x85` the strides (1,): 2^31 - 1 elements from one.
    let shape = bytes.windows(3).position(|window| window == b"K\x02\x85").unwrap();
    bytes.splice(shape..shape + 2, *b"J\xff\xff\xff\x7f");
    let strides = shape + bytes[shape..].windows(3).position(|window| window == b"K\x01\x85").unwrap();
    bytes[strides + 1] = 0;
    let told = refusal(&write(folder.path(), "a.pt", &bytes));
    assert!(told.contains("copies would take 8589934588 bytes; at most "), "{told}");
}

#[test]
fn folders_with_pytorchs_files_only() {
    let folder = temporary_folder();
    let path = folder.path();
    fs::copy(fixture("torch/zip-2.pt"), path.join("pytorch_model.bin")).unwrap();
    write(path, "training_args.bin", "not weights");
    assert_eq!(admit(path).unwrap().tensors().unwrap().len(), 32);

    fs::rename(path.join("pytorch_model.bin"), path.join("pytorch_model-1.bin")).unwrap();
    fs::copy(fixture("torch/python2.pt"), path.join("pytorch_model-2.bin")).unwrap();
    let error = admit(path).unwrap().tensors().unwrap_err().to_string();
    assert!(error.ends_with("several weights files and no index: pytorch_model-1.bin, pytorch_model-2.bin"), "{error}");
    let index = r#"{"weight_map":{"a":"pytorch_model-2.bin","transposed":"pytorch_model-1.bin"}}"#;
    write(path, "pytorch_model.bin.index.json", index);
    let sharded = admit(path).unwrap().tensors().unwrap();
    assert_eq!(sharded.names().collect::<Vec<_>>(), ["a", "transposed"]);
    assert_eq!(sharded.unlisted().len(), 31);
    assert_eq!(to_f32(&sharded.get("transposed").unwrap()).unwrap()[..4], [0.0, 6.0, 12.0, 18.0]);

    // A file of safetensors that says nothing by its name does not hide them; one that does, does.
    fs::copy(fixture("torch_types.safetensors"), path.join("other.safetensors")).unwrap();
    assert_eq!(admit(path).unwrap().tensors().unwrap().len(), 2);
    fs::copy(fixture("torch/expected.safetensors"), path.join("model.safetensors")).unwrap();
    assert_eq!(admit(path).unwrap().tensors().unwrap().len(), 32);
    assert_eq!(admit(path).unwrap().tensors().unwrap().file_of("row").unwrap(), path.join("model.safetensors"));
}

/// Reads what is accepted to the last byte.
fn read_all(bytes: &[u8]) -> bool {
    let Ok(tensors) = tsumugi_files::torch::tensors(bytes, Path::new("mutated")) else { return false };
    for tensor in tensors {
        assert_eq!(tensor.entry.stored_bytes(), tensor.bytes(bytes).len() as u64);
    }
    true
}

#[test]
fn broken_checkpoints_never_panic() {
    let mut accepted = 0;
    for (seed, name) in
        [(1, "torch/zip-2.pt"), (2, "torch/legacy-2.pt"), (3, "torch/python2.pt"), (4, "torch/zip-4.pt")]
    {
        for mutation in mutations(&fs::read(fixture(name)).unwrap(), seed, 5_000) {
            accepted += usize::from(read_all(&mutation.bytes));
        }
    }
    assert!((200..18_000).contains(&accepted), "{accepted}");
}

#[test]
fn broken_pickles_never_panic_or_hang() {
    // Small limits, so that a mutation that asks for more is met, too.
    let limits = Limits { opcodes: 20_000, stack: 300, memo: 2_000, kept: 500, skip: 10_000, told_bytes: 16 };
    let cases = fs::read_to_string(fixture("pickle/values.txt")).unwrap();
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    let mut files: Vec<Vec<u8>> = cases.lines().map(|case| hex(case.split('\t').next().unwrap())).collect();
    files.extend(both_formats().chain(["pickle/arrays.joblib".into()]).map(|name| fs::read(fixture(&name)).unwrap()));
    let each = 90_000 / files.len() as u64 + 1;
    let mut events = 0u64;
    for (seed, file) in files.iter().enumerate() {
        for mutation in mutations(file, seed as u64, each) {
            let mut machine = Machine::new(&mutation.bytes, limits);
            while let Some(event) = machine.next() {
                events += 1;
                if let tsumugi_files::pickle::Event::Stop { value, .. } = event {
                    assert!(machine.heap().expression(value, 200).len() < 2_000);
                }
            }
            assert!(machine.opcodes() <= mutation.bytes.len() as u64 + 1, "every byte is executed once at most");
        }
    }
    assert!(events > 90_000 * 2, "{events}");
}

#[test]
fn element_types_of_the_fixture() {
    // All that a storage of PyTorch can be, and that we have a name for.
    let found = open(&fixture("torch/zip-2.pt")).unwrap();
    let types = found.summary();
    let missing: Vec<ElementType> =
        ElementType::all().filter(|found| !found.is_quantized() && !types.contains_key(found)).collect();
    assert_eq!(missing, [ElementType::F4, ElementType::F6E2M3, ElementType::F6E3M2]);
}
