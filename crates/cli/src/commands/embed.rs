//! `tsumugi embed`: texts to vectors.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;
use tsumugi_base::io::AtomicFile;
use tsumugi_base::progress::{Meter, Observer};
use tsumugi_base::{FileError, units};
use tsumugi_files::{Admitted, ElementType, ModelFiles, TensorView, write_npy, write_safetensors};
use tsumugi_infer::text::{Embedder, EmbedderOptions, Pooling, cosine};

use super::Command;
use crate::flags::{Json, Reading, Trust, positive};
use crate::output::{Answer, Failure, for_stdout, print, print_json, print_line, tell};
use crate::progress::Progress;
use crate::texts::Texts;
use crate::{interrupt, model};

/// Turn texts into vectors that are near each other where the texts mean the same
///
/// Texts on the command line are compared: the cosine of each with each, from -1 to 1. Texts of a file become vectors, a JSON
/// line each on standard output or all of them in `--out`. What a folder says in the files of sentence-transformers holds:
/// pooling, length, prompts. An encoder (BERT and its relatives) or a decoder will do.
#[derive(Debug, Args)]
pub struct Embed {
    /// A model folder or GGUF file, or the name of a model that was pulled
    model: String,
    #[command(flatten)]
    texts: Texts,
    /// Write the vectors to this file: .npy, .safetensors (tensor `embeddings`) or .jsonl, by its ending
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Put the model's own prompt of this name before each text, as `query` or `document`
    #[arg(long, value_name = "NAME")]
    prompt: Option<String>,
    /// How the vectors of a text's tokens become one [default: as the model says, else the mean]
    #[arg(long, value_name = "KIND")]
    pooling: Option<PoolingKind>,
    /// Only the first N numbers of each vector, for models that were trained for it
    #[arg(long, value_name = "N", value_parser = positive)]
    dimensions: Option<usize>,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PoolingKind {
    /// The mean of all
    Mean,
    /// The first one, `[CLS]`
    First,
    /// The last one
    Last,
}

impl Command for Embed {
    const NAME: &'static str = "embed";
    const EXAMPLES: &'static str = "
        tsumugi embed all-minilm-l6-v2 'The cat sits outside' 'The feline rests outdoors'
        tsumugi embed all-minilm-l6-v2 --file sentences.txt --out sentences.npy
        tsumugi embed hf:BAAI/bge-small-en-v1.5 --file passages.jsonl --field body --out passages.safetensors
        tsumugi embed all-minilm-l6-v2 'one text' --json";

    fn run(self) -> Result<Answer, Failure> {
        let form = self.out.as_deref().map(Form::of).transpose()?;
        let texts = self.texts.read()?;
        let model = model::admit(&self.model, &self.trust)?;
        let embedder = Embedder::load(&model, self.options(&model)?)?;
        if self.pooling.is_none() && !embedder.pooling().1 {
            tell(&format!(
                "note: {} does not say how its vectors are pooled: the mean is taken; `--pooling` says otherwise",
                embedder.name()
            ));
        }
        interrupt::listen("stopping")?;
        let prompt = embedder.prompt(self.prompt.as_deref())?;
        let job = Job { embedder: &embedder, texts: &texts, prompt };
        match (&self.out, form) {
            (Some(out), Some(form)) => job.write(out, form, self.json),
            _ if self.texts.are_typed() && !self.json.json => job.compare(),
            _ => job.print_lines(),
        }
    }
}

impl Embed {
    fn options(&self, model: &Admitted<ModelFiles>) -> Result<EmbedderOptions, Failure> {
        let pooling = self.pooling.map(|kind| match kind {
            PoolingKind::Mean => Pooling::Mean,
            PoolingKind::First => Pooling::First,
            PoolingKind::Last => Pooling::Last,
        });
        let (threads, precision) = (self.reading.threads(), self.reading.precision(model)?);
        Ok(EmbedderOptions { threads, precision, pooling, dimensions: self.dimensions })
    }
}

/// What a file of vectors is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Npy,
    Safetensors,
    JsonLines,
}

impl Form {
    fn of(path: &Path) -> Result<Self, Failure> {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("npy") => Ok(Self::Npy),
            Some("safetensors") => Ok(Self::Safetensors),
            Some("jsonl") => Ok(Self::JsonLines),
            _ => Err(Failure::new(
                format!("{} is no file of vectors that can be written", path.display()),
                "let it end in .npy, .safetensors or .jsonl",
            )),
        }
    }
}

/// A line of vectors as JSON.
#[derive(Serialize)]
struct Line<'a> {
    index: usize,
    text: &'a str,
    embedding: &'a [f32],
}

/// Texts between two looks at the clock, and at whether to stop.
const PORTION: usize = 1024;

/// Texts on their way to vectors.
struct Job<'a> {
    embedder: &'a Embedder,
    texts: &'a [String],
    prompt: &'a str,
}

/// What all texts took together.
#[derive(Default)]
struct Taken {
    dimensions: usize,
    tokens: usize,
    truncated: usize,
    seconds: f64,
}

impl Job<'_> {
    /// Hands every text with its vector to `each`, in their order.
    fn run(&self, mut each: impl FnMut(Line<'_>) -> Result<(), Failure>) -> Result<Taken, Failure> {
        let (started, progress) = (Instant::now(), Progress::new());
        let mut meter = Meter::new("embed", 0, self.texts.len() as u64, "texts");
        let mut taken = Taken::default();
        let mut done = 0;
        for portion in self.texts.chunks(PORTION) {
            if interrupt::requested() {
                return Err(Failure::Stopped { message: format!("{done} of {} texts were done", self.texts.len()) });
            }
            let texts: Vec<&str> = portion.iter().map(String::as_str).collect();
            let found = self.embedder.embed(&texts, self.prompt).map_err(|error| error.in_portion(done))?;
            for ((text, embedding), index) in texts.iter().zip(found.rows()).zip(done..) {
                each(Line { index, text, embedding })?;
            }
            done += portion.len();
            taken.dimensions = found.dimensions;
            taken.tokens += found.tokens;
            taken.truncated += found.truncated.len();
            if self.texts.len() > PORTION {
                progress.event(&meter.step(done as u64, Vec::new()));
            }
        }
        drop(progress);
        taken.seconds = started.elapsed().as_secs_f64();
        if taken.truncated > 0 {
            tell(&cut_text(taken.truncated, self.texts.len(), self.embedder.max_tokens()));
        }
        Ok(taken)
    }

    /// All vectors, behind each other.
    fn collect(&self) -> Result<(Vec<f32>, Taken), Failure> {
        let mut values = Vec::new();
        let taken = self.run(|line| {
            values.extend_from_slice(line.embedding);
            Ok(())
        })?;
        Ok((values, taken))
    }

    fn print_lines(&self) -> Result<Answer, Failure> {
        self.run(|line| print_json(&line))?;
        Ok(Answer::Done)
    }

    fn write(&self, out: &Path, form: Form, json: Json) -> Result<Answer, Failure> {
        let taken = match form {
            Form::JsonLines => self.write_lines(out)?,
            Form::Npy => {
                let (values, taken) = self.collect()?;
                write_npy(out, &values, taken.dimensions)?;
                taken
            }
            Form::Safetensors => {
                let (values, taken) = self.collect()?;
                let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
                let shape = [self.texts.len(), taken.dimensions];
                let (name, element_type) = ("embeddings", ElementType::F32);
                let view = TensorView { name, element_type, shape: &shape, bytes: &bytes };
                write_safetensors(out, &[view], &Default::default())?;
                taken
            }
        };
        let Taken { dimensions, tokens, truncated, seconds } = taken;
        let (texts, per_second) = (self.texts.len(), self.texts.len() as f64 / seconds.max(f64::MIN_POSITIVE));
        if json.json {
            print_json(&json!({
                "texts": texts, "dimensions": dimensions, "tokens": tokens, "truncated": truncated,
                "seconds": seconds, "file": out,
            }))?;
        } else {
            print_line(&format!(
                "{} vectors of {dimensions} numbers in {}, from {} tokens in {}, {}",
                units::count(texts as u64),
                out.display(),
                units::count(tokens as u64),
                units::duration(seconds),
                units::rate(per_second, "texts"),
            ))?;
        }
        Ok(Answer::Done)
    }

    fn write_lines(&self, out: &Path) -> Result<Taken, Failure> {
        let failed = |source: io::Error| FileError::write(out, source);
        let mut file = AtomicFile::create(out)?;
        let taken = self.run(|line| {
            let mut text = serde_json::to_vec(&line).map_err(|error| Failure::without_hint(&error))?;
            text.push(b'\n');
            Ok(file.write_all(&text).map_err(failed)?)
        })?;
        file.commit()?;
        Ok(taken)
    }

    /// For a person: of one text the beginning of its vector, of several the cosine of each with each.
    fn compare(&self) -> Result<Answer, Failure> {
        let (values, taken) = self.collect()?;
        let rows: Vec<&[f32]> = values.chunks_exact(taken.dimensions).collect();
        if let [row] = rows[..] {
            let first: Vec<String> = row.iter().take(6).map(|number| format!("{number:.5}")).collect();
            let (numbers, tokens) = (taken.dimensions, taken.tokens);
            print_line(&format!("{} …  ({numbers} numbers from {tokens} tokens; --json has all)", first.join(" ")))?;
            return Ok(Answer::Done);
        }
        let mut table = String::new();
        for (row, text) in rows.iter().zip(self.texts) {
            let cosines: Vec<String> = rows.iter().map(|other| format!("{:7.4}", cosine(row, other))).collect();
            table.push_str(&format!("{}  {}\n", cosines.join(" "), for_stdout(&one_line(text))));
        }
        print(&table)?;
        Ok(Answer::Done)
    }
}

/// As much of a text as a line of a table has room for.
pub(super) fn one_line(text: &str) -> String {
    const SHOWN: usize = 72;
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() > SHOWN {
        line = line.chars().take(SHOWN).chain(['…']).collect();
    }
    line
}

/// That texts were longer than the model reads.
pub(super) fn cut_text(count: usize, of: usize, tokens: usize) -> String {
    let texts = if of == 1 { "the text is".into() } else { format!("{count} of {of} texts are") };
    format!("note: {texts} longer than the {tokens} tokens that the model reads; what is beyond was left out")
}
