//! The whole path at the smallest budget: what it leaves, and that a stopped run goes on to the same result.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tsumugi_base::progress::{Event, Observer, Silent};
use tsumugi_base::testing::temporary_folder;
use tsumugi_files::NoScan;
use tsumugi_pipeline::quickstart::{Options, QuickstartResult, XZ_BITS_PER_BYTE, quickstart};

const GATE: NoScan = NoScan { reason: "the test made the files itself" };

fn run(out: &Path, threads: usize, observer: &dyn Observer) -> QuickstartResult {
    let options = Options { minutes: 0.2, threads: Some(threads), ..Options::new(out) };
    quickstart(&options, vec!["quickstart".into()], &GATE, observer).unwrap()
}

/// Asks to stop when it has been asked so many times in a stage.
struct StopIn {
    stage: &'static str,
    is_there: AtomicBool,
    left: AtomicU64,
}

impl StopIn {
    fn new(stage: &'static str, left: u64) -> Self {
        Self { stage, is_there: AtomicBool::new(false), left: AtomicU64::new(left) }
    }
}

impl Observer for StopIn {
    fn event(&self, event: &Event) {
        if let Event::Stage { name } = event {
            self.is_there.store(name == self.stage, Ordering::Relaxed);
        }
    }

    fn stop_requested(&self) -> bool {
        let asked = self.is_there.load(Ordering::Relaxed);
        asked && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
    }
}

/// Every file of the finished run that must not depend on when it was stopped.
fn results(out: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for stage in ["tokenizer", "base", "chat"] {
        for name in ["model.safetensors", "tokenizer.json", "config.json", "tokenizer_config.json"] {
            let file = Path::new(stage).join(name);
            if let Ok(bytes) = std::fs::read(out.join(&file)) {
                files.push((file, bytes));
            }
        }
    }
    files.push(("result.json".into(), std::fs::read(out.join("result.json")).unwrap()));
    files
}

#[test]
fn it_makes_a_chat_model_and_a_stopped_run_makes_the_same() {
    let folder = temporary_folder();
    let whole = folder.path().join("whole");
    let result = run(&whole, 2, &Silent);
    assert!(result.finished && !result.was_finished);
    assert!(result.suggested_system_messages.iter().any(|message| message == "You are GLOUCESTER."));
    let chat: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(result.chat.join("chat.json")).unwrap()).unwrap();
    assert_eq!(chat["suggested_system_messages"], serde_json::json!(result.suggested_system_messages));
    let measured = result.measured.unwrap();
    assert_eq!(measured.xz_bits_per_byte, XZ_BITS_PER_BYTE);
    // A tokenizer of 1,024 alone, all tokens equally likely, needs about 3.9.
    assert!((1.0..3.7).contains(&measured.base_bits_per_byte), "{measured:?}");
    assert!(measured.answers_after_nats < measured.answers_before_nats, "{measured:?}");
    assert!(measured.exchanges.iter().any(|exchange| !exchange.answer.trim().is_empty()), "{measured:?}");
    let report = std::fs::read_to_string(&result.report).unwrap();
    for part in ["xz -9e", "Loss of pre-training", "Loss of fine-tuning", "The tokenizer", "memory by its end", "<svg"]
    {
        assert!(report.contains(part), "the report has no `{part}`");
    }
    assert!(run(&whole, 1, &Silent).was_finished, "a finished run is not done twice");

    // The same plan, in pieces, with other threads.
    let pieces = folder.path().join("pieces");
    std::fs::create_dir(&pieces).unwrap();
    std::fs::copy(whole.join("run.json"), pieces.join("run.json")).unwrap();
    for (stage, asked, threads) in [("pre-training", 5, 1), ("pre-training", 9, 2), ("chat", 3, 1)] {
        let stopped = run(&pieces, threads, &StopIn::new(stage, asked));
        assert!(!stopped.finished && !pieces.join("report.html").exists());
        assert_eq!(pieces.join("base/config.json").exists(), stage == "chat");
    }
    assert!(run(&pieces, 2, &Silent).finished);
    for ((file, one), (other, two)) in results(&whole).into_iter().zip(results(&pieces)) {
        assert_eq!(file, other);
        assert!(one == two, "{} differs", file.display());
    }
}
