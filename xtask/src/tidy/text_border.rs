//! In the engine only `text/` and `grammar/` know text: scheduler, cache and sampler see token ids.

use super::tree::{Finding, Tree};

const KNOW_TEXT: &[&str] = &["crates/infer/src/text", "crates/infer/src/grammar", "crates/infer/src/lib.rs"];

pub fn check(tree: &Tree) -> Vec<Finding> {
    let knows = |path: &str| KNOW_TEXT.iter().any(|allowed| path.starts_with(allowed));
    let engine = tree.rust().filter(|file| file.path.starts_with("crates/infer/src/") && !knows(&file.path));
    let found = engine.flat_map(|file| {
        let lines = file.code_lines().filter(|(_, code)| code.contains("tsumugi_tokenizer"));
        lines.map(|(line, _)| file.finding(line, "the engine below text/ and grammar/ knows no text"))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokenizer_in_the_scheduler_is_found() {
        let text = "//! x\nuse tsumugi_tokenizer::Tokenizer;\n";
        assert_eq!(check(&Tree::of(&[("crates/infer/src/scheduler.rs", text)])).len(), 1);
        assert_eq!(check(&Tree::of(&[("crates/infer/src/text.rs", text), ("crates/eval/src/lib.rs", text)])), []);
    }
}
