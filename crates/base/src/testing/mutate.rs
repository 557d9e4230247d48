//! Inputs broken in thousands of small ways, the same ones at every run: a parser must refuse or read them, never
//! panic. (Coverage-guided fuzzing lives in `fuzz/`; this is the part that every test run does.)

use crate::rng::{Key, Stream};

/// One broken input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutation {
    /// Which one: `mutations(original, seed, n)` gives the same bytes for the same number.
    pub number: u64,
    /// The broken bytes.
    pub bytes: Vec<u8>,
}

/// `count` broken copies of `original`: one to four changes each, among them cuts, flipped bits, numbers at the edge
/// of their range, repeated and removed stretches, and swapped digits.
pub fn mutations(original: &[u8], seed: u64, count: u64) -> impl Iterator<Item = Mutation> {
    let key = Key::from_seed(seed);
    (0..count).map(move |number| {
        let mut stream = Stream::new(key.derive(&[number]));
        let mut bytes = original.to_vec();
        for _ in 0..=stream.below(4) {
            change(&mut bytes, &mut stream);
        }
        Mutation { number, bytes }
    })
}

/// Where to change: half of the time near the start, where headers are.
fn place(len: usize, stream: &mut Stream) -> usize {
    let range = if stream.below(2) == 0 { len.min(64) } else { len };
    stream.below(range.max(1) as u64) as usize
}

fn change(bytes: &mut Vec<u8>, stream: &mut Stream) {
    let at = place(bytes.len(), stream);
    let span = 1 + stream.below(16) as usize;
    let end = bytes.len().min(at + span);
    match stream.below(8) {
        0 => bytes.truncate(at),
        1 => bytes.extend((0..span).map(|_| stream.next_u64() as u8)),
        2 if at < end => {
            bytes.drain(at..end);
        }
        3 if at < end => {
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
        }
        4 => {
            const EDGES: [u64; 8] = [0, 1, 0x7f, u32::MAX as u64, i64::MAX as u64, u64::MAX, 1 << 32, u64::MAX - 7];
            let edge = EDGES[stream.below(8) as usize].to_le_bytes();
            for (byte, edge) in bytes[at.min(end)..].iter_mut().zip(edge) {
                *byte = edge;
            }
        }
        5 => {
            if let Some(digit) = bytes[at.min(end)..].iter_mut().find(|byte| byte.is_ascii_digit()) {
                *digit = b'0' + stream.below(10) as u8;
            }
        }
        6 if at < end => bytes[at] = stream.next_u64() as u8,
        _ if at < end => bytes[at] ^= 1 << stream.below(8),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_ones_at_every_run_and_nearly_all_broken() {
        let original = br#"{"a":[1,22,333]}"#;
        let first: Vec<Mutation> = mutations(original, 1, 500).collect();
        assert_eq!(first, mutations(original, 1, 500).collect::<Vec<_>>());
        assert!(first.iter().filter(|mutation| mutation.bytes != original).count() > 450);
        assert_eq!(mutations(b"", 1, 100).count(), 100);
    }
}
