//! Any text as a chat template: never a panic, and an answer within its fuel.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tsumugi_tokenizer::{ChatTemplate, Message};

fuzz_target!(|source: &str| {
    let Ok(template) = ChatTemplate::new(source, Some("<s>"), Some("</s>")) else { return };
    let messages = [Message::new("system", "Be brief."), Message::new("user", "{{ x }}"), Message::new("assistant", "")];
    let _ = template.render(&messages, true);
});
