//! `tsumugi tokenizer encode`: text to ids.

use std::ops::Range;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tsumugi_tokenizer::{RowRules, Side, TokenId, Tokenizer, pad, truncate};

use super::inspect::shown;
use crate::commands::Command;
use crate::flags::{Json, Trust};
use crate::model;
use crate::output::{Answer, Failure, print, print_json, print_line};

/// Turn text into token ids
///
/// Control tokens in the text stay text. Nothing is put before it.
#[derive(Debug, Args)]
pub struct Encode {
    /// A model folder, or a vocabulary: tokenizer.json, tokenizer.model, *.tiktoken, tekken.json, *.gguf
    model: String,
    /// The text
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    text: Option<String>,
    /// Take the text from this file instead
    #[arg(long, value_name = "TEXT")]
    file: Option<PathBuf>,
    /// Every line is a text of its own, and a row of the answer
    #[arg(long)]
    lines: bool,
    /// Keep only N tokens of each text; `stored`: as many as the files of the model say
    #[arg(long, value_name = "N|stored", value_parser = Truncation::parse)]
    truncate: Option<Truncation>,
    /// Make all texts equally long with padding tokens, and that length a multiple of N [default: what the files of the model
    /// say, or 1]; with --json a mask is 1 where a token is of the text
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, value_parser = clap::value_parser!(u32).range(1..=RowRules::LENGTH_MAX as i64))]
    pad: Option<Option<u32>>,
    /// The padding token or its id [default: what the files of the model name]
    #[arg(long, value_name = "TOKEN|ID", requires = "pad")]
    pad_token: Option<String>,
    /// Where tokens are taken away and padding is put [default: where the files of the model say, or right]
    #[arg(long, value_enum, value_name = "SIDE")]
    side: Option<End>,
    /// Say also which bytes of the text each token stands for (with --json)
    #[arg(long, requires = "json")]
    offsets: bool,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    json: Json,
}

impl Command for Encode {
    const NAME: &'static str = "encode";
    const EXAMPLES: &'static str = "
        tsumugi tokenizer encode runs/tokenizer 'To be, or not to be'
        tsumugi tokenizer encode runs/tokenizer --file input.txt --json
        tsumugi tokenizer encode runs/tokenizer --file input.txt --lines --truncate 512 --pad=8 --json";

    fn run(self) -> Result<Answer, Failure> {
        let (tokenizer, rules) = model::tokenizer_with_rules(&self.model, &self.trust)?;
        let rules = self.asked(&tokenizer, rules)?;
        let text = match &self.file {
            Some(path) => tsumugi_data::read_text(path)?,
            None => self.text.clone().unwrap_or_default(),
        };
        let texts: Vec<&str> = if self.lines { text.lines().collect() } else { vec![&text] };
        let rows =
            texts.iter().map(|text| self.row(&tokenizer, text, &rules)).collect::<Result<Vec<Row>, Failure>>()?;
        let longest = rows.iter().map(|row| row.ids.len()).max().unwrap_or(0).max(rules.length_min.unwrap_or(0));
        let length = longest.next_multiple_of(rules.multiple.unwrap_or(1));
        // One filled row at a time: short texts beside a long one would take much more memory than all of them.
        let rows = rows.into_iter().map(|row| match rules.padding {
            Some(padding) => row.padded(padding, length, rules.padding_side.unwrap_or(Side::Right)),
            None => row,
        });
        match self.json.json {
            true => self.print_rows(rows.map(|row| row.to_json(&tokenizer)))?,
            false => rows.map(|row| row.to_line()).try_for_each(|line| print_line(&line))?,
        }
        Ok(Answer::Done)
    }
}

/// How many tokens of a text are kept.
#[derive(Debug, Clone, Copy)]
enum Truncation {
    To(usize),
    Stored,
}

impl Truncation {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "stored" => Ok(Self::Stored),
            _ => text.parse().map(Self::To).map_err(|_| "neither a number nor `stored`".into()),
        }
    }
}

/// An end of a row.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum End {
    /// Before the first token
    Left,
    /// Behind the last
    Right,
}

impl From<End> for Side {
    fn from(end: End) -> Self {
        match end {
            End::Left => Self::Left,
            End::Right => Self::Right,
        }
    }
}

/// A text as tokens.
struct Row {
    ids: Vec<TokenId>,
    /// Of each token its bytes; none of padding.
    offsets: Option<Vec<Range<usize>>>,
    /// Where tokens are of the text.
    mask: Option<Vec<bool>>,
}

impl Row {
    fn padded(mut self, padding: TokenId, length: usize, side: Side) -> Self {
        let mask = pad(&mut self.ids, padding, length, side);
        self.offsets = self.offsets.map(|offsets| {
            let mut of_text = offsets.into_iter();
            mask.iter().map(|&is_text| is_text.then(|| of_text.next()).flatten().unwrap_or(0..0)).collect()
        });
        self.mask = Some(mask);
        self
    }

    fn to_line(&self) -> String {
        self.ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
    }

    fn to_json(&self, tokenizer: &Tokenizer) -> Value {
        let tokens: Vec<String> = self.ids.iter().map(|&id| shown(&tokenizer.token_bytes(id))).collect();
        let mut answer = json!({"ids": self.ids, "tokens": tokens});
        if let Some(offsets) = &self.offsets {
            answer["offsets"] = offsets.iter().map(|at| json!([at.start, at.end])).collect();
        }
        if let Some(mask) = &self.mask {
            answer["mask"] = mask.iter().map(|&of_text| json!(u8::from(of_text))).collect();
        }
        answer
    }
}

impl Encode {
    /// What is to be done with rows: by the flags, and where these leave it open by the files. What was not asked for is none.
    fn asked(&self, tokenizer: &Tokenizer, stored: RowRules) -> Result<RowRules, Failure> {
        let mut rules = RowRules::default();
        let side = self.side.map(Side::from);
        if let Some(truncation) = self.truncate {
            rules.truncation_side = side.or(stored.truncation_side);
            rules.length_max = match truncation {
                Truncation::To(length) => Some(length),
                Truncation::Stored => Some(stored.length_max.ok_or_else(|| {
                    Failure::new(
                        format!("{} does not say how long a text may be", self.model),
                        "give the length: `--truncate N`",
                    )
                })?),
            };
        }
        if let Some(multiple) = self.pad {
            rules.padding_side = side.or(stored.padding_side);
            rules.padding = Some(self.padding(tokenizer, stored.padding)?);
            match multiple {
                Some(multiple) => rules.multiple = Some(multiple as usize),
                None => (rules.multiple, rules.length_min) = (stored.multiple, stored.length_min),
            }
        }
        Ok(rules)
    }

    /// The token that fills rows.
    fn padding(&self, tokenizer: &Tokenizer, stored: Option<TokenId>) -> Result<TokenId, Failure> {
        let Some(name) = &self.pad_token else {
            return stored.ok_or_else(|| {
                let hint = match tokenizer.special_tokens().iter().find(|token| token.control) {
                    Some(token) => {
                        format!("name one, as `--pad-token '{}'`: it is masked, so any will do", token.content)
                    }
                    None => "give the id of one, as `--pad-token 0`: it is masked, so any will do".into(),
                };
                Failure::new(format!("{} names no padding token", self.model), hint)
            });
        };
        let size = tokenizer.vocabulary_size();
        let id = name.parse().ok().filter(|&id: &TokenId| (id as usize) < size);
        tokenizer.special(name).or(id).or_else(|| tokenizer.token(name)).ok_or_else(|| {
            Failure::new(
                format!("`--pad-token {name}` is no token of {}", self.model),
                format!("give a token of it or an id below {size}; `tsumugi tokenizer inspect` lists control tokens"),
            )
        })
    }

    fn row(&self, tokenizer: &Tokenizer, text: &str, rules: &RowRules) -> Result<Row, Failure> {
        let length = rules.length_max.unwrap_or(usize::MAX);
        let side = rules.truncation_side.unwrap_or(Side::Right);
        let (mut ids, mut offsets) = match self.offsets {
            true => {
                let (ids, offsets) = tokenizer.encode_with_offsets(text)?.into_iter().unzip();
                (ids, Some(offsets))
            }
            false => (tokenizer.encode(text), None),
        };
        truncate(&mut ids, length, side);
        if let Some(offsets) = &mut offsets {
            truncate(offsets, length, side);
        }
        Ok(Row { ids, offsets, mask: None })
    }

    /// One JSON object, written row by row.
    fn print_rows(&self, mut rows: impl Iterator<Item = Value>) -> Result<(), Failure> {
        if !self.lines {
            return rows.try_for_each(|row| print_json(&row));
        }
        print("{\"rows\":[")?;
        for (at, row) in rows.enumerate() {
            let comma = if at == 0 { "" } else { "," };
            print(&format!("{comma}{row}"))?;
        }
        print_line("]}")
    }
}
