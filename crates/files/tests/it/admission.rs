//! Admission: the gate decides, and the bytes that it saw are the bytes that are loaded.

use std::cell::RefCell;
use std::fs;

use tsumugi_base::Hint;
use tsumugi_base::testing::temporary_folder;
use tsumugi_files::{FilesError, Gate, ModelFiles, OpenFolder, Refusal};

use crate::support::{admit, raw_file, write};

fn weights(name: &str, byte: u8) -> Vec<u8> {
    raw_file(&format!(r#"{{"{name}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}}"#), &[byte])
}

/// Sees every file, then swaps the weights for others, as an attacker between check and load would.
struct Swapping<'a> {
    folder: &'a std::path::Path,
    seen: RefCell<Vec<String>>,
}

impl Gate for Swapping<'_> {
    fn check(&self, folder: &OpenFolder) -> Result<(), Refusal> {
        for (name, file) in folder.files() {
            assert_eq!(file.map().unwrap().len() as u64, file.size_bytes());
            self.seen.borrow_mut().push(name.to_owned());
        }
        let evil = write(self.folder, "other", weights("evil", 66));
        fs::rename(evil, self.folder.join("model.safetensors")).unwrap();
        fs::remove_file(self.folder.join("config.json")).unwrap();
        Ok(())
    }
}

#[test]
fn files_swapped_after_the_check_are_not_loaded() {
    let folder = temporary_folder();
    write(folder.path(), "model.safetensors", weights("good", 7));
    write(folder.path(), "config.json", "{}");
    fs::create_dir(folder.path().join("checkpoints")).unwrap();
    let gate = Swapping { folder: folder.path(), seen: RefCell::default() };
    let model = ModelFiles::admit(folder.path(), &gate).unwrap();
    assert_eq!(*gate.seen.borrow(), ["config.json", "model.safetensors"]);
    assert_eq!(model.text("config.json").unwrap(), Some("{}"));
    let tensors = model.tensors().unwrap();
    assert_eq!(tensors.names().collect::<Vec<_>>(), ["good"]);
    assert_eq!(tensors.get("good").unwrap().bytes, [7]);
}

struct Refusing;

impl Gate for Refusing {
    fn check(&self, folder: &OpenFolder) -> Result<(), Refusal> {
        Err(Refusal {
            path: folder.path().join("model.bin"),
            reason: "it calls os.system".into(),
            next_step: Some("delete it".into()),
        })
    }
}

#[test]
fn a_refused_folder_is_not_loaded() {
    let folder = temporary_folder();
    let error = ModelFiles::admit(folder.path(), &Refusing).unwrap_err();
    assert!(matches!(error, FilesError::Refused(_)));
    assert!(error.to_string().ends_with("model.bin is not admitted: it calls os.system"), "{error}");
    assert_eq!(error.hint().as_deref(), Some("delete it"));
}

#[test]
#[cfg(unix)]
fn links_are_followed_and_a_broken_one_is_told_when_asked_for() {
    let (folder, cache) = (temporary_folder(), temporary_folder());
    let blob = write(cache.path(), "0123abcd", weights("a", 1));
    std::os::unix::fs::symlink(blob, folder.path().join("model.safetensors")).unwrap();
    std::os::unix::fs::symlink(cache.path().join("gone"), folder.path().join("config.json")).unwrap();
    let model = admit(folder.path()).unwrap();
    assert_eq!(model.tensors().unwrap().len(), 1);
    assert_eq!(
        (model.files().names().collect::<Vec<_>>(), model.files().files().count()),
        (vec!["model.safetensors", "config.json"], 1)
    );
    let text = model.text("config.json").unwrap_err().to_string();
    assert!(text.ends_with("config.json: no such file or folder"), "{text}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_pipe_does_not_block() {
    let folder = temporary_folder();
    let status = std::process::Command::new("mkfifo").arg(folder.path().join("config.json")).status();
    if !status.is_ok_and(|status| status.success()) {
        return; // no mkfifo on this machine
    }
    assert_eq!(admit(folder.path()).unwrap().text("config.json").unwrap(), None);
    let pipe = folder.path().join("m.gguf");
    std::fs::rename(folder.path().join("config.json"), &pipe).unwrap();
    let text = admit(&pipe).unwrap_err().to_string();
    assert!(text.ends_with("m.gguf: it is a pipe or a device, and a model is read at any place"), "{text}");
}

#[test]
fn a_folder_of_too_many_files_is_not_a_model() {
    let folder = temporary_folder();
    for i in 0..801 {
        write(folder.path(), &format!("{i}.txt"), "");
    }
    let text = admit(folder.path()).unwrap_err().to_string();
    assert!(text.ends_with("holds more than 800 files, so it is not a model folder"), "{text}");
}

#[test]
fn settings_of_the_parts_of_a_sentence_model_are_opened_and_nothing_else_below() {
    let folder = temporary_folder();
    for part in ["1_Pooling", "2_Normalize", "checkpoints", "3_../..", "12x_Pooling", "_Pooling"] {
        fs::create_dir_all(folder.path().join(part)).unwrap();
    }
    for file in
        ["1_Pooling/config.json", "1_Pooling/model.safetensors", "checkpoints/config.json", "12x_Pooling/config.json"]
    {
        write(folder.path(), file, "{}");
    }
    write(folder.path(), "model.safetensors", weights("a", 1));
    let names = || admit(folder.path()).unwrap().files().names().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(names(), ["model.safetensors"], "without modules.json it is a folder like any other");
    write(folder.path(), "modules.json", "[]");
    assert_eq!(names(), ["1_Pooling/config.json", "model.safetensors", "modules.json"]);
    let model = admit(folder.path()).unwrap();
    assert_eq!(model.text("1_Pooling/config.json").unwrap(), Some("{}"));
    assert_eq!(model.tensors().unwrap().len(), 1);
}
