//! Any bytes as a vocabulary file of any kind: never a panic, and what it opens makes ids that exist.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tsumugi_tokenizer::Tokenizer;

fuzz_target!(|bytes: &[u8]| {
    let Ok(tokenizer) = Tokenizer::from_vocabulary(bytes, Path::new("fuzzed")) else { return };
    for text in ["Speak, <s> 2024 漢\u{301}  \t", "\0▁é", ""] {
        let ids = tokenizer.encode_with_special(text);
        assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocabulary_size()));
        tokenizer.decode(&ids);
    }
});
