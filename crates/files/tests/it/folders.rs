//! Model folders: one file, shards, and the ways in which weights are missing.

use tsumugi_base::Hint;
use tsumugi_base::testing::temporary_folder;
use tsumugi_files::{ElementType, FilesError, write_model};

use crate::support::{admit, no_metadata, raw_file, view, write};

const ONE_BYTE: &str = r#"{"NAME":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;

fn one_byte_file(name: &str) -> Vec<u8> {
    raw_file(&ONE_BYTE.replace("NAME", name), &[1])
}

#[test]
fn shards_are_written_and_read_and_one_naming_replaces_the_other() {
    let folder = temporary_folder();
    let data = [[1u8; 8], [2; 8], [3; 8]];
    let names = ["a", "b", "c"];
    let tensors: Vec<_> = (0..3).map(|i| view(names[i], ElementType::F32, &[2], &data[i])).collect();
    let listing = || {
        let mut files: Vec<String> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        files
    };

    write_model(folder.path(), &tensors, &no_metadata(), 1 << 20).unwrap();
    assert_eq!(listing(), ["model.safetensors"]);
    write_model(folder.path(), &tensors, &no_metadata(), 16).unwrap();
    assert_eq!(
        listing(),
        ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
    );
    let read = admit(folder.path()).unwrap().tensors().unwrap();
    assert_eq!(read.iter().collect::<Vec<_>>(), tensors);
    assert!(read.unlisted().is_empty());
    assert!(read.file_of("c").unwrap().ends_with("model-00002-of-00002.safetensors"));
    let index = std::fs::read_to_string(folder.path().join("model.safetensors.index.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&index).unwrap()["metadata"]["total_size"], 24);

    write_model(folder.path(), &tensors, &no_metadata(), 1 << 20).unwrap();
    assert_eq!(listing()[2..], ["model.safetensors"]);
    assert_eq!(admit(folder.path()).unwrap().tensors().unwrap().len(), 3);
}

#[test]
fn an_index_that_disagrees_with_its_shards_is_told() {
    let folder = temporary_folder();
    write(folder.path(), "m-1.safetensors", one_byte_file("a"));
    let told = |index: &str| {
        write(folder.path(), "model.safetensors.index.json", index);
        let error = admit(folder.path()).unwrap().tensors().unwrap_err();
        let text = error.to_string();
        assert!(text.contains("model.safetensors.index.json"), "{text}");
        assert!(error.hint().is_some(), "{text}");
        text
    };
    let missing_shard = told(r#"{"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors","c":"m-2.safetensors"}}"#);
    assert!(missing_shard.ends_with("puts 2 tensors (`b` among them) into `m-2.safetensors`, which is not there"));
    let missing_tensor = told(r#"{"weight_map":{"b":"m-1.safetensors"}}"#);
    assert!(missing_tensor.ends_with("puts tensor `b` into `m-1.safetensors`, which does not have it"));
    for shard in ["../m-1.safetensors", "/etc/passwd", "", "..", "a\\\\b", "C:x"] {
        let text = told(&format!(r#"{{"weight_map":{{"a":"{shard}"}}}}"#));
        assert!(text.ends_with("which is not a plain file name"), "{text}");
    }
    assert!(told(r#"{"weight_map":{"a":"x","a":"y"}}"#).contains("tensor `a` stands there twice"));
    assert!(told(r#"{"weight_map":{}}"#).ends_with("names no tensor"));
    assert!(told("{").contains("is not an index of a checkpoint: EOF"));
}

#[test]
fn the_index_decides_where_two_shards_have_one_name() {
    let folder = temporary_folder();
    write(folder.path(), "m-1.safetensors", one_byte_file("a"));
    let both =
        r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
    write(folder.path(), "m-2.safetensors", raw_file(both, &[8, 9]));
    let index = r#"{"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}}"#;
    write(folder.path(), "model.safetensors.index.json", index);
    let read = admit(folder.path()).unwrap().tensors().unwrap();
    assert_eq!((read.get("a").unwrap().bytes, read.get("b").unwrap().bytes), (&[1u8][..], &[9u8][..]));
    assert_eq!(read.unlisted(), ["a"]);
}

#[test]
fn missing_weights_say_what_is_there_instead() {
    let told = |files: &[&str]| {
        let folder = temporary_folder();
        for name in files {
            write(folder.path(), name, one_byte_file("a"));
        }
        let error = admit(folder.path()).unwrap().tensors().unwrap_err();
        let text = error.to_string().replace(&folder.path().display().to_string(), "DIR");
        (text, error.hint().unwrap_or_default())
    };
    let (text, hint) = told(&["config.json", "model.pkl"]);
    let only_as =
        |name: &str| format!("DIR has its weights only as {name}; we load safetensors and PyTorch's .bin, .pt, .pth");
    assert_eq!(text, only_as("model.pkl"));
    assert!(hint.contains("a pickle can run code") && hint.contains("save_pretrained"), "{hint}");
    assert_eq!(told(&["model.onnx"]).0, only_as("model.onnx"));
    assert_eq!(
        told(&["pytorch_model.bin"]).0,
        "DIR/pytorch_model.bin: neither a zip archive nor a pickle, as `torch.save` writes them"
    );
    assert_eq!(told(&["config.json"]).0, "DIR has no weights: no model.safetensors among its files (config.json)");
    assert_eq!(told(&[]).0, "DIR has no weights: no model.safetensors among its files (it is empty)");
    assert_eq!(
        told(&["x.safetensors", "y.safetensors"]).0,
        "DIR has several weights files and no index: x.safetensors, y.safetensors"
    );
}

#[test]
fn a_single_file_of_another_name_is_taken() {
    let folder = temporary_folder();
    write(folder.path(), "weights.safetensors", one_byte_file("a"));
    assert_eq!(admit(folder.path()).unwrap().tensors().unwrap().len(), 1);
}

#[test]
fn texts_of_the_folder() {
    let folder = temporary_folder();
    write(folder.path(), "config.json", "{}");
    write(folder.path(), "tokenizer.json", b"\xff");
    write(folder.path(), "generation_config.json", "");
    let model = admit(folder.path()).unwrap();
    assert_eq!(model.text("config.json").unwrap(), Some("{}"));
    assert_eq!(model.text("config.json").unwrap(), Some("{}"));
    assert_eq!(model.text("tokenizer_config.json").unwrap(), None);
    assert_eq!(model.path(), folder.path());
    assert_eq!(model.json("config.json").unwrap(), Some(serde_json::json!({})));
    assert_eq!(model.json("tokenizer_config.json").unwrap(), None);
    write(folder.path(), "config.json", "{,");
    let text = admit(folder.path()).unwrap().json("config.json").unwrap_err().to_string();
    assert!(text.ends_with("config.json is not JSON: key must be a string at line 1 column 2"), "{text}");
    let told = |name: &str| model.text(name).unwrap_err().to_string();
    assert!(told("tokenizer.json").ends_with("tokenizer.json is not a text file: 0xff, which is not UTF-8, at byte 0"));
    assert!(told("generation_config.json").ends_with("generation_config.json is empty"));
}

#[test]
fn what_is_no_model() {
    let folder = temporary_folder();
    let path = write(folder.path(), "model.safetensors", one_byte_file("a"));
    let error = admit(&path).unwrap_err();
    assert!(
        matches!(error, FilesError::NotAModel { .. }) && error.hint().unwrap().starts_with("give the path of a model")
    );
    write(folder.path(), "config.json", "{}");
    assert_eq!(error.hint(), Some(format!("give the folder: {}", folder.path().display())));
    let error = admit(&folder.path().join("none")).unwrap_err();
    assert!(error.to_string().ends_with("none: no such file or folder"), "{error}");
}
