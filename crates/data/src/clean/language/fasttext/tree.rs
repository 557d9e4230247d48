//! Huffman's tree over the labels, for hierarchical softmax.

use super::sigmoid;

/// A tree whose leaves are the labels.
pub struct Tree {
    /// The children of the inner nodes: leaves count from 0, inner nodes go on after these. The last is the root.
    children: Vec<[usize; 2]>,
    leaves: usize,
}

impl Tree {
    /// From how often each label was seen, most frequent first. At least one label.
    pub fn new(counts: &[i64]) -> Self {
        let leaves = counts.len();
        let mut weights = counts.to_vec();
        let mut children = Vec::with_capacity(leaves.saturating_sub(1));
        // The two lightest: leaves are taken from the back, inner nodes in the order in which they were made.
        let (mut leaf, mut inner) = (leaves, leaves);
        for _ in 1..leaves {
            let pair = [(); 2].map(|()| {
                let lightest_inner = weights.get(inner).copied().unwrap_or(INFINITE);
                if leaf > 0 && weights[leaf - 1] < lightest_inner {
                    leaf -= 1;
                    leaf
                } else {
                    inner += 1;
                    inner - 1
                }
            });
            weights.push(weights[pair[0]].saturating_add(weights[pair[1]]));
            children.push(pair);
        }
        Self { children, leaves }
    }

    /// The probability of each label, where `score` gives the product of an inner node's row, counted from 0, with the
    /// hidden vector.
    pub fn probabilities(&self, score: impl Fn(usize) -> f32) -> Vec<f32> {
        let mut probabilities = vec![1.0; self.leaves];
        let mut open = vec![(self.leaves + self.children.len() - 1, 1.0)];
        while let Some((node, probability)) = open.pop() {
            match node.checked_sub(self.leaves) {
                None => probabilities[node] = probability,
                Some(inner) => {
                    let right = sigmoid(score(inner));
                    let [first, second] = self.children[inner];
                    open.push((first, probability * (1.0 - right)));
                    open.push((second, probability * right));
                }
            }
        }
        probabilities
    }
}

/// What fastText takes for the weight of a node that is not there yet.
const INFINITE: i64 = 1_000_000_000_000_000;
