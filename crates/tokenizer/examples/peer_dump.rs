//! Writes what `bench/peers/tokenizers/compare.py` compares with other tokenizers: our tokenizers, our ids, our times.
//!
//! `cargo run --release -p tsumugi-tokenizer --example peer_dump -- CORPUS TEXTS.json OUT`

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use tsumugi_base::progress::Silent;
use tsumugi_tokenizer::bpe::Split;
use tsumugi_tokenizer::train::{TrainingConfig, byte_tokenizer, character_tokenizer, train_bpe};
use tsumugi_tokenizer::{ChatTemplate, Message, Side, Tokenizer, TokenizerError, pad, special_tokens, truncate};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [corpus, texts, out] = &arguments[..] else { return Err("give CORPUS TEXTS.json OUT".into()) };
    let corpus = std::fs::read_to_string(corpus)?;
    let texts: Vec<String> = serde_json::from_str(&std::fs::read_to_string(texts)?)?;
    let mut report = serde_json::Map::new();
    for (name, vocabulary_size, split) in [
        ("gpt4-512", 512, Split::Gpt4),
        ("gpt4-8192", 8192, Split::Gpt4),
        ("gpt2-4096", 4096, Split::Gpt2),
        ("none-300", 300, Split::None),
    ] {
        let config = TrainingConfig { vocabulary_size, split, ..TrainingConfig::default() };
        let started = Instant::now();
        let tokenizer = train_bpe(&[&corpus], &config, &Silent)?;
        let seconds = started.elapsed().as_secs_f64();
        report.insert(name.into(), dump(&tokenizer, &corpus, &texts, &Path::new(out).join(name), Some(seconds))?);
    }
    let specials = special_tokens::all();
    for (name, tokenizer) in
        [("bytes", byte_tokenizer(&specials)?), ("characters", character_tokenizer(&corpus, &specials)?)]
    {
        report.insert(name.into(), dump(&tokenizer, &corpus, &texts, &Path::new(out).join(name), None)?);
    }
    report.insert("templates".into(), render_templates(&Path::new(out).join("templates.json"))?);
    std::fs::write(Path::new(out).join("ours.json"), Value::Object(report).to_string())?;
    Ok(())
}

/// Texts as rows: `(side, longest, multiple)`, ids, masks and offsets of what is left.
fn rows(tokenizer: &Tokenizer, texts: &[String]) -> Result<Value, TokenizerError> {
    let mut all = Vec::new();
    for (name, side) in [("left", Side::Left), ("right", Side::Right)] {
        for (longest, multiple) in [(usize::MAX >> 1, 1), (7, 1), (30, 8), (1, 64)] {
            let (mut ids, mut offsets) = (Vec::new(), Vec::new());
            for text in texts {
                let (mut row, mut places): (Vec<u32>, Vec<_>) =
                    tokenizer.encode_with_offsets(text)?.into_iter().map(|(id, at)| (id, [at.start, at.end])).unzip();
                truncate(&mut row, longest, side);
                truncate(&mut places, longest, side);
                ids.push(row);
                offsets.push(places);
            }
            let length = ids.iter().map(Vec::len).max().unwrap_or(0).next_multiple_of(multiple);
            let padding = tokenizer.row_rules().padding.unwrap_or(0);
            let mask = |row| pad(row, padding, length, side).into_iter().map(u8::from).collect();
            let masks: Vec<Vec<u8>> = ids.iter_mut().map(mask).collect();
            all.push(json!({
                "side": name, "longest": longest, "multiple": multiple, "padding": padding,
                "ids": ids, "masks": masks, "offsets": offsets,
            }));
        }
    }
    Ok(all.into())
}

/// How many texts become rows; they are short.
const ROWS: usize = 15;

/// Saves the tokenizer and returns what it makes of the texts.
fn dump(
    tokenizer: &Tokenizer,
    corpus: &str,
    texts: &[String],
    folder: &Path,
    train_seconds: Option<f64>,
) -> Result<Value, Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    let template = ChatTemplate::own();
    tokenizer.save_with_template(folder, &template)?;
    let mut user = Message::new("user", "  Good morrow. ");
    user.name = Some("JULIET".into());
    let messages = [
        Message::new("system", "You are ROMEO."),
        user,
        Message::new("assistant", "Ay me!\n"),
        Message::new("user", "漢字 👍"),
    ];
    let encode_seconds = (0..3)
        .map(|_| {
            let started = Instant::now();
            std::hint::black_box(tokenizer.encode(corpus));
            started.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    Ok(json!({
        // Where characters may have no token, tokens are not the text.
        "rows": if tokenizer.unknown().is_some() { json!([]) } else { rows(tokenizer, &texts[..ROWS.min(texts.len())])? },
        "ids": texts.iter().map(|text| tokenizer.encode(text)).collect::<Vec<_>>(),
        "special_ids": texts.iter().map(|text| tokenizer.encode_with_special(text)).collect::<Vec<_>>(),
        "decoded": texts.iter().map(|text| tokenizer.decode(&tokenizer.encode(text))).collect::<Vec<_>>(),
        "prefix": tokenizer.prefix(),
        "messages": messages,
        "chat_text": template.render(&messages, true)?,
        "chat_ids": template.encode_chat(tokenizer, &messages, true)?,
        "vocabulary_size": tokenizer.vocabulary_size(),
        "train_seconds": train_seconds,
        "encode_megabytes_per_second": corpus.len() as f64 / 1e6 / encode_seconds,
    }))
}

/// Renders every template of the file on every conversation of it, without and with the generation prompt; null is a refusal.
fn render_templates(path: &Path) -> Result<Value, Box<dyn Error>> {
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let conversations: Vec<Vec<Message>> = serde_json::from_value(file["conversations"].clone())?;
    let mut rendered = serde_json::Map::new();
    for (name, source) in file["templates"].as_object().ok_or("no templates")? {
        let template = ChatTemplate::new(source.as_str().ok_or("no text")?, Some("<s>"), Some("</s>"));
        let text =
            |messages, prompt| template.as_ref().ok().and_then(|template| template.render(messages, prompt).ok());
        let all = conversations.iter().flat_map(|messages| [text(messages, false), text(messages, true)]);
        rendered.insert(name.clone(), all.collect());
    }
    Ok(rendered.into())
}
