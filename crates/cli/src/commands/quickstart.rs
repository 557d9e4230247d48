//! `tsumugi quickstart`: from a text to a model that one chats with.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use tsumugi_infer::text::Options as LoadOptions;
use tsumugi_pipeline::{Options, PipelineError, QuickstartResult, quickstart};
use tsumugi_serve::{Model, ServeError};
use tsumugi_tokenizer::TokenizerError;

use super::Command;
use super::serve::serve_until_interrupted;
use crate::flags::{Json, Threads, Trust};
use crate::output::{Answer, Failure, print, print_json, tell};
use crate::progress::Progress;
use crate::{interrupt, model};

/// From a text to a model in your browser: the whole path
///
/// Learns a tokenizer from Shakespeare's plays, pre-trains a model, tunes it on the plays' dialogue, measures it, writes a
/// report, and serves the chat page. The same command again goes on with a stopped run. OUT then holds `tokenizer`,
/// `base`, `chat` and `report.html`.
#[derive(Debug, Args)]
pub struct Quickstart {
    /// The budget of time, from the start to the report; a longer one gives a better model
    #[arg(long, value_name = "N", default_value_t = tsumugi_pipeline::quickstart::MINUTES)]
    minutes: f64,
    /// End with the report
    #[arg(long)]
    no_serve: bool,
    /// Where everything goes
    #[arg(long, value_name = "DIR", default_value = "runs/quickstart")]
    out: PathBuf,
    /// Of every random number
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    json: Json,
}

/// What the page offers as a first message.
const OPENING_PROMPTS: [&str; 4] = [
    "What say you, my lord?",
    "Who is it that calls so loud?",
    "I pray you, tell me of the war.",
    "Wherefore art thou so sad?",
];

impl Command for Quickstart {
    const NAME: &'static str = "quickstart";
    const EXAMPLES: &'static str = "
        tsumugi quickstart
        tsumugi quickstart --minutes 3 --no-serve --out runs/first";

    fn run(self) -> Result<Answer, Failure> {
        interrupt::listen("saving a checkpoint")?;
        let options = Options { minutes: self.minutes, out: self.out, seed: self.seed, threads: self.threads.get() };
        let progress = Progress::new();
        let command = std::env::args().skip(1).collect();
        let made = quickstart(&options, command, &Trust::default(), &progress);
        drop(progress);
        let stopped = || Failure::Stopped { message: "the same command goes on".into() };
        let made = match made {
            Ok(made) if !made.finished => return Err(stopped()),
            Err(PipelineError::Tokenizer(TokenizerError::Stopped { .. })) => return Err(stopped()),
            other => other?,
        };
        match self.json.json {
            true => print_json(&json!({
                "out": options.out, "chat": made.chat, "report": made.report, "measured": made.measured,
            }))?,
            false => print(&as_text(&made, &options.out))?,
        }
        if !self.no_serve {
            serve(&made, self.threads, self.json.json)?;
        }
        Ok(Answer::Done)
    }
}

fn as_text(made: &QuickstartResult, out: &Path) -> String {
    let mut text = String::new();
    if made.was_finished {
        text.push_str(&format!("{} is finished: nothing to train\n", out.display()));
    }
    if let Some(measured) = &made.measured {
        text.push_str(&format!(
            "held-out text     {:.3} bits per byte (xz needs {:.3})\nheld-out answers  {:.3} nats per token, {:.3} before tuning\n",
            measured.base_bits_per_byte,
            measured.xz_bits_per_byte,
            measured.answers_after_nats,
            measured.answers_before_nats,
        ));
    }
    let chat = made.chat.display();
    text.push_str(&format!("report            {}\nchat              tsumugi chat {chat}\n", made.report.display()));
    text.push_str(&format!("                  tsumugi serve {chat}\n"));
    text
}

/// On the usual port, or on any free one: after minutes of training, a port in use is no reason to fail.
fn serve(made: &QuickstartResult, threads: Threads, json: bool) -> Result<(), Failure> {
    let options = LoadOptions { threads: threads.get(), ..LoadOptions::default() };
    let model = Model::Text(Arc::new(model::load(&made.chat.to_string_lossy(), options, 1, &Trust::default())?));
    let options = tsumugi_serve::Options {
        suggested_system_messages: made.suggested_system_messages.clone(),
        opening_prompts: OPENING_PROMPTS.map(str::to_owned).into(),
        ..tsumugi_serve::Options::default()
    };
    match serve_until_interrupted(options.clone(), vec![model.clone()], json)? {
        Err(ServeError::Listen { source, .. }) if source.kind() == io::ErrorKind::AddrInUse => {
            tell(&format!("port {} is in use; taking another", options.port));
            let any = tsumugi_serve::Options { port: 0, ..options };
            Ok(serve_until_interrupted(any, vec![model], json)??)
        }
        served => Ok(served?),
    }
}
