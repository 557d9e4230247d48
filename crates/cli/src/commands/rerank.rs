//! `tsumugi rerank`: passages in the order in which they answer a query.

use clap::Args;
use serde_json::{Value, json};
use tsumugi_base::progress::{Meter, Observer};
use tsumugi_infer::text::{CrossEncoder, Scores};

use super::Command;
use super::embed::{cut_text, one_line};
use crate::flags::{Json, Reading, Trust, positive};
use crate::output::{Answer, Failure, for_stdout, print, print_json, tell};
use crate::progress::Progress;
use crate::texts::Texts;
use crate::{interrupt, model};

/// Order passages by how well they answer a query
///
/// A cross-encoder reads the query with each passage and gives a score, the best first. It is slower than comparing vectors
/// and knows better: let `embed` find a hundred passages, and this the best of them.
#[derive(Debug, Args)]
pub struct Rerank {
    /// The folder of a cross-encoder, or the name of a model that was pulled
    model: String,
    /// The query
    query: String,
    #[command(flatten)]
    passages: Texts,
    /// Only the N best [default: all]
    #[arg(long, value_name = "N", value_parser = positive)]
    top: Option<usize>,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    json: Json,
}

impl Command for Rerank {
    const NAME: &'static str = "rerank";
    const EXAMPLES: &'static str = "
        tsumugi rerank hf:cross-encoder/ms-marco-MiniLM-L6-v2 'What is the capital of France?' 'Paris.' 'Bananas are rich in potassium.'
        tsumugi rerank hf:BAAI/bge-reranker-base 'solar eclipse' --file passages.txt --top 3 --json";

    fn run(self) -> Result<Answer, Failure> {
        let passages = self.passages.read()?;
        let files = model::admit(&self.model, &self.trust)?;
        let model = CrossEncoder::load(&files, self.reading.threads(), self.reading.precision(&files)?)?;
        interrupt::listen("stopping")?;
        let texts: Vec<&str> = passages.iter().map(String::as_str).collect();
        let scores = self.score(&model, &texts)?;
        if !scores.truncated.is_empty() {
            tell(&cut_text(scores.truncated.len(), texts.len(), model.max_tokens()));
        }
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by(|&a, &b| scores.values[b].total_cmp(&scores.values[a]));
        order.truncate(self.top.unwrap_or(texts.len()));
        if self.json.json {
            let result = |&index: &usize| json!({"index": index, "score": scores.values[index], "text": texts[index]});
            let results: Vec<Value> = order.iter().map(result).collect();
            let (tokens, truncated) = (scores.tokens, scores.truncated.len());
            print_json(&json!({
                "query": self.query, "results": results, "tokens": tokens, "truncated": truncated,
            }))?;
        } else {
            let line =
                |&index: &usize| format!("{:9.4}  {}\n", scores.values[index], for_stdout(&one_line(texts[index])));
            print(&order.iter().map(line).collect::<String>())?;
        }
        Ok(Answer::Done)
    }
}

/// Passages between two looks at the clock, and at whether to stop.
const PORTION: usize = 256;

impl Rerank {
    fn score(&self, model: &CrossEncoder, passages: &[&str]) -> Result<Scores, Failure> {
        let progress = Progress::new();
        let mut meter = Meter::new("rerank", 0, passages.len() as u64, "passages");
        let mut all = Scores { values: Vec::new(), tokens: 0, truncated: Vec::new() };
        for portion in passages.chunks(PORTION) {
            let done = all.values.len();
            if interrupt::requested() {
                let message = format!("{done} of {} passages were read", passages.len());
                return Err(Failure::Stopped { message });
            }
            let scores = model.score(&self.query, portion).map_err(|error| error.in_portion(done))?;
            all.values.extend(scores.values);
            all.tokens += scores.tokens;
            all.truncated.extend(scores.truncated.into_iter().map(|index| done + index));
            if passages.len() > PORTION {
                progress.event(&meter.step(all.values.len() as u64, Vec::new()));
            }
        }
        Ok(all)
    }
}
