//! Runs the binary, and makes a tiny model for it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use tsumugi_models::{Decoder, DecoderSpec, family};
use tsumugi_tensor::threads::Pool;
use tsumugi_tokenizer::train::{TrainingConfig, train_bpe};
use tsumugi_tokenizer::{ChatTemplate, Tokenizer};

/// What a run of the binary left.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The binary, ready to be started by hand, in `folder`.
pub fn binary(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tsumugi"));
    command.args(arguments).current_dir(folder);
    for variable in [
        "HF_ENDPOINT",
        "HF_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "HF_TOKEN",
        "NO_COLOR",
        "PIP_INDEX_URL",
        "SOURCE_DATE_EPOCH",
        "TERM",
        "TSUMUGI_API_KEY",
        "TSUMUGI_POLICY",
        "TSUMUGI_ISA",
    ] {
        command.env_remove(variable);
    }
    // The machine's peak is remembered there; a test writes nothing into the user's own folders.
    command.env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command.env("TSUMUGI_HOME", folder.join("store")).env("HF_HOME", folder.join("huggingface"));
    command.env("PIP_CONFIG_FILE", "/dev/null");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the binary in `folder` to its end.
pub fn tsumugi(folder: &Path, arguments: &[&str]) -> Ran {
    let output = binary(folder, arguments).output().unwrap();
    Ran::of(output, folder)
}

/// The same with something to read.
pub fn tsumugi_with_input(folder: &Path, arguments: &[&str], input: &str) -> Ran {
    let mut child = binary(folder, arguments).stdin(Stdio::piped()).spawn().unwrap();
    // A command that ends before it has read everything is judged by its output.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    Ran::of(child.wait_with_output().unwrap(), folder)
}

impl Ran {
    /// Of a child that was started by hand.
    pub fn of(output: std::process::Output, folder: &Path) -> Self {
        let text = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).expect("what we print is UTF-8");
            text.replace(&folder.display().to_string(), "[DIR]")
        };
        Self { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Compares exit code and both streams with `expected`, whose common indentation does not count. A stream that is
    /// empty is not named.
    #[track_caller]
    pub fn is(&self, expected: &str) {
        let mut found = format!("exit {}\n", self.code);
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.is_empty() {
                found.push_str(&format!("---- {name}\n{}\n", filtered(text).trim_end()));
            }
        }
        let expected = without_indentation(expected);
        assert!(found.trim_end() == expected, "expected:\n{expected}\n\nfound:\n{found}");
    }

    /// The JSON object on standard output.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, 0, "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// Times and rates are `[TIME]` and `[RATE]`.
fn filtered(text: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for line in text.split('\n') {
        let line: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let mut kept: Vec<String> = Vec::new();
        for word in line {
            let is_number =
                |text: &String| text.chars().all(|c| c.is_ascii_digit() || ".,".contains(c)) && !text.is_empty();
            match word.trim_end_matches(',') {
                "ms" | "s" if kept.last().is_some_and(is_number) => {
                    *kept.last_mut().unwrap() =
                        word.replace("ms", "[TIME]").replacen('s', "[TIME]", usize::from(!word.contains("ms")));
                }
                unit if unit.ends_with("/s") && kept.last().is_some_and(is_number) => {
                    *kept.last_mut().unwrap() = word.replace(unit, "[RATE]");
                }
                _ => kept.push(word),
            }
        }
        words.push(kept.join(" "));
    }
    words.join("\n")
}

fn without_indentation(text: &str) -> String {
    let lines: Vec<&str> = text.trim_matches('\n').lines().collect();
    let indentation = |line: &&str| line.len() - line.trim_start().len();
    let common = lines.iter().filter(|line| !line.trim().is_empty()).map(indentation).min().unwrap_or(0);
    let text: Vec<&str> = lines.iter().map(|line| line.get(common..).unwrap_or("")).collect();
    text.join("\n").trim_end().to_owned()
}

/// A drama of two, long enough to learn a few merges from.
pub fn drama() -> String {
    let mut text = String::new();
    for scene in 0..60 {
        text.push_str(&format!("ROMEO:\nWhat light is this, my lady, number {scene}?\n\n"));
        text.push_str(&format!("JULIET:\nIt is the light of {scene} candles, my lord.\n\n"));
    }
    text
}

pub fn tiny_tokenizer() -> Tokenizer {
    let config = TrainingConfig { vocabulary_size: 320, ..TrainingConfig::default() };
    train_bpe(&[drama()], &config, &tsumugi_base::progress::Silent).unwrap()
}

/// A Llama of a few thousand random weights with a context of 64, as a folder.
pub fn tiny_model(folder: &Path, chat: bool) {
    tiny_model_of(family::find("llama").unwrap().tiny(), folder, chat);
}

/// The same of other sizes; vocabulary and context are those.
pub fn tiny_model_of(mut spec: DecoderSpec, folder: &Path, chat: bool) {
    let tokenizer = tiny_tokenizer();
    spec.vocabulary = tokenizer.vocabulary_size();
    spec.context = 64;
    let mut decoder = Decoder::new(spec);
    decoder.initialize(1, &Pool::new(1));
    std::fs::create_dir_all(folder).unwrap();
    decoder.save(folder, &BTreeMap::new()).unwrap();
    match chat {
        true => tokenizer.save_with_template(folder, &ChatTemplate::own()).unwrap(),
        false => tokenizer.save(folder).unwrap(),
    }
}
