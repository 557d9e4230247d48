//! What is told of tensors that did not get the type that they were meant to have.

use std::collections::{BTreeMap, BTreeSet};

use tsumugi_files::ElementType;
use tsumugi_models::NewTensor;

use crate::mix::Choice;
use crate::stream::Written;

/// Tensors that were meant to have one type and have one other.
#[derive(Default)]
struct Fallback {
    tensors: usize,
    weights: u64,
    /// Numbers of their rows.
    columns: BTreeSet<usize>,
}

/// For each pair of types a sentence, and one that says what they take, in bits of each weight of the file.
pub fn fallbacks<'a>(choices: impl Iterator<Item = (&'a Choice, &'a NewTensor)>, written: &Written) -> Vec<String> {
    let mut found: BTreeMap<(ElementType, ElementType), Fallback> = BTreeMap::new();
    for (choice, tensor) in choices.filter(|(choice, _)| choice.element_type != choice.wanted) {
        let fallback = found.entry((choice.wanted, choice.element_type)).or_default();
        fallback.tensors += 1;
        fallback.weights += tensor.shape().iter().product::<usize>() as u64;
        fallback.columns.extend(tensor.shape().last());
    }
    if found.is_empty() {
        return Vec::new();
    }
    let mut sentences: Vec<String> =
        found.iter().map(|(types, fallback)| sentence(*types, fallback, written)).collect();
    let more = |((wanted, given), fallback): (&(ElementType, ElementType), &Fallback)| {
        (bits(*given) - bits(*wanted)) * fallback.weights as f64
    };
    let more: f64 = found.iter().map(more).sum();
    let bits = written.bits_per_weight();
    let as_wanted = bits - more / written.weights.max(1) as f64;
    sentences.push(format!("so there are {bits:.2} bits per weight, where these types would take {as_wanted:.2}"));
    sentences
}

fn sentence((wanted, given): (ElementType, ElementType), fallback: &Fallback, written: &Written) -> String {
    let columns = fallback.columns.iter().map(usize::to_string).collect::<Vec<_>>().join(" or ");
    format!(
        "{} {} with {:.1} % of the weights: {} instead of {}, because rows of {columns} numbers are no whole number of blocks \
         of {}",
        fallback.tensors,
        if fallback.tensors == 1 { "tensor" } else { "tensors" },
        100.0 * fallback.weights as f64 / written.weights.max(1) as f64,
        given.name(),
        wanted.name(),
        wanted.block_elements(),
    )
}

/// Bits of an element.
fn bits(element_type: ElementType) -> f64 {
    8.0 * element_type.block_bytes() as f64 / element_type.block_elements() as f64
}
