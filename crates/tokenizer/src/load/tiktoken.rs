//! The rank files of tiktoken: a line is a token in base 64 and its rank. The file does not say which vocabulary it is,
//! but no two published ones have the same number of tokens.

use super::patterns::{self, O200K, QWEN};
use super::ranks::Ranks;
use crate::{SpecialToken, TokenId, Tokenizer, TokenizerError, base64};

/// How this format is called in messages.
const FORMAT: &str = "tiktoken";

/// What a rank file leaves out.
struct Encoding {
    name: &'static str,
    /// Lines of the file.
    ranks: usize,
    pattern: fn() -> serde_json::Value,
    special_tokens: fn() -> Vec<SpecialToken>,
    begins_with: Option<TokenId>,
}

/// The published vocabularies.
const ALL: [Encoding; 6] = [
    Encoding {
        name: "r50k_base",
        ranks: 50_256,
        pattern: patterns::gpt2,
        special_tokens: || numbered(&[("<|endoftext|>", 50_256)]),
        begins_with: None,
    },
    Encoding {
        name: "p50k_base",
        ranks: 50_280,
        pattern: patterns::gpt2,
        special_tokens: || numbered(&[("<|endoftext|>", 50_256)]),
        begins_with: None,
    },
    Encoding {
        name: "cl100k_base",
        ranks: 100_256,
        pattern: patterns::gpt4,
        special_tokens: cl100k_tokens,
        begins_with: None,
    },
    Encoding {
        name: "Llama 3",
        ranks: 128_000,
        pattern: patterns::gpt4,
        special_tokens: llama3_tokens,
        begins_with: Some(128_000),
    },
    Encoding {
        name: "Qwen",
        ranks: 151_643,
        pattern: || patterns::split(QWEN),
        special_tokens: qwen_tokens,
        begins_with: None,
    },
    Encoding {
        name: "o200k_base",
        ranks: 199_998,
        pattern: || patterns::split(O200K),
        special_tokens: || numbered(&[("<|endoftext|>", 199_999), ("<|endofprompt|>", 200_018)]),
        begins_with: None,
    },
];

fn numbered(tokens: &[(&str, TokenId)]) -> Vec<SpecialToken> {
    tokens.iter().map(|&(content, id)| SpecialToken::control(content, id)).collect()
}

fn cl100k_tokens() -> Vec<SpecialToken> {
    numbered(&[
        ("<|endoftext|>", 100_257),
        ("<|fim_prefix|>", 100_258),
        ("<|fim_middle|>", 100_259),
        ("<|fim_suffix|>", 100_260),
        ("<|endofprompt|>", 100_276),
    ])
}

/// Those of Llama 3.1; of the 256, Llama 3.0 has reserved ones where 3.1 has new names.
fn llama3_tokens() -> Vec<SpecialToken> {
    const NAMED: [&str; 11] = [
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|reserved_special_token_0|>",
        "<|reserved_special_token_1|>",
        "<|finetune_right_pad_id|>",
        "<|reserved_special_token_2|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eom_id|>",
        "<|eot_id|>",
        "<|python_tag|>",
    ];
    let reserved = (3..248).map(|number| format!("<|reserved_special_token_{number}|>"));
    NAMED
        .map(str::to_owned)
        .into_iter()
        .chain(reserved)
        .zip(128_000..)
        .map(|(content, id)| SpecialToken::control(content, id))
        .collect()
}

fn qwen_tokens() -> Vec<SpecialToken> {
    let named = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(str::to_owned);
    let extra = (0..205).map(|number| format!("<|extra_{number}|>"));
    named.into_iter().chain(extra).zip(151_643..).map(|(content, id)| SpecialToken::control(content, id)).collect()
}

impl Tokenizer {
    /// Reads a rank file of tiktoken: r50k (GPT-2), p50k, cl100k (GPT-4), o200k (GPT-4o), Llama 3's `tokenizer.model`,
    /// Qwen's `qwen.tiktoken`.
    pub fn from_tiktoken(text: &str) -> Result<Self, TokenizerError> {
        let mut tokens = Vec::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let failed = || failed(format!("line {} is not a token in base 64 and a rank", number + 1));
            let (token, rank) = line.trim_end().split_once(' ').ok_or_else(failed)?;
            let token = base64::decode(token).filter(|token| !token.is_empty()).ok_or_else(failed)?;
            tokens.push((token, rank.parse::<TokenId>().map_err(|_| failed())?));
        }
        let Some(encoding) = ALL.iter().find(|encoding| encoding.ranks == tokens.len()) else {
            let known: Vec<String> =
                ALL.iter().map(|encoding| format!("{} ({})", encoding.ranks, encoding.name)).collect();
            return Err(failed(format!(
                "it has {} ranks, which is no known one; known: {}",
                tokens.len(),
                known.join(", ")
            )));
        };
        tokens.sort_unstable_by_key(|&(_, rank)| rank);
        if let Some((_, rank)) = tokens.last().filter(|&&(_, rank)| rank as usize > 2 * encoding.ranks) {
            return Err(failed(format!(
                "it has a token of rank {rank}, far above the {} tokens of {}",
                encoding.ranks, encoding.name
            )));
        }
        Ranks {
            format: FORMAT,
            tokens,
            first_id: 0,
            pre_tokenizer: patterns::sequence(vec![(encoding.pattern)()]),
            special_tokens: (encoding.special_tokens)(),
            begins_with: encoding.begins_with,
        }
        .into_tokenizer()
    }
}

fn failed(reason: String) -> TokenizerError {
    TokenizerError::Vocabulary { format: FORMAT, reason }
}
