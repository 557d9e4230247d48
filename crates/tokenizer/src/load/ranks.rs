//! Vocabularies in the form of OpenAI's tiktoken: tokens as bytes, each with a rank. Of two neighbours whose bytes together
//! are a token, those of the lowest rank merge first; a word that is a token as a whole is that token.

use std::collections::HashMap;

use serde_json::Value;

use super::byte_level::{ByteLevel, Texts};
use crate::bpe::{Merge, byte_to_char};
use crate::{SpecialToken, TokenId, Tokenizer, TokenizerError};

/// What a file of ranks describes.
pub(super) struct Ranks {
    /// Its name in messages.
    pub format: &'static str,
    /// The bytes of each token, with its rank; tokens of the lowest rank first.
    pub tokens: Vec<(Vec<u8>, TokenId)>,
    /// The id of a token is its rank and this.
    pub first_id: TokenId,
    /// How text is cut into words.
    pub pre_tokenizer: Value,
    pub special_tokens: Vec<SpecialToken>,
    /// The special token before a text.
    pub begins_with: Option<TokenId>,
}

/// The squares of all tokens' lengths together, beyond which finding their merges would take minutes. Published
/// vocabularies stay below 2^25.
const SQUARES_MAX: u64 = 1 << 29;

impl Ranks {
    /// The tokenizer of these ranks.
    pub fn into_tokenizer(self) -> Result<Tokenizer, TokenizerError> {
        self.check()?;
        let rank_of = self.rank_of()?;
        let merge = |(token, rank): &(Vec<u8>, TokenId)| {
            let (left, right) = token.split_at(last_cut(token, *rank, &rank_of)?);
            let id = |token: &[u8]| rank_of.get(token).map(|rank| rank + self.first_id);
            Some(Merge { left: id(left)?, right: id(right)?, whole: rank + self.first_id })
        };
        let mut tokens = Texts::default();
        for (token, rank) in &self.tokens {
            let token: String = token.iter().copied().map(byte_to_char).collect();
            tokens.push(&token, rank + self.first_id);
        }
        ByteLevel {
            merges: self.tokens.iter().filter_map(merge).collect(),
            tokens,
            // Tokens that no merge leads to are words as a whole.
            whole_words: true,
            pre_tokenizer: self.pre_tokenizer,
            special_tokens: self.special_tokens,
            begins_with: self.begins_with,
        }
        .into_tokenizer()
    }

    /// The rank of each token.
    fn rank_of(&self) -> Result<HashMap<&[u8], TokenId>, TokenizerError> {
        let mut ranks = HashMap::with_capacity(self.tokens.len());
        for (token, rank) in &self.tokens {
            if let Some(before) = ranks.insert(&token[..], *rank) {
                let reason = format!("the tokens of ranks {before} and {rank} are the same");
                return Err(TokenizerError::Vocabulary { format: self.format, reason });
            }
        }
        Ok(ranks)
    }

    fn check(&self) -> Result<(), TokenizerError> {
        let failed = |reason: String| Err(TokenizerError::Vocabulary { format: self.format, reason });
        if let Some(pair) = self.tokens.windows(2).find(|pair| pair[0].1 == pair[1].1) {
            return failed(format!("rank {} is there twice", pair[0].1));
        }
        let mut single = [false; 256];
        let mut squares: u64 = 0;
        for (token, _) in &self.tokens {
            if let [byte] = token[..] {
                single[usize::from(byte)] = true;
            }
            squares += (token.len() as u64).pow(2);
        }
        if let Some(byte) = single.iter().position(|there| !there) {
            return failed(format!(
                "it has no token for the byte {byte:#04x}, so that not every text could be encoded"
            ));
        }
        if squares > SQUARES_MAX {
            return failed("its tokens are longer than those of any published vocabulary".into());
        }
        Ok(())
    }
}

/// Where the second of the two parts begins that `token` is merged from: merges with ranks below its own leave two. None
/// for a single byte, and for a token that they leave in more parts. Only this one pair ever makes the token in a text,
/// too: there the parts of a token have met only each other, and in the same order.
fn last_cut(token: &[u8], rank: TokenId, rank_of: &HashMap<&[u8], TokenId>) -> Option<usize> {
    let mut starts: Vec<usize> = (0..=token.len()).collect();
    let rank_at = |starts: &[usize], at: usize| match starts.get(at + 2) {
        Some(&end) => rank_of.get(&token[starts[at]..end]).copied().filter(|&merged| merged < rank),
        None => None,
    };
    let mut ranks: Vec<Option<TokenId>> = (0..token.len()).map(|at| rank_at(&starts, at)).collect();
    while starts.len() > 3 {
        let (_, at) = ranks.iter().enumerate().filter_map(|(at, rank)| Some(((*rank)?, at))).min()?;
        starts.remove(at + 1);
        ranks.remove(at + 1);
        ranks[at] = rank_at(&starts, at);
        if at > 0 {
            ranks[at - 1] = rank_at(&starts, at - 1);
        }
    }
    (starts.len() == 3).then(|| starts[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_cut_where_its_last_merge_was() {
        let tokens = [&b"a"[..], b"b", b"c", b"bc", b"ab", b"abc", b"abab", b"cab"];
        let rank_of: HashMap<&[u8], TokenId> = tokens.iter().zip(0..).map(|(token, rank)| (*token, rank)).collect();
        let cut = |token: &[u8]| last_cut(token, rank_of[token], &rank_of);
        assert_eq!(
            [cut(b"a"), cut(b"bc"), cut(b"abc"), cut(b"abab"), cut(b"cab")],
            [None, Some(1), Some(1), Some(2), Some(1)]
        );
        // `bc` merges before `ab`, which leaves `a`, `bc`, `a`, `b`; then `ab`: three parts.
        assert_eq!(last_cut(b"abcab", 5, &rank_of), None);
    }

    #[test]
    fn what_is_there_twice_is_told() {
        let bytes = || (0..=255u8).zip(0..).map(|(byte, rank)| (vec![byte], rank));
        let read = |more: [(&[u8], TokenId); 2]| {
            let ranks = Ranks {
                format: "tiktoken",
                tokens: bytes().chain(more.map(|(token, rank)| (token.to_vec(), rank))).collect(),
                first_id: 0,
                pre_tokenizer: super::super::patterns::sequence(vec![super::super::patterns::gpt2()]),
                special_tokens: Vec::new(),
                begins_with: None,
            };
            ranks.into_tokenizer().map(|tokenizer| tokenizer.encode("ab")).map_err(|error| error.to_string())
        };
        assert_eq!(read([(b"ab", 256), (b"abc", 257)]), Ok(vec![256]));
        let refused = |reason: &str| Err(format!("not a usable tiktoken vocabulary: {reason}"));
        assert_eq!(read([(b"ab", 256), (b"abc", 256)]), refused("rank 256 is there twice"));
        assert_eq!(read([(b"ab", 256), (b"ab", 257)]), refused("the tokens of ranks 256 and 257 are the same"));
    }
}
