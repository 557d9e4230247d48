//! BPE-dropout: the same text in other tokens each time, which teaches a model what its words are made of (Provilkov,
//! Emelianenko and Voita 2020, arXiv 1910.13267).

use std::collections::HashMap;

use serde_json::Value;
use tsumugi_base::rng::{Key, Stream};

use super::split::{SplitScratch, border};
use super::{FastHash, Pair, Split};
use crate::{TokenId, Tokenizer, TokenizerError, bpe};

/// Encodes with merges left out by chance. Made once per tokenizer; the rate is given with each text.
#[derive(Debug)]
pub struct BpeDropout {
    split: Split,
    bytes: [TokenId; 256],
    /// The rank of a merge, and the token that it makes.
    merges: HashMap<Pair, (u32, TokenId), FastHash>,
}

impl BpeDropout {
    /// For a byte-level BPE vocabulary whose words are cut by one of our [`Split`]s; others are refused.
    pub fn new(tokenizer: &Tokenizer) -> Result<Self, TokenizerError> {
        let refuse = |reason: &str| TokenizerError::Unsupported { reason: format!("dropout needs {reason}") };
        let file: Value = serde_json::from_str(&tokenizer.to_json())
            .map_err(|error| TokenizerError::Malformed { reason: error.to_string() })?;
        let split = Split::ALL.into_iter().find(|split| file.get("pre_tokenizer") == Some(&split.pre_tokenizer()));
        let split = split.ok_or_else(|| refuse("words that are cut by one of our own rules"))?;
        let ids = file.pointer("/model/vocab").and_then(Value::as_object);
        let (Some(ids), Some(listed)) = (ids, file.pointer("/model/merges").and_then(Value::as_array)) else {
            return Err(refuse("a vocabulary of merges"));
        };
        let id = |token: &str| ids.get(token).and_then(Value::as_u64).map(|id| id as TokenId);
        let mut bytes = [0; 256];
        for (byte, place) in (0..=255).zip(&mut bytes) {
            *place = id(&bpe::byte_to_char(byte).to_string()).ok_or_else(|| refuse("a token for every byte"))?;
        }
        let mut merges = HashMap::with_capacity_and_hasher(listed.len(), FastHash::default());
        for (rank, merge) in (0..).zip(listed) {
            let parts = (merge.get(0).and_then(Value::as_str), merge.get(1).and_then(Value::as_str));
            let (Some(left), Some(right)) = parts else { return Err(refuse("merges as pairs of tokens")) };
            if let (Some(a), Some(b), Some(whole)) = (id(left), id(right), id(&format!("{left}{right}"))) {
                merges.entry((a, b)).or_insert((rank, whole));
            }
        }
        Ok(Self { split, bytes, merges })
    }

    /// The ids of `text`, each merge left out with the chance `rate` each time that it could be made: 0 is the plain
    /// encoding, 1 gives bytes. The same key gives the same ids. Control tokens in the text stay text.
    pub fn encode(&self, text: &str, rate: f32, key: Key) -> Vec<TokenId> {
        let mut random = Stream::new(key);
        let mut ids = Vec::with_capacity(text.len() / 2);
        let mut scratch = SplitScratch::default();
        let mut rest = text;
        while !rest.is_empty() {
            let end = (self.split != Split::None).then(|| border(rest, PIECE_BYTES)).flatten().unwrap_or(rest.len());
            let (piece, behind) = rest.split_at(end);
            self.split.for_each_word(piece, &mut scratch, |word| {
                for part in word.as_bytes().chunks(WORD_BYTES_MAX) {
                    self.encode_word(part, rate, &mut random, &mut ids);
                }
            });
            rest = behind;
        }
        ids
    }

    /// The paper's algorithm 1: of the merges that are not dropped in this round the best is made.
    fn encode_word(&self, word: &[u8], rate: f32, random: &mut Stream, ids: &mut Vec<TokenId>) {
        let mut tokens: Vec<TokenId> = word.iter().map(|&byte| self.bytes[usize::from(byte)]).collect();
        loop {
            let candidates = tokens.windows(2).enumerate().filter_map(|(at, pair)| {
                let &(rank, whole) = self.merges.get(&(pair[0], pair[1]))?;
                (random.next_f32() >= rate).then_some((rank, at, whole))
            });
            let Some((_, at, whole)) = candidates.min() else { break };
            tokens.splice(at..at + 2, [whole]);
        }
        ids.extend(tokens);
    }
}

/// Longer words are encoded in parts: the work grows with the square of a word's length.
const WORD_BYTES_MAX: usize = 2048;

/// Text that is cut into words at once.
const PIECE_BYTES: usize = 1 << 20;
