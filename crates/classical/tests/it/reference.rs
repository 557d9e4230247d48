//! Modified Kneser–Ney straight from the formulas: maps, float64, no cleverness. What is fast is tested against it.

use std::collections::{BTreeMap, BTreeSet};

use crate::Ngrams;

type Gram = Vec<usize>;

const UNKNOWN: usize = 0;
const BEGIN: usize = 1;
const END: usize = 2;

/// The model of sentences of words; `prune` has a threshold for each order. The discounts are those of the formula, or 0.5,
/// 1 and 1.5.
pub fn reference(sentences: &[Vec<String>], prune: &[u64]) -> Ngrams {
    let order = prune.len();
    let mut words = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
    let mut plain: BTreeMap<Gram, u64> = BTreeMap::from([(vec![UNKNOWN], 0), (vec![BEGIN], 0)]);
    let mut last = Gram::new(); // the greatest longest n-gram in suffix order
    for sentence in sentences {
        let mut ids = vec![BEGIN];
        for word in sentence {
            let id = words.iter().position(|known| known == word).unwrap_or(words.len());
            if id == words.len() {
                words.push(word.clone());
            }
            ids.push(id);
        }
        ids.push(END);
        for end in 1..ids.len() {
            for begin in (end + 1).saturating_sub(order)..=end {
                *plain.entry(ids[begin..=end].to_vec()).or_default() += 1;
            }
            let longest = &ids[(end + 1).saturating_sub(order)..=end];
            if longest.iter().rev().gt(last.iter().rev()) {
                last = longest.to_vec();
            }
        }
    }
    // Kneser and Ney: how many different words stand before it, where something can.
    let adjusted: BTreeMap<Gram, u64> = plain
        .iter()
        .map(|(gram, &count)| {
            let before: BTreeSet<usize> = plain
                .keys()
                .filter(|longer| longer.len() == gram.len() + 1 && longer[1..] == gram[..])
                .map(|longer| longer[0])
                .collect();
            let is_plain = gram.len() == order || gram[0] == BEGIN;
            (gram.clone(), if is_plain { count } else { before.len() as u64 })
        })
        .collect();
    let is_pruned = |gram: &Gram| plain[gram] <= prune[gram.len() - 1] && (gram.len() > 1 || gram[0] > END);
    let discounts: Vec<[f64; 4]> = (1..=order).map(|n| discounts(n, order, &plain, &adjusted, &last)).collect();
    let pruned: BTreeSet<Gram> = plain.keys().filter(|gram| is_pruned(gram)).cloned().collect();
    let unigrams = plain.keys().filter(|gram| gram.len() == 1 && !pruned.contains(*gram)).count();
    let uniform = 1.0 / (unigrams - 1) as f64;
    let model = Model { order, plain, adjusted, discounts, uniform, pruned };
    let name = |gram: &Gram| gram.iter().map(|&id| words[id].as_str()).collect::<Vec<_>>().join(" ");
    let kept = model.plain.keys().filter(|gram| !model.pruned.contains(*gram));
    let backoff = |gram: &Gram| if gram.len() < order { model.gamma(gram).log10() } else { 0.0 };
    kept.map(|gram| (name(gram), (model.probability(gram).log10().min(0.0), backoff(gram)))).collect()
}

/// Chen and Goodman 1998, equation 26. lmplz takes the last n-gram of each lower order with its plain count.
fn discounts(
    n: usize,
    order: usize,
    plain: &BTreeMap<Gram, u64>,
    adjusted: &BTreeMap<Gram, u64>,
    last: &Gram,
) -> [f64; 4] {
    let mut counts = [0.0; 5];
    for (gram, &count) in adjusted.iter().filter(|(gram, _)| gram.len() == n) {
        let count = if n < order && last.ends_with(gram) { plain[gram] } else { count };
        if let Some(counts) = counts.get_mut(count as usize) {
            *counts += 1.0;
        }
    }
    let y = counts[1] / (counts[1] + 2.0 * counts[2]);
    let discount = |j: usize| j as f64 - (j + 1) as f64 * y * counts[j + 1] / counts[j];
    let found = [0.0, discount(1), discount(2), discount(3)];
    let is_good = (1..=3).all(|j| counts[j] > 0.0 && (0.0..=j as f64).contains(&found[j]));
    if is_good { found } else { [0.0, 0.5, 1.0, 1.5] }
}

struct Model {
    order: usize,
    plain: BTreeMap<Gram, u64>,
    adjusted: BTreeMap<Gram, u64>,
    /// By order, then by count.
    discounts: Vec<[f64; 4]>,
    uniform: f64,
    pruned: BTreeSet<Gram>,
}

impl Model {
    /// The n-grams that continue a context, with their adjusted counts.
    fn continuations<'a>(&'a self, context: &'a [usize]) -> impl Iterator<Item = (&'a Gram, u64)> {
        let longer = self.adjusted.iter().filter(|(gram, _)| gram.len() == context.len() + 1);
        longer.filter(|(gram, _)| gram.starts_with(context)).map(|(gram, &count)| (gram, count))
    }

    fn discount(&self, n: usize, count: u64) -> f64 {
        self.discounts[n - 1][count.min(3) as usize]
    }

    fn sum(&self, context: &[usize]) -> f64 {
        self.continuations(context).map(|(_, count)| count as f64).sum()
    }

    /// What a context leaves to the lower order.
    fn gamma(&self, context: &[usize]) -> f64 {
        let left = |(gram, count): (&Gram, u64)| {
            if self.pruned.contains(gram) { count as f64 } else { self.discount(gram.len(), count) }
        };
        let sum = self.sum(context);
        if sum == 0.0 { 1.0 } else { self.continuations(context).map(left).sum::<f64>() / sum }
    }

    fn probability(&self, gram: &[usize]) -> f64 {
        assert!(gram.len() <= self.order);
        let Some((_, context)) = gram.split_last() else { return self.uniform };
        if gram == [BEGIN] {
            return 1.0;
        }
        let count = self.adjusted[gram];
        (count as f64 - self.discount(gram.len(), count)) / self.sum(context)
            + self.gamma(context) * self.probability(&gram[1..])
    }
}
