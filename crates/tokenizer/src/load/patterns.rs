//! The patterns by which published byte-level vocabularies cut text into words, as `pre_tokenizer`s of
//! `tokenizer.json`. Those that the encoder knows have a splitter of their own, of linear time.

use serde_json::{Value, json};

use crate::bpe::Split;
pub(super) use crate::bpe::{GPT4O_PATTERN as O200K, QWEN_PATTERN as QWEN};

/// GPT-2's pattern.
pub(super) fn gpt2() -> Value {
    split(Split::Gpt2.pattern().unwrap_or_default())
}

/// GPT-4's pattern (`cl100k_base`), which Llama 3 has too.
pub(super) fn gpt4() -> Value {
    split(Split::Gpt4.pattern().unwrap_or_default())
}

/// Every match is a word, and what lies between matches.
pub(super) fn split(pattern: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
}

/// One after the other; then the bytes of each word are spelled as characters.
pub(super) fn sequence(mut members: Vec<Value>) -> Value {
    members.push(super::byte_level_without_pattern());
    json!({"type": "Sequence", "pretokenizers": members})
}

/// Tekken (Mistral): GPT-4o's without contractions, single digits.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// BLOOM: words with the space before them, up to punctuation.
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";

/// The same as its `tokenizer.json` spells it, with a class within the class.
const BLOOM_PUBLISHED: &str = r" ?[^(\s|[.,!?…。，、।۔،])]+";

/// DeepSeek's last pattern: letters with their marks, punctuation and symbols, whitespace. With control characters as they
/// are, which is how the encoder knows it.
const DEEPSEEK: &str = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";

/// Runs of punctuation, and of what is that in ASCII only.
const PUNCTUATION: &str = r"[\p{P}\$\+<=>\^~\|`]+";

/// Names of one pattern, and the pre-tokenizers that cut text by it.
type Named = (&'static [&'static str], fn() -> Vec<Value>);

/// What `tokenizer.ggml.pre` may say.
pub(super) const GGUF: &[Named] = &[
    (
        &[
            "gpt-2",
            "gpt2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "jina-es",
            "jina-de",
            "roberta-bpe",
            "gigachat",
        ],
        || vec![gpt2()],
    ),
    (&["llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral", "dbrx", "smaug-bpe", "chatglm-bpe", "glm4"], || {
        vec![gpt4()]
    }),
    (&["qwen2", "stablelm2", "deepseek-r1-qwen", "megrez", "hunyuan", "grok-2", "kormo"], || vec![split(QWEN)]),
    (&["gpt-4o", "llama4", "minimax-m2"], || vec![split(O200K)]),
    (&["tekken"], || vec![split(TEKKEN)]),
    (&["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"], || vec![digit(), gpt2()]),
    (&["bloom", "poro-chat", "gpt3-finnish"], || vec![split(BLOOM)]),
    (&["viking"], || vec![split(BLOOM), digit()]),
    (&["deepseek-v3", "hunyuan-dense"], || {
        vec![split(r"\p{N}{1,3}"), split("[\u{4E00}-\u{9FA5}\u{3040}-\u{309F}\u{30A0}-\u{30FF}]+"), split(DEEPSEEK)]
    }),
    (&["falcon"], || vec![split(PUNCTUATION), gpt2(), split("[0-9][0-9][0-9]")]),
    (&["default"], || vec![split(r"[\p{P}\$\+<=>\^~\|]+"), gpt2(), split(r"\p{N}+"), split("[0-9][0-9][0-9]")]),
];

/// Those of [`GGUF`] in which a word that is a token as a whole is that token, whatever the merges.
pub(super) const WHOLE_WORDS: &[&str] = &["llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral", "tekken"];

/// How text is cut into words by the pattern of that name, if it is known.
pub(super) fn of_gguf(name: &str) -> Option<Vec<Value>> {
    GGUF.iter().find(|(names, _)| names.contains(&name)).map(|(_, members)| members())
}

/// What `tokenizer.ggml.pre` says of a `tokenizer.json`, if there is a word for how it cuts text into words.
pub(crate) fn gguf_pattern(file: &Value) -> Option<&'static str> {
    let steps = steps(file.get("pre_tokenizer")?);
    let whole_words = file.pointer("/model/ignore_merges").and_then(Value::as_bool).unwrap_or(false);
    let same = |members: fn() -> Vec<Value>| members().iter().flat_map(self::steps).eq(steps.iter().cloned());
    let (names, _) = GGUF.iter().find(|(_, members)| same(*members))?;
    names.iter().copied().find(|name| WHOLE_WORDS.contains(name) == whole_words).or(names.first().copied())
}

/// The steps of a pre-tokenizer that cut, each in one form: nested sequences one after the other, GPT-2's pattern spelled
/// out, and without the spelling of bytes, which cuts nothing.
fn steps(pre_tokenizer: &Value) -> Vec<Value> {
    let flag = |key: &str, default| pre_tokenizer.get(key).and_then(Value::as_bool).unwrap_or(default);
    match pre_tokenizer.get("type").and_then(Value::as_str) {
        Some("Sequence") => {
            let members = pre_tokenizer.get("pretokenizers").and_then(Value::as_array);
            members.into_iter().flatten().flat_map(steps).collect()
        }
        Some("ByteLevel") if !flag("use_regex", true) => Vec::new(),
        Some("ByteLevel") if !flag("add_prefix_space", true) => vec![gpt2()],
        Some("Digits") if flag("individual_digits", false) => vec![digit()],
        Some("Punctuation") if pre_tokenizer.get("behavior") == Some(&json!("Contiguous")) => vec![split(PUNCTUATION)],
        Some("Split") if !flag("invert", false) => {
            match pre_tokenizer.pointer("/pattern/Regex").and_then(Value::as_str) {
                Some(pattern) if pre_tokenizer.get("behavior") == Some(&json!("Isolated")) => {
                    vec![split(if pattern == BLOOM_PUBLISHED { BLOOM } else { pattern })]
                }
                _ => vec![pre_tokenizer.clone()],
            }
        }
        _ => vec![pre_tokenizer.clone()],
    }
}

/// Every digit, or other character that is a number, by itself.
fn digit() -> Value {
    json!({"type": "Digits", "individual_digits": true})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_found_by_what_it_does() {
        for (names, members) in GGUF {
            for whole_words in [false, true] {
                let file = json!({"pre_tokenizer": sequence(members()), "model": {"ignore_merges": whole_words}});
                let found = gguf_pattern(&file).unwrap();
                assert!(names.contains(&found), "{found}, {names:?}");
                let fitting = names.iter().any(|name| WHOLE_WORDS.contains(name) == whole_words);
                assert_eq!(WHOLE_WORDS.contains(&found) == whole_words, fitting, "{found}");
            }
        }
        let byte_level = |add_prefix_space: bool, use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": add_prefix_space, "use_regex": use_regex});
        let named = |pre_tokenizer: Value| gguf_pattern(&json!({ "pre_tokenizer": pre_tokenizer }));
        assert_eq!(named(byte_level(false, true)), Some("gpt-2"));
        assert_eq!(named(byte_level(true, true)), None, "a space before the text has no word there");
        let digits = json!({"type": "Digits", "individual_digits": true});
        let nested = json!({"type": "Sequence", "pretokenizers": [digits, byte_level(false, true)]});
        assert_eq!(named(nested), Some("smollm"));
        assert_eq!(named(split("a+")), None);
        assert_eq!(named(split(BLOOM_PUBLISHED)), Some("bloom"));
        let runs = json!({"type": "Punctuation", "behavior": "Contiguous"});
        let falcon = [runs, byte_level(false, true), split("[0-9][0-9][0-9]")];
        assert_eq!(named(json!({"type": "Sequence", "pretokenizers": falcon})), Some("falcon"));
        assert_eq!(gguf_pattern(&json!({})), None);
    }
}
