//! Token healing: a prompt that ends inside of a token. `New Yor` ends in tokens that the model has never seen before `k`, because
//! ` York` is a token of its own. So the last tokens are taken back, and the first new ones must spell the same bytes, and may go
//! on (Lundberg 2023, "Prompt boundaries and token healing").

use tsumugi_tokenizer::{TokenId, Tokenizer};

/// Tokens taken back at most: what more of them spell together begins no token of any public vocabulary, but for runs of spaces.
const TAKEN_BACK_MAX: usize = 8;

/// The end of a prompt that the answer spells again.
#[derive(Debug, Default)]
pub(super) struct Healing {
    /// Bytes that the next tokens must spell.
    left: Vec<u8>,
    /// Bytes of text that the prompt had already.
    known: usize,
}

impl Healing {
    /// Takes those tokens off the end of a prompt that together may be the beginning of one. The first token of the text stays:
    /// some vocabularies put a space before it.
    pub fn cut(tokenizer: &Tokenizer, tokens: &mut Vec<TokenId>) -> Self {
        let text = tokens.iter().rev().take_while(|&&id| !tokenizer.is_special(id)).count();
        let (mut open, mut taken) = (Vec::new(), 0);
        let mut end = Vec::new();
        for count in 1..text.min(TAKEN_BACK_MAX + 1) {
            end.splice(..0, tokenizer.token_bytes(tokens[tokens.len() - count]).iter().copied());
            let goes_on = |id: TokenId| {
                let bytes = tokenizer.token_bytes(id);
                bytes.len() > end.len() && bytes.starts_with(&end) && !tokenizer.is_special(id)
            };
            if std::str::from_utf8(&end).is_ok() && (0..tokenizer.vocabulary_size() as TokenId).any(goes_on) {
                (open, taken) = (end.clone(), count);
            }
        }
        tokens.truncate(tokens.len() - taken);
        Self { known: open.len(), left: open }
    }

    /// Whether the next token is not free.
    pub fn is_open(&self) -> bool {
        !self.left.is_empty()
    }

    /// The logits, without the tokens that spell something else.
    pub fn only_fitting(&self, tokenizer: &Tokenizer, logits: &[f32]) -> Vec<f32> {
        let fits = |id: TokenId| {
            let bytes = tokenizer.token_bytes(id);
            let spells = bytes.starts_with(&self.left) || (!bytes.is_empty() && self.left.starts_with(&bytes));
            spells && !tokenizer.is_special(id)
        };
        (0..).zip(logits).map(|(id, &logit)| if fits(id) { logit } else { f32::NEG_INFINITY }).collect()
    }

    /// A token was chosen.
    pub fn take(&mut self, bytes: &[u8]) {
        self.left.drain(..bytes.len().min(self.left.len()));
    }

    /// What of new text the prompt did not have.
    pub fn new_text<'a>(&mut self, text: &'a str) -> &'a str {
        let known = text.floor_char_boundary(self.known.min(text.len()));
        self.known -= known;
        &text[known..]
    }
}

#[cfg(test)]
mod tests {
    use tsumugi_base::progress::Silent;
    use tsumugi_base::rng::{Key, Stream};
    use tsumugi_tokenizer::bpe::TextSink;
    use tsumugi_tokenizer::train::{
        Corpus, SentencePieceAlgorithm, SentencePieceConfig, TrainingConfig, train_bpe, train_sentence_piece,
    };

    use super::*;

    const TEXT: &str = "the address is http://example.org and https://example.com; été, étude: 日本語の日本。 ";

    fn tokenizers() -> Vec<Tokenizer> {
        let text = TEXT.repeat(20);
        let config = TrainingConfig { vocabulary_size: 340, ..TrainingConfig::default() };
        let pieces = |algorithm| {
            let config = SentencePieceConfig { vocabulary_size: 320, ..SentencePieceConfig::new(algorithm) };
            let mut feed = |sink: TextSink<'_>| sink(&text);
            train_sentence_piece(Corpus { bytes: 0, feed: &mut feed }, &config, &Silent).unwrap()
        };
        vec![
            train_bpe(&[&text], &config, &Silent).unwrap(),
            pieces(SentencePieceAlgorithm::Bpe),
            pieces(SentencePieceAlgorithm::Unigram),
        ]
    }

    fn bytes(tokenizer: &Tokenizer, ids: &[TokenId]) -> Vec<u8> {
        ids.iter().flat_map(|&id| tokenizer.token_bytes(id).into_owned()).collect()
    }

    /// Whatever fitting tokens are chosen after any beginning of a text: together they are that beginning and what is new.
    #[test]
    fn the_prompt_is_spelled_again_and_shown_once() {
        let mut random = Stream::new(Key::from_seed(3));
        let mut healed = 0;
        for tokenizer in tokenizers() {
            for (end, _) in TEXT.char_indices() {
                let prompt = &TEXT[..end];
                let whole = tokenizer.encode(prompt);
                let mut tokens = whole.clone();
                let mut healing = Healing::cut(&tokenizer, &mut tokens);
                assert_eq!(bytes(&tokenizer, &tokens), bytes(&tokenizer, &whole)[..bytes(&tokenizer, &tokens).len()]);
                healed += usize::from(healing.is_open());
                let (mut stream, mut new) = (tokenizer.stream_after(&tokens), String::new());
                for _ in 0..20 {
                    let logits = vec![0.0; tokenizer.vocabulary_size()];
                    let fitting = healing.only_fitting(&tokenizer, &logits);
                    let fitting: Vec<TokenId> =
                        (0..).zip(&fitting).filter(|(_, logit)| **logit == 0.0).map(|(id, _)| id).collect();
                    for id in 0..tokenizer.vocabulary_size() as TokenId {
                        let spelled = tokenizer.token_bytes(id);
                        let common = spelled.iter().zip(&healing.left).take_while(|(a, b)| a == b).count();
                        let fits = common == spelled.len().min(healing.left.len()) && !spelled.is_empty();
                        assert_eq!(fitting.contains(&id), fits && !tokenizer.is_special(id), "{id}");
                    }
                    // SentencePiece's decoder shows a run of bytes in one way, a stream in another, if they are no text.
                    let is_text = |id: &&TokenId| std::str::from_utf8(&tokenizer.token_bytes(**id)).is_ok();
                    let texts: Vec<TokenId> = fitting.iter().filter(is_text).copied().collect();
                    let choice = if texts.is_empty() { &fitting } else { &texts };
                    let id = choice[random.below(choice.len() as u64) as usize];
                    healing.take(&tokenizer.token_bytes(id));
                    tokens.push(id);
                    new.push_str(healing.new_text(&stream.push(id)));
                }
                new.push_str(healing.new_text(&stream.finish()));
                assert!(!healing.is_open());
                // As the vocabulary sees the prompt: Unigram drops a space at its end.
                assert_eq!(tokenizer.decode(&whole) + &new, tokenizer.decode(&tokens), "{prompt:?}");
            }
        }
        assert!(healed > 100, "{healed}");
    }

    #[test]
    fn what_cannot_be_cut_stays() {
        let tokenizer = &tokenizers()[0];
        let cut = |text: &str| {
            let mut tokens = tokenizer.encode(text);
            let left = Healing::cut(tokenizer, &mut tokens).left;
            (tokenizer.decode(&tokens), String::from_utf8(left).unwrap())
        };
        assert_eq!(cut(""), (String::new(), String::new()));
        assert_eq!(cut("h"), ("h".into(), String::new()), "the first token");
        let (before, left) = cut("see: the address is http:");
        assert!(left.ends_with("http:") || left.ends_with(':'), "{before:?} {left:?}");
        // A control token is where it is.
        let end = tokenizer.special_tokens()[0].id;
        let mut tokens = [tokenizer.encode("the"), vec![end]].concat();
        let before = tokens.clone();
        assert!(!Healing::cut(tokenizer, &mut tokens).is_open());
        assert_eq!(tokens, before);
    }
}
