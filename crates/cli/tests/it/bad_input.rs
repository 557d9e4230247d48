//! What bad input gets: one clear sentence, what to do, exit code 2, nothing half-written.

use std::path::Path;

use tsumugi_base::testing::temporary_folder;

use crate::support::{drama, tiny_model, tsumugi};

#[test]
fn a_text_that_is_missing_empty_or_binary() {
    let folder = temporary_folder();
    let path = folder.path();
    let train = |text: &str| tsumugi(path, &["tokenizer", "train", text, "--out", "t"]);
    train("missing.txt").is("
        exit 2
        ---- stderr
        error: cannot read missing.txt: no such file or folder

        hint: check the path; it is taken relative to the current folder
    ");
    std::fs::write(path.join("empty.txt"), "").unwrap();
    train("empty.txt").is("
        exit 2
        ---- stderr
        error: empty.txt is empty

        hint: was it written completely?
    ");
    std::fs::write(path.join("binary.txt"), b"text and \0 more").unwrap();
    train("binary.txt").is("
        exit 2
        ---- stderr
        error: binary.txt is not a text file: a NUL byte at byte 9

        hint: give a plain text file in UTF-8
    ");
    std::fs::write(path.join("latin1.txt"), b"caf\xe9").unwrap();
    train("latin1.txt").is("
        exit 2
        ---- stderr
        error: latin1.txt is not a text file: 0xe9, which is not UTF-8, at byte 3

        hint: if it is text in another encoding, convert it first: `iconv -f LATIN1 -t UTF-8 latin1.txt`
    ");
    train(".").is("
        exit 2
        ---- stderr
        error: ./binary.txt is not a text file: a NUL byte at byte 9

        hint: give a plain text file in UTF-8
    ");
    assert!(!path.join("t").exists(), "nothing half-written");
}

#[test]
fn a_model_that_is_not_there() {
    let folder = temporary_folder();
    let path = folder.path();
    let generate = |model: &str| tsumugi(path, &["generate", model, "--prompt", "a"]);
    generate("./model").is("
        exit 2
        ---- stderr
        error: there is no model ./model

        hint: give the path of a folder with config.json, model.safetensors and tokenizer.json, or of a .gguf file; `tsumugi quickstart` makes one from nothing
    ");
    generate("hf:org/name").is("
        exit 2
        ---- stderr
        error: hf:org/name is not on this machine yet

        hint: fetch it: `tsumugi pull hf:org/name`
    ");
    generate("smolm2-135m").is("
        exit 2
        ---- stderr
        error: `smolm2-135m` is no path that exists, and not in the catalogue

        hint: did you mean `smollm2-135m`? `tsumugi pull` lists all
    ");
    std::fs::write(path.join("model.gguf"), "GGUF").unwrap();
    generate("model.gguf").is("
        exit 2
        ---- stderr
        error: model.gguf: the version at byte 4: it needs 4 bytes, but the file has 0 more

        hint: the file is cut short or damaged; fetch or copy it again
    ");
    tiny_model(&path.join("out/chat"), true);
    generate("out").is("
        exit 2
        ---- stderr
        error: out is no model, but a folder that holds models

        hint: give the one in it: out/chat
    ");
    let inside = "out/chat/model.safetensors";
    generate(inside).is("
        exit 2
        ---- stderr
        error: out/chat/model.safetensors is a file, but a model is a folder with config.json and *.safetensors, or a .gguf file

        hint: give the folder: out/chat
    ");
}

#[test]
fn a_checkpoint_that_would_run_code() {
    let folder = temporary_folder();
    let path = folder.path();
    tiny_model(&path.join("model"), false);
    std::fs::remove_file(path.join("model/model.safetensors")).unwrap();
    // Python would print a word.
    std::fs::write(path.join("model/pytorch_model.bin"), b"\x80\x02cbuiltins\nprint\nX\x02\0\0\0hi\x85R.").unwrap();
    let refused = tsumugi(path, &["generate", "model", "--prompt", "a"]);
    let problem =
        "error: model/pytorch_model.bin is not admitted: calls builtins.print('hi'), and builtins.print is on no list";
    assert!(refused.code == 2 && refused.stderr.starts_with(problem), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("\n\nhint: look at what the name does; if the file is yours, "),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.ends_with("; `--allow-unsafe` loads it all the same\n"), "{}", refused.stderr);
    // Nor does the reader, which takes what tensors need and nothing else.
    tsumugi(path, &["generate", "model", "--prompt", "a", "--allow-unsafe"]).is("
        exit 2
        ---- stderr
        warning: model/pytorch_model.bin: calls builtins.print('hi'), and builtins.print is on no list (medium: pickle-unknown-call at @0x1a). A pickle's calls happen while it is loaded. This one is on neither list, so nobody has looked at what it does with these arguments
        error: model/pytorch_model.bin: its pickle asks for `builtins.print` at byte 2, and tensors do not need that

        hint: such a pickle can run code when Python loads it, so nothing of it is used; from a source that you trust, save the plain `state_dict()` with `safetensors.torch.save_file` and give that
    ");
}

#[test]
fn a_truncated_checkpoint() {
    let folder = temporary_folder();
    let path = folder.path();
    tiny_model(&path.join("model"), false);
    let weights = path.join("model/model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    for len in [bytes.len() - 1, bytes.len() / 2, 9, 4, 0] {
        std::fs::write(&weights, &bytes[..len]).unwrap();
        let ran = tsumugi(path, &["generate", "model", "--prompt", "a"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{len} bytes: {}", ran.stderr);
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains("model/model.safetensors"), "{}", ran.stderr);
        assert!(ran.stderr.contains("\n\nhint: "), "{len} bytes: {}", ran.stderr);
    }
}

fn change_config(folder: &Path, from: &str, to: &str) {
    let file = folder.join("config.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let changed = text.replace(from, to);
    assert_ne!(text, changed, "{from} is not in {text}");
    std::fs::write(file, changed).unwrap();
}

#[test]
fn a_config_that_disagrees_with_the_weights() {
    let folder = temporary_folder();
    let path = folder.path();
    let model = path.join("model");
    tiny_model(&model, false);
    let spec = tsumugi_models::family::find("llama").unwrap().tiny();
    let width = format!("\"intermediate_size\": {}", spec.feed_forward_width);
    change_config(&model, &width, &format!("\"intermediate_size\": {}", spec.feed_forward_width / 2));
    let ran = tsumugi(path, &["generate", "model", "--prompt", "a"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("but the config asks for ["), "{}", ran.stderr);
    assert!(ran.stderr.contains("\n\nhint: config and weights are of different models"), "{}", ran.stderr);

    change_config(&model, "\"llama\"", "\"lama\"");
    let ran = tsumugi(path, &["generate", "model", "--prompt", "a"]);
    assert!(ran.stderr.contains("unknown model_type `lama`; known: gpt2, llama"), "{}", ran.stderr);
    std::fs::write(model.join("config.json"), "{").unwrap();
    let ran = tsumugi(path, &["generate", "model", "--prompt", "a"]);
    assert!(ran.code == 2 && ran.stderr.contains("model/config.json is not JSON"), "{}", ran.stderr);
}

#[test]
fn pointers_in_place_of_small_files_say_what_they_are() {
    let folder = temporary_folder();
    let model = folder.path().join("model");
    for name in ["config.json", "tokenizer.json"] {
        tiny_model(&model, false);
        std::fs::write(model.join(name), "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
            .unwrap();
        let ran = tsumugi(folder.path(), &["generate", "model", "--prompt", "a"]);
        assert!(ran.code == 2 && ran.stderr.contains(name) && ran.stderr.contains("git lfs pull"), "{}", ran.stderr);
    }
}

/// Root may write anywhere, so there the folder is a file's child instead, which nobody can write to.
#[cfg(unix)]
#[test]
fn a_folder_without_permission() {
    use std::os::unix::fs::PermissionsExt;
    let folder = temporary_folder();
    let path = folder.path();
    std::fs::write(path.join("drama.txt"), drama()).unwrap();
    let locked = path.join("locked");
    std::fs::create_dir(&locked).unwrap();
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o555)).unwrap();
    let is_root = std::fs::write(locked.join("probe"), "").is_ok();
    if is_root {
        eprintln!("running as root, whom permissions do not stop: testing a path through a file instead");
    }
    let out = if is_root { "drama.txt/out" } else { "locked/out" };
    let ran = tsumugi(path, &["tokenizer", "train", "drama.txt", "--kind", "bytes", "--out", out]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.starts_with(&format!("error: cannot create {out}: ")), "{}", ran.stderr);
    assert!(ran.stderr.contains("\n\nhint: "), "{}", ran.stderr);
}
