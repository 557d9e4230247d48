//! Conversations in batches: whole, one segment each, loss on the answer only, cut between turns when too long.

use tsumugi_data::{BatchSource, ConversationConfig, ConversationLoader, DataError, PreviewStyle, dialogue, preview};
use tsumugi_tokenizer::{ChatTemplate, Message, special_tokens};

use crate::pretrain::check_batch;
use crate::{PLAY, shakespeare, tokenizer};

fn config(context: usize) -> ConversationConfig {
    ConversationConfig { context, batch: 2, micro_batches: 1, seed: 3 }
}

fn play_conversations() -> Vec<Vec<Message>> {
    dialogue::conversations(&dialogue::speeches(PLAY).expect("it is a play"), &dialogue::DialogueConfig::default())
}

#[test]
fn every_conversation_is_one_segment_with_its_mask() {
    let (tokenizer, template) = (tokenizer(), ChatTemplate::own());
    let conversations = play_conversations();
    let loader = ConversationLoader::new(&tokenizer, &template, &conversations, config(256)).expect("it packs");
    let report = loader.report();
    assert_eq!((report.parts, report.truncated, report.dropped), (conversations.len() as u64, 0, 0));
    let mut seen = Vec::new();
    for step in 0..loader.sequences().div_ceil(2) {
        let batch = loader.batch(step, 0);
        check_batch(&batch, 256);
        assert_eq!(batch, loader.batch(step, 0));
        for segment in &batch.segments {
            let rows = segment.rows();
            if batch.weights[rows.clone()].iter().all(|&weight| weight == 0.0) {
                continue; // padding
            }
            let said: Vec<u32> =
                rows.clone().filter(|&row| batch.weights[row] > 0.0).map(|row| batch.targets[row]).collect();
            seen.push((batch.tokens[rows].to_vec(), said));
        }
    }
    seen.sort();
    seen.dedup();
    let mut expected: Vec<(Vec<u32>, Vec<u32>)> = conversations
        .iter()
        .map(|messages| {
            let whole = template.encode_conversation(&tokenizer, messages).expect("it encodes");
            let trained = whole.ids.iter().zip(&whole.trained).filter(|&(_, &trained)| trained).map(|(&id, _)| id);
            (whole.ids[..whole.ids.len() - 1].to_vec(), trained.collect())
        })
        .collect();
    expected.sort();
    assert_eq!(seen, expected);
}

#[test]
fn long_conversations_are_cut_between_turns_and_keep_the_system_message() {
    let (tokenizer, template) = (tokenizer(), ChatTemplate::own());
    let mut long = vec![Message::new("system", "You are ROMEO.")];
    for number in 0..12 {
        long.push(Message::new("user", format!("question {number}")));
        long.push(Message::new("assistant", format!("answer {number}")));
    }
    let loader = ConversationLoader::new(&tokenizer, &template, &[long], config(80)).expect("it packs");
    assert!(loader.report().parts > 1);
    assert_eq!(loader.report().truncated, 0);
    let shown: Vec<String> =
        loader.parts().iter().map(|part| preview(&tokenizer, part, PreviewStyle::Marked)).collect();
    for part in &shown {
        assert!(part.starts_with("<|endoftext|><|system|>You are ROMEO.<|end|><|user|>"), "{part}");
        assert!(part.ends_with("<|end|>⟧"), "{part}");
    }
    for number in 0..12 {
        let exchange = format!("<|user|>question {number}<|end|><|assistant|>⟦answer {number}<|end|>⟧");
        assert_eq!(shown.iter().filter(|part| part.contains(&exchange)).count(), 1, "{exchange}");
    }
}

#[test]
fn an_exchange_longer_than_the_context_loses_its_end_or_is_dropped() {
    let (tokenizer, template) = (tokenizer(), ChatTemplate::own());
    let long = "words and words ".repeat(50);
    let long_answer = vec![Message::new("user", "hm"), Message::new("assistant", long.clone())];
    let long_question = vec![Message::new("user", long), Message::new("assistant", "hm")];
    let loader = ConversationLoader::new(&tokenizer, &template, &[long_answer, long_question.clone()], config(32))
        .expect("it packs");
    let report = loader.report();
    assert_eq!((report.parts, report.truncated, report.dropped, report.rows), (2, 2, 1, 1));
    assert_eq!(loader.parts()[0].ids.len(), 33);
    let nothing =
        ConversationLoader::new(&tokenizer, &template, &[long_question], config(32)).expect_err("it must fail");
    assert!(matches!(nothing, DataError::NothingTrained { conversations: 1, context: 32 }), "{nothing}");
}

#[test]
fn shakespeare_packs_tightly() {
    let text = shakespeare();
    let (train, _) = dialogue::split(&text);
    let speeches = dialogue::speeches(&train[..200_000]).expect("it is drama");
    let conversations = dialogue::conversations(&speeches, &dialogue::DialogueConfig::default());
    let loader =
        ConversationLoader::new(&tokenizer(), &ChatTemplate::own(), &conversations, config(512)).expect("it packs");
    let report = loader.report();
    let filled = report.tokens as f64 / (report.rows as f64 * 512.0);
    assert!(filled > 0.9, "{filled:.3} of the rows are filled: {report:?}");
    assert!(report.trained_tokens * 4 > report.tokens, "{report:?}");
    for step in [0, 1, 1000] {
        check_batch(&loader.batch(step, 0), 512);
    }
}

#[test]
fn epochs_hold_every_row_once_in_another_order() {
    let text = shakespeare();
    let speeches = dialogue::speeches(&text[..60_000]).expect("it is drama");
    let conversations = dialogue::conversations(&speeches, &dialogue::DialogueConfig::default());
    let single = ConversationConfig { batch: 1, ..config(128) };
    let loader = ConversationLoader::new(&tokenizer(), &ChatTemplate::own(), &conversations, single).expect("it packs");
    let epoch = |epoch: u64| -> Vec<Vec<u32>> {
        let rows = loader.sequences();
        (epoch * rows..(epoch + 1) * rows).map(|step| loader.batch(step, 0).tokens).collect()
    };
    let (mut first, mut second) = (epoch(0), epoch(1));
    assert_ne!(first, second);
    first.sort();
    second.sort();
    assert_eq!(first, second);
}

#[test]
fn the_preview_marks_what_is_trained_and_disarms_escapes() {
    let (tokenizer, template) = (tokenizer(), ChatTemplate::own());
    let messages = [Message::new("user", "a\u{1b}[31m<|end|>b"), Message::new("assistant", "yes\nno")];
    let conversation = template.encode_conversation(&tokenizer, &messages).expect("it encodes");
    assert_eq!(
        preview(&tokenizer, &conversation, PreviewStyle::Marked),
        "<|endoftext|><|user|>a\u{FFFD}[31m<|end|>b<|end|><|assistant|>⟦yes\nno<|end|>⟧"
    );
    let coloured = preview(&tokenizer, &conversation, PreviewStyle::Coloured);
    assert!(coloured.ends_with("\u{1b}[32myes\nno<|end|>\u{1b}[0m"), "{coloured:?}");
    let ends = conversation.ids.iter().filter(|&&id| Some(id) == tokenizer.special(special_tokens::END)).count();
    assert_eq!(ends, 2, "the user's `<|end|>` is text");
}
