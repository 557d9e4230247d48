//! The server over a model without weights: `mock_server [PORT] [CONTEXT] [PAUSE_MS] [API_KEY]`.
//!
//! For `tools/browser` and `tools/peers/openai_client.sh`, and to look at the page while working on it.

#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use tsumugi_base::Hint;
use tsumugi_serve::{Model, Options, serve};

#[path = "../tests/it/mock.rs"]
mod mock;

fn main() -> std::process::ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(default);
    let port = u16::try_from(number(8080)).unwrap_or(8080);
    let context_length = usize::try_from(number(256)).unwrap_or(256);
    let pause = Duration::from_millis(number(40));
    let speaks = |name: &str| format!("You are {name}.");
    let options = Options {
        port,
        api_keys: arguments.next().into_iter().collect(),
        suggested_system_messages: ["ROMEO", "JULIET", "KING RICHARD III", "GLOUCESTER", "MENENIUS", "CORIOLANUS"]
            .map(speaks)
            .into(),
        opening_prompts: [
            "What say you, my lord?",
            "Who is it that calls so loud?",
            "I pray you, tell me of the war.",
            "Wherefore art thou so sad?",
        ]
        .map(str::to_owned)
        .into(),
        ..Options::default()
    };
    let chat = mock::MockModel { pause, ..mock::MockModel::new("shakespeare-mock", context_length) };
    let base = mock::MockModel { pause, has_chat_template: false, ..mock::MockModel::new("base-mock", context_length) };
    let vectors = Model::Vectors(Arc::new(mock::MockVectors));
    let models = vec![Model::Text(Arc::new(chat)), Model::Text(Arc::new(base)), vectors];
    let served = serve(options, models, |ready| println!("listening on {}", ready.url()), || false);
    if let Err(error) = served {
        eprintln!("error: {error}");
        if let Some(hint) = error.hint() {
            eprintln!("\nhint: {hint}");
        }
        return std::process::ExitCode::from(2);
    }
    std::process::ExitCode::SUCCESS
}
