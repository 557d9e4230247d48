//! A decoder family: how its `config.json` reads and what its checkpoint calls each tensor.

use serde_json::{Map, Value};

use crate::DecoderSpec;
use crate::hf_config::{ConfigProblem, ConfigReader};

/// Which part of our parameter a checkpoint's tensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// All of it.
    Whole,
    /// All of it, with axes swapped (GPT-2's `Conv1D` is `[in, out]`).
    Transposed,
    /// The rows of queries in `qkv`.
    Query,
    /// The rows of keys in `qkv`.
    Key,
    /// The rows of values in `qkv`.
    Value,
    /// The first half of `gate_up`.
    Gate,
    /// The second half of `gate_up`.
    Up,
    /// All of `qkv`, group by group: the queries that share a key, the key, the value (BLOOM, Falcon).
    Groups,
}

/// A name of the checkpoint and ours; `{}` is the layer, `{e}` the expert of a tensor that holds one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rename {
    /// In the checkpoint.
    pub outside: &'static str,
    /// Ours.
    pub ours: &'static str,
    /// Which part.
    pub place: Place,
}

/// A row of a table of names.
pub const fn rename(outside: &'static str, ours: &'static str, place: Place) -> Rename {
    Rename { outside, ours, place }
}

/// Two tables of names as one.
pub(crate) const fn join<const N: usize>(first: &[Rename], then: &[Rename]) -> [Rename; N] {
    assert!(N == first.len() + then.len() && !first.is_empty());
    let mut joined = [first[0]; N];
    let mut index = 0;
    while index < N {
        joined[index] = if index < first.len() { first[index] } else { then[index - first.len()] };
        index += 1;
    }
    joined
}

/// To add one: write `<name>.rs`, then its two lines in `lib.rs`.
pub trait Family: Sync {
    /// Its `model_type` in `config.json`.
    fn name(&self) -> &'static str;
    /// One line, with the paper.
    fn about(&self) -> &'static str;
    /// The spec that a `config.json` describes.
    fn spec(&self, config: &ConfigReader<'_>) -> Result<DecoderSpec, ConfigProblem>;
    /// The keys of `config.json` for a spec; what the family has no word for is left out.
    fn keys(&self, spec: &DecoderSpec) -> Map<String, Value>;
    /// The `config.json` of a spec; an error says what the family has no word for.
    fn config(&self, spec: &DecoderSpec) -> Result<Value, String> {
        let keys = self.keys(spec);
        // Dropout is of the training, not of the model: it is written, but not read.
        let read = self.spec(&ConfigReader::new(&keys)).map(|read| DecoderSpec { dropout: spec.dropout, ..read });
        match read {
            Ok(read) if read == *spec => Ok(Value::Object(keys)),
            Ok(read) => Err(first_difference(spec, &read)),
            Err(ConfigProblem(problem)) => Err(problem),
        }
    }
    /// Names; those whose parameter the spec does not have are left out.
    fn names(&self) -> &'static [Rename];
    /// A prefix that some checkpoints leave out.
    fn optional_prefix(&self) -> &'static str {
        ""
    }
    /// Tensors that are no parameters: masks and tables that old versions saved.
    fn ignored(&self, name: &str) -> bool {
        let _ = name;
        false
    }
    /// A tiny spec for tests.
    fn tiny(&self) -> DecoderSpec;
}

/// The first field of `spec` that `other` has not: its name and its value, as the spec prints itself.
pub(crate) fn first_difference(spec: &DecoderSpec, other: &DecoderSpec) -> String {
    let (fields, others) = (fields(spec), fields(other));
    let differs = fields.into_iter().zip(others).find(|(field, other)| field != other);
    differs.map_or_else(String::new, |(field, _)| field.trim_end_matches(',').to_owned())
}

/// A line for each field, whatever the lines that its value prints.
fn fields(spec: &DecoderSpec) -> Vec<String> {
    let mut fields: Vec<String> = Vec::new();
    for line in format!("{spec:#?}").lines() {
        let begins =
            line.strip_prefix("    ").is_some_and(|rest| rest.starts_with(|first: char| first.is_alphabetic()));
        match fields.last_mut() {
            Some(field) if !begins => field.push_str(line.trim()),
            _ => fields.push(line.trim().to_owned()),
        }
    }
    fields
}

/// The family of this `model_type`.
pub fn find(model_type: &str) -> Option<&'static dyn Family> {
    crate::ALL.iter().copied().find(|family| family.name() == model_type)
}
