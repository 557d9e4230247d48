//! Evaluation windows: every token once, the bytes counted.

use tsumugi_data::{ConversationConfig, ConversationLoader, DataError, EvaluationSet, dialogue};
use tsumugi_tokenizer::train::{byte_tokenizer, character_tokenizer};
use tsumugi_tokenizer::{ChatTemplate, Tokenizer, special_tokens};

use crate::pretrain::check_batch;
use crate::{PLAY, tokenizer};

fn scored(set: &EvaluationSet, context: usize, batch: usize) -> Vec<u32> {
    let mut targets = Vec::new();
    for batch_of in set.batches() {
        assert_eq!(batch_of.rows, context * batch);
        check_batch(&batch_of, context);
        let trained = (0..batch_of.rows).filter(|&row| batch_of.weights[row] > 0.0);
        targets.extend(trained.map(|row| batch_of.targets[row]));
    }
    assert_eq!(targets.len() as u64, set.scored_tokens());
    targets
}

#[test]
fn every_token_is_scored_once() {
    let with_bos = [tokenizer(), byte_tokenizer(&special_tokens::all()).expect("it is made")];
    let without = [byte_tokenizer(&[]).expect("it is made"), character_tokenizer("é ab", &[]).expect("it is made")];
    for tokenizer in with_bos.iter().chain(&without) {
        for (context, batch) in [(1, 1), (7, 3), (64, 2), (10_000, 1)] {
            let text = ["é ", PLAY].concat();
            let set = EvaluationSet::from_text(tokenizer, &text, context, batch).expect("it is long enough");
            let ids = tokenizer.encode(&text);
            let has_bos = !tokenizer.prefix().is_empty();
            let skipped = usize::from(!has_bos);
            assert_eq!(scored(&set, context, batch), ids[skipped..]);
            let first_bytes = if has_bos { 0 } else { tokenizer.token_bytes(ids[0]).len() as u64 };
            assert_eq!(set.scored_bytes(), text.len() as u64 - first_bytes);
        }
    }
}

#[test]
fn bits_per_byte_of_a_uniform_byte_model_is_eight() {
    let tokenizer = byte_tokenizer(&special_tokens::all()).expect("it is made");
    let set = EvaluationSet::from_text(&tokenizer, PLAY, 16, 2).expect("it is long enough");
    let nll = set.scored_tokens() as f64 * 256f64.ln();
    assert!((set.bits_per_byte(nll) - 8.0).abs() < 1e-12);
}

#[test]
fn conversations_score_the_answers() {
    let tokenizer: Tokenizer = tokenizer();
    let speeches = dialogue::speeches(PLAY).expect("it is a play");
    let conversations = dialogue::conversations(&speeches, &dialogue::DialogueConfig::default());
    let template = ChatTemplate::own();
    let set = EvaluationSet::from_conversations(&tokenizer, &template, &conversations, 256, 2).expect("it fits");
    scored(&set, 256, 2);
    let answers: usize = conversations
        .iter()
        .flatten()
        .filter(|message| message.role == "assistant")
        .map(|message| message.content.len())
        .sum();
    assert_eq!(set.scored_bytes(), answers as u64);
    // In a context that not every conversation fits into, what is scored is what training would train.
    let config = ConversationConfig { context: 40, batch: 1, micro_batches: 1, seed: 3 };
    let trained = ConversationLoader::new(&tokenizer, &template, &conversations, config).expect("it fits in parts");
    let cut = EvaluationSet::from_conversations(&tokenizer, &template, &conversations, 40, 1).expect("as above");
    assert!(trained.report().parts > conversations.len() as u64, "{:?}", trained.report());
    assert_eq!(scored(&cut, 40, 1).len() as u64, trained.report().trained_tokens);
    let too_small = EvaluationSet::from_conversations(&tokenizer, &template, &conversations, 4, 2);
    assert!(matches!(too_small, Err(DataError::NothingTrained { .. })));
}
