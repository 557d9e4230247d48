//! Continues a prompt with a model folder, as it comes, then says how fast:
//! `cargo run --release -p tsumugi-infer --example answer -- FOLDER "Once upon a time" [TOKENS] [chat]`
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example speaks")]

use std::error::Error;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use tsumugi_files::{ModelFiles, NoScan};
use tsumugi_infer::text::{Event, LocalModel, Options, Prompt, Request, SamplingParameters, TextModel};
use tsumugi_tokenizer::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, prompt, rest @ ..] = &arguments[..] else { return Err("usage: FOLDER PROMPT [TOKENS] [chat]".into()) };
    let max_tokens = rest.first().map(|count| count.parse()).transpose()?;
    let gate = NoScan { reason: "an example; its user names the folder" };
    let model = LocalModel::load(&ModelFiles::admit(Path::new(folder), &gate)?, Options::default())?;
    let prompt = match rest.get(1).map(String::as_str) {
        Some("chat") => Prompt::Chat(vec![Message::new("user", prompt.as_str())]),
        _ => Prompt::Text(prompt.clone()),
    };
    let sampling = SamplingParameters { temperature: 0.0, ..SamplingParameters::default() };
    let request = Request { prompt, sampling, max_tokens, stop: Vec::new() };
    let completion = model.generate(&request, &mut |event| {
        if let Event::Text(text) = event {
            print!("{text}");
            let _ = std::io::stdout().flush();
        }
        ControlFlow::Continue(())
    })?;
    let rate = |tokens: usize, seconds: f64| tokens as f64 / seconds;
    eprintln!(
        "\n\nread {} tokens at {:.0}/s, wrote {} at {:.1}/s, {:?}",
        completion.prompt_tokens,
        rate(completion.prompt_tokens, completion.prompt_seconds),
        completion.completion_tokens,
        rate(completion.completion_tokens, completion.completion_seconds),
        completion.finish_reason
    );
    Ok(())
}
