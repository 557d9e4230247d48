//! Writes a small random chat model of each family, with what we compute from it, for `transformers` to judge:
//!
//! ```text
//! cargo run -p tsumugi-infer --example write_folders -- DIR
//! for f in DIR/*/; do .venv-peers/bin/python tools/goldens/check_with_transformers.py $f --json $f/ours.json; done
//! ```
#![allow(clippy::print_stdout, reason = "an example speaks")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use serde_json::json;
use tsumugi_files::{ModelFiles, NoScan};
use tsumugi_models::gpt2::Gpt2;
use tsumugi_models::llama::Llama;
use tsumugi_models::{ALL, Decoder, DecoderSpec, LogitsPlan};
use tsumugi_tensor::threads::Pool;
use tsumugi_tensor::{Cpu, Segment};
use tsumugi_tokenizer::{ChatTemplate, Message, special_tokens, train::byte_tokenizer};

const TEXT: &str = "To be, or not to be — that is the question.";

fn write(folder: &Path, spec: DecoderSpec) -> Result<(), Box<dyn Error>> {
    let mut decoder = Decoder::new(spec);
    decoder.initialize(1, &Pool::new(1));
    for value in decoder.parameters.buffer_mut() {
        *value = 4.0 * *value + 0.05;
    }
    let (tokenizer, template) = (byte_tokenizer(&special_tokens::all())?, ChatTemplate::own());
    let end = tokenizer.special(special_tokens::END);
    decoder.save(folder, &BTreeMap::from([("eos_token_id".to_owned(), json!(end))]))?;
    tokenizer.save_with_template(folder, &template)?;
    // What was written is what is read, and that is what computes.
    let gate = NoScan { reason: "written by this example" };
    let decoder = Decoder::load(&ModelFiles::admit(folder, &gate)?, &Pool::new(1))?;
    let ids = tokenizer.encode(TEXT);
    let positions: Vec<u32> = (0..ids.len() as u32).collect();
    let segments = [Segment { start: 0, len: ids.len() }];
    let mut plan = LogitsPlan::new(&decoder, ids.len(), ids.len());
    let logits = plan.run_uncached(&Cpu::detect(None)?, &decoder.parameters, &ids, &positions, &segments);
    let logits: Vec<&[f32]> = logits.chunks_exact(decoder.spec.vocabulary).collect();
    let messages = [("system", "You are Romeo."), ("user", "Who's there?")];
    let messages = messages.map(|(role, content)| Message::new(role, content));
    let ours = json!({
        "ids": ids,
        "logits": logits,
        "text": TEXT,
        "decoded": tokenizer.decode(&ids),
        "prompt": template.render(&messages, true)?,
        "messages": messages,
    });
    std::fs::write(folder.join("ours.json"), ours.to_string())?;
    println!("{}", folder.display());
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let out = std::env::args().nth(1).ok_or("usage: DIR")?;
    let vocabulary = 261;
    let specs = [
        ("gpt2", Gpt2::sized(vocabulary, 128, 48, 2, 3)),
        ("gpt2-untied", DecoderSpec { tied: false, ..Gpt2::sized(vocabulary, 128, 48, 2, 3) }),
        ("llama", Llama::sized(vocabulary, 128, 48, 3, 4, 2)),
        ("llama-untied", DecoderSpec { tied: false, ..Llama::sized(vocabulary, 128, 64, 2, 4, 4) }),
    ];
    let others = ALL.iter().filter(|family| !["gpt2", "llama"].contains(&family.name()));
    let others = others.map(|family| (family.name(), DecoderSpec { vocabulary, context: 128, ..family.tiny() }));
    for (name, spec) in specs.into_iter().chain(others) {
        let folder = Path::new(&out).join(name);
        std::fs::create_dir_all(&folder)?;
        write(&folder, spec)?;
    }
    Ok(())
}
