//! Pre-training batches: pure functions of the step, right targets, every window once per epoch.

use std::collections::BTreeMap;
use std::sync::Arc;

use tsumugi_data::{Batch, BatchSource, Documents, PretrainConfig, PretrainLoader, TokenShards, WindowOrder};

fn shards(tokens: usize, documents: &[u64]) -> Arc<TokenShards> {
    Arc::new(TokenShards::from_tokens((0..tokens as u32).collect(), documents.to_vec(), tokens, tokens as u64))
}

fn config(order: WindowOrder) -> PretrainConfig {
    PretrainConfig { context: 8, batch: 3, micro_batches: 2, order, documents: Documents::Joined, seed: 7 }
}

/// What every batch must satisfy.
pub fn check_batch(batch: &Batch, context: usize) {
    let lengths = [batch.tokens.len(), batch.targets.len(), batch.weights.len(), batch.positions.len()];
    assert_eq!(lengths, [batch.rows; 4]);
    assert_eq!(batch.rows % context, 0);
    let mut next = 0;
    for segment in &batch.segments {
        assert_eq!(segment.start, next, "segments cover all rows in order");
        assert!(segment.len > 0);
        assert_eq!(segment.start / context, (segment.start + segment.len - 1) / context, "within one sequence");
        let positions: Vec<u32> = (0..segment.len as u32).collect();
        assert_eq!(batch.positions[segment.rows()], positions);
        for row in segment.rows() {
            let last = row + 1 == segment.start + segment.len;
            if batch.weights[row] > 0.0 && !last {
                assert_eq!(batch.targets[row], batch.tokens[row + 1], "targets are shifted by one");
            }
            assert!(batch.weights[row] == 1.0 || batch.targets[row] == 0);
        }
        next += segment.len;
    }
    assert_eq!(next, batch.rows);
}

#[test]
fn batches_are_pure_and_shifted() {
    for order in [WindowOrder::Random, WindowOrder::Shuffled] {
        let loader = PretrainLoader::new(shards(100, &[0]), config(order)).expect("it is long enough");
        let same = PretrainLoader::new(shards(100, &[0]), config(order)).expect("it is long enough");
        for (step, micro) in [(0, 0), (0, 1), (1, 0), (977, 1), (u64::from(u32::MAX), 0)] {
            let batch = loader.batch(step, micro);
            check_batch(&batch, 8);
            assert_eq!(batch.rows, 24);
            assert_eq!(batch.trained_rows(), 24);
            assert_eq!(batch, same.batch(step, micro));
            assert!(batch.targets.iter().zip(&batch.tokens).all(|(target, token)| *target == token + 1));
        }
        assert_ne!(loader.batch(0, 0), loader.batch(0, 1));
        assert_ne!(loader.batch(0, 0), loader.batch(1, 0));
        let other = PretrainLoader::new(shards(100, &[0]), PretrainConfig { seed: 8, ..config(order) });
        assert_ne!(loader.batch(0, 0), other.expect("it is long enough").batch(0, 0));
    }
}

#[test]
fn an_epoch_sees_each_window_once_and_the_next_epoch_cuts_elsewhere() {
    let one = PretrainConfig { batch: 1, micro_batches: 1, ..config(WindowOrder::Shuffled) };
    let loader = PretrainLoader::new(shards(1000, &[0]), one).expect("it is long enough");
    let windows = loader.sequences();
    assert_eq!(windows, 123, "999 targets hold 124 windows of 8; one is left for the offset");
    let starts = |epoch: u64| -> Vec<u32> {
        (epoch * windows..(epoch + 1) * windows).map(|step| loader.batch(step, 0).tokens[0]).collect()
    };
    let mut offsets = Vec::new();
    for epoch in 0..6 {
        let mut sorted = starts(epoch);
        assert!(!sorted.is_sorted(), "epoch {epoch} is shuffled");
        sorted.sort_unstable();
        assert!(sorted.windows(2).all(|pair| pair[1] == pair[0] + 8), "epoch {epoch} is consecutive");
        offsets.push(sorted[0]);
    }
    offsets.sort_unstable();
    offsets.dedup();
    assert!(offsets.len() > 1, "offsets vary");
    assert_ne!(starts(0), starts(1));
}

#[test]
fn random_windows_reach_both_ends() {
    let small = PretrainConfig { batch: 64, ..config(WindowOrder::Random) };
    let loader = PretrainLoader::new(shards(12, &[0]), small).expect("it is long enough");
    let mut starts: BTreeMap<u32, usize> = BTreeMap::new();
    for step in 0..20 {
        for window in loader.batch(step, 0).tokens.chunks(8) {
            *starts.entry(window[0]).or_default() += 1;
        }
    }
    assert_eq!(starts.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(starts.values().all(|&count| count > 200), "{starts:?}");
}

#[test]
fn a_text_of_exactly_one_window_is_enough() {
    for order in [WindowOrder::Random, WindowOrder::Shuffled] {
        let loader = PretrainLoader::new(shards(9, &[0]), config(order)).expect("it is long enough");
        assert_eq!(loader.batch(5, 1).tokens[..8], [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}

#[test]
fn separate_documents_are_segments_and_their_first_tokens_no_targets() {
    for documents in [&[0u64, 5, 6, 6, 30, 31, 99][..], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], &[0]] {
        let separate = PretrainConfig { documents: Documents::Separate, ..config(WindowOrder::Random) };
        let loader = PretrainLoader::new(shards(100, documents), separate).expect("it is long enough");
        for step in 0..200 {
            let batch = loader.batch(step, 0);
            check_batch(&batch, 8);
            for segment in &batch.segments {
                for row in segment.rows() {
                    let token = u64::from(batch.tokens[row]);
                    assert!(row == segment.start || !documents.contains(&token), "a document begins a segment");
                    let trained = !documents.contains(&(token + 1));
                    assert_eq!(batch.weights[row] > 0.0, trained, "token {token}");
                }
            }
        }
    }
}
