//! Chat templates: ours and those of the world, the loss mask, and that messages cannot forge control tokens.

use serde::Deserialize;
use serde_json::json;
use tsumugi_base::rng::{Key, Stream};
use tsumugi_base::testing::mutations;
use tsumugi_tokenizer::bpe::Split;
use tsumugi_tokenizer::train::{byte_tokenizer, character_tokenizer};
use tsumugi_tokenizer::{ChatTemplate, Message, Tokenizer, TokenizerError, special_tokens};

use crate::encoding::small_tokenizer;

fn conversation() -> Vec<Message> {
    let mut user = Message::new("user", "What say you?");
    user.name = Some("JULIET".into());
    vec![
        Message::new("system", "You are ROMEO."),
        user,
        Message::new("assistant", "Speak, speak."),
        Message::new("user", "More."),
        Message::new("assistant", "Before we proceed."),
    ]
}

#[test]
fn lists_within_lists_do_not_end_the_process() {
    let nested = |times: usize, end: &str| {
        format!(
            "{{%- set ns = namespace(x=[]) -%}}{{%- for i in range({times}) -%}}{{%- set ns.x = [ns.x] -%}}{{%- endfor -%}}{end}"
        )
    };
    for end in [
        "{{ ns.x | length }}",
        "{{ ns.x }}",
        "{{ ns.x | tojson }}",
        "{{ ns.x == [ns.x] }}",
        "{{ ns.x | string | length }}",
    ] {
        for times in [50_000, 100_000] {
            let template = ChatTemplate::new(&nested(times, end), None, None).expect("it is valid");
            // What it gives does not matter, only that it gives something: a text or an error.
            let rendered = template.render(&conversation(), true);
            assert!(
                rendered.is_ok() || rendered.is_err_and(|error| error.to_string().contains("work")),
                "{times} {end}"
            );
        }
    }
}

#[test]
fn our_template_renders_as_documented() {
    let template = ChatTemplate::own();
    assert_eq!(
        template.render(&conversation()[..3], true).expect("it renders"),
        "<|endoftext|><|system|>You are ROMEO.<|end|><|user|>JULIET:\nWhat say you?<|end|>\
         <|assistant|>Speak, speak.<|end|><|assistant|>"
    );
    let unknown = template.render(&[Message::new("oracle", "hm")], true).expect_err("it must fail");
    assert!(matches!(unknown, TokenizerError::UnknownRole { .. }), "{unknown}");
    let tool = template.render(&[Message::new("tool", "42")], true).expect_err("it must fail");
    assert_eq!(tool.to_string(), "the chat template failed: unknown role tool; known: system, user, assistant");
}

#[test]
fn the_loss_mask_is_the_answers_and_their_ends() {
    for tokenizer in [small_tokenizer(Split::Gpt4), byte_tokenizer(&special_tokens::all()).expect("it is made")] {
        let template = ChatTemplate::own();
        let messages = conversation();
        let training = template.encode_conversation(&tokenizer, &messages).expect("it encodes");
        assert_eq!(training.ids.len(), training.trained.len());
        assert_eq!(training.ids, template.encode_chat(&tokenizer, &messages, false).expect("it encodes"));
        let spans: Vec<Vec<u8>> = training
            .ids
            .chunk_by_index(&training.trained)
            .map(|ids| ids.iter().flat_map(|&id| tokenizer.token_bytes(id).to_vec()).collect())
            .collect();
        assert_eq!(spans, [b"Speak, speak.<|end|>".to_vec(), b"Before we proceed.<|end|>".to_vec()]);
        // What the model reads before it answers is what it was trained to follow.
        let first = training.trained.iter().position(|&trained| trained).expect("something is trained");
        let prompt = template.encode_chat(&tokenizer, &messages[..2], true).expect("it encodes");
        assert_eq!(training.ids[..first], prompt);
    }
}

/// The runs of ids that are trained.
trait TrainedRuns {
    fn chunk_by_index<'a>(&'a self, trained: &'a [bool]) -> impl Iterator<Item = &'a [u32]>;
}

impl TrainedRuns for Vec<u32> {
    fn chunk_by_index<'a>(&'a self, trained: &'a [bool]) -> impl Iterator<Item = &'a [u32]> {
        let mut start = 0;
        trained.chunk_by(|a, b| a == b).filter_map(move |run| {
            let ids = &self[start..start + run.len()];
            start += run.len();
            run[0].then_some(ids)
        })
    }
}

/// Templates as published models have them (the forms, written here): ChatML, Llama 2's brackets, Zephyr's role in
/// the token, one that trims, one that splits content.
const FOREIGN: [&str; 4] = [
    "{% for message in messages %}{{ '<|endoftext|>' + message['role'] + '\n' + message['content'] | trim + '<|end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|endoftext|>assistant\n' }}{% endif %}",
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'].strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'].strip() + '<|end|>' }}{% endif %}{% endfor %}",
    "{%- for message in messages %}\n    {{- '<|' + message.role + '|>' }}\n    {{- message.content.split('</think>')[-1].lstrip('\n') }}\n    {{- '<|end|>' }}\n{%- endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
    "{{ bos_token }}{% for m in messages if m.content is string %}{% if loop.first %}#{% endif %}{{ m.name | default('nobody') }}{{ m.content }}{{ eos_token }}{% endfor %}",
];

fn control_tokens(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<u32> {
    ids.iter().copied().filter(|&id| tokenizer.is_special(id)).collect()
}

#[test]
fn no_message_becomes_control_in_any_template() {
    let tokenizer = small_tokenizer(Split::Gpt4);
    let mut random = Stream::new(Key::from_seed(11));
    let parts = [
        "<|end|>",
        "<|",
        "end",
        "|>",
        "<|user|>",
        "<",
        "|",
        ">",
        " ",
        "\n",
        "a",
        "\u{F0000}",
        "<|endoftext|>",
        "<|<|end|>end|>",
        "system",
        "</think>",
    ];
    let mut text =
        || (0..random.below(6)).map(|_| parts[random.below(parts.len() as u64) as usize]).collect::<String>();
    let templates: Vec<ChatTemplate> = FOREIGN
        .iter()
        .map(|source| ChatTemplate::new(source, Some("<|endoftext|>"), Some("<|end|>")).expect("it compiles"))
        .chain([ChatTemplate::own()])
        .collect();
    for _ in 0..400 {
        let hostile: Vec<Message> = ["system", "user", "assistant", "user"]
            .map(|role| Message {
                role: role.into(),
                content: text(),
                name: Some(text()).filter(|name| !name.is_empty()),
            })
            .to_vec();
        let mut harmless = hostile.clone();
        for message in &mut harmless {
            message.content = "x".into();
            message.name = message.name.as_ref().map(|_| "y".into());
        }
        for (index, template) in templates.iter().enumerate() {
            let found = template.encode_chat(&tokenizer, &hostile, true).expect("it encodes");
            let expected = template.encode_chat(&tokenizer, &harmless, true).expect("it encodes");
            assert_eq!(
                control_tokens(&tokenizer, &found),
                control_tokens(&tokenizer, &expected),
                "template {index}: {hostile:?}"
            );
            // And nothing is lost: without marks the bytes are those of the rendered text.
            let bytes: Vec<u8> = found.iter().flat_map(|&id| tokenizer.token_bytes(id).to_vec()).collect();
            let rendered = template.render(&hostile, true).expect("it renders");
            assert_eq!(String::from_utf8(bytes).expect("whole text"), rendered, "template {index}");
        }
    }
}

#[derive(Deserialize)]
struct Golden {
    conversations: Vec<Vec<Message>>,
    templates: Vec<GoldenTemplate>,
}

#[derive(Deserialize)]
struct GoldenTemplate {
    name: String,
    template: String,
    /// Of every conversation without and with the prompt for an answer; none where the template refuses it.
    texts: Vec<Option<String>>,
}

/// Families' forms and the constructs that they use, as transformers renders them: `tools/goldens/make_chat_goldens.py`.
#[test]
fn templates_render_as_in_transformers() {
    let golden: Golden =
        serde_json::from_str(include_str!("../../fixtures/goldens/chat_templates.json")).expect("it is the golden");
    let asked = golden.conversations.iter().flat_map(|messages| [(messages, false), (messages, true)]);
    let asked: Vec<_> = asked.collect();
    let mut different = Vec::new();
    for GoldenTemplate { name, template, texts } in &golden.templates {
        assert_eq!(texts.len(), asked.len(), "{name}");
        let template = ChatTemplate::new(template, Some("<s>"), Some("</s>"));
        for (&(messages, prompt), expected) in asked.iter().zip(texts) {
            let found = template.as_ref().map_err(ToString::to_string);
            let found = found.and_then(|template| template.render(messages, prompt).map_err(|error| error.to_string()));
            if found.as_ref().ok() != expected.as_ref() {
                different.push(format!("{name}\n  found    {found:?}\n  expected {expected:?}"));
                break;
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn damaged_templates_never_panic() {
    let messages = conversation();
    let mut rendered = 0;
    for (seed, source) in FOREIGN.iter().enumerate() {
        for mutation in mutations(source.as_bytes(), seed as u64, 10_000 / FOREIGN.len() as u64) {
            let source = String::from_utf8_lossy(&mutation.bytes);
            let Ok(template) = ChatTemplate::new(&source, Some("<|endoftext|>"), Some("<|end|>")) else { continue };
            rendered += usize::from(template.render(&messages, true).is_ok());
        }
    }
    assert!((100..9_900).contains(&rendered), "{rendered}");
}

#[test]
fn harmless_text_is_encoded_as_hugging_face_does() {
    let tokenizer = small_tokenizer(Split::Gpt4);
    for source in FOREIGN {
        let template = ChatTemplate::new(source, Some("<|endoftext|>"), Some("<|end|>")).expect("it compiles");
        let messages = [Message::new("user", "  Speak, speak.  "), Message::new("assistant", "hear me\n")];
        let rendered = template.render(&messages, false).expect("it renders");
        let ids = template.encode_chat(&tokenizer, &messages, false).expect("it encodes");
        assert_eq!(ids, tokenizer.encode_with_special(&rendered));
    }
}

#[test]
fn a_foreign_template_has_its_mask_too() {
    let tokenizer = small_tokenizer(Split::Gpt4);
    let template = ChatTemplate::new(FOREIGN[0], None, Some("<|end|>")).expect("it compiles");
    let training = template.encode_conversation(&tokenizer, &conversation()).expect("it encodes");
    let trained: Vec<u32> =
        training.ids.iter().zip(&training.trained).filter(|&(_, &trained)| trained).map(|(&id, _)| id).collect();
    let text: Vec<u8> = trained.iter().flat_map(|&id| tokenizer.token_bytes(id).to_vec()).collect();
    assert_eq!(String::from_utf8(text).expect("whole text"), "Speak, speak.<|end|>Before we proceed.<|end|>");
    let looks_ahead = "{% for m in messages %}{% if loop.last %}last:{% endif %}{{ m.content }}<|end|>{% endfor %}";
    let template = ChatTemplate::new(looks_ahead, None, None).expect("it compiles");
    let refused = template.encode_conversation(&tokenizer, &conversation());
    assert!(matches!(refused, Err(TokenizerError::NotIncremental { index: 2 })), "{refused:?}");
}

#[test]
fn a_character_vocabulary_can_chat() {
    let tokenizer = character_tokenizer("abc What say you?\n", &special_tokens::all()).expect("it is made");
    let ids =
        ChatTemplate::own().encode_chat(&tokenizer, &[Message::new("user", "<|end|>abc")], true).expect("it encodes");
    assert_eq!(control_tokens(&tokenizer, &ids).len(), 4);
}

#[test]
fn bad_templates_are_errors() {
    let broken = ChatTemplate::new("{% for %}", None, None).expect_err("it must fail");
    assert!(broken.to_string().starts_with("the chat template failed: syntax error in line 1"), "{broken}");
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}";
    let endless = ChatTemplate::new(endless, None, None).expect("it compiles").render(&[], false).expect_err("fuel");
    assert_eq!(endless.to_string(), "the chat template failed: it does too much work for one conversation");
    let wide = "{% set text = 'a\\n' * 1000 %}{% for a in range(99) %}{% set text = text | indent(9999999) %}{% endfor %}{{ text }}";
    let wide = ChatTemplate::new(wide, None, None).expect("it compiles").render(&[], false).expect_err("fuel");
    assert_eq!(wide.to_string(), "the chat template failed: it does too much work for one conversation");
    let none = ChatTemplate::from_tokenizer_config(&json!({})).expect_err("it must fail");
    assert_eq!(none.to_string(), "no chat template: tokenizer_config.json has no `chat_template`");
}

#[test]
fn tokenizer_config_is_read_in_its_variants() {
    let eos = json!({"content": "</s>"});
    let plain = json!({"chat_template": "{{ bos_token }}{{ eos_token }}", "bos_token": "<s>", "eos_token": eos});
    let template = ChatTemplate::from_tokenizer_config(&plain).expect("it reads");
    assert_eq!(template.render(&[], false).expect("it renders"), "<s></s>");
    assert_eq!((template.bos_token(), template.eos_token()), (Some("<s>"), Some("</s>")));
    let named = [json!({"name": "tool_use", "template": "t"}), json!({"name": "default", "template": "d"})];
    let named = json!({"chat_template": named});
    assert_eq!(ChatTemplate::from_tokenizer_config(&named).expect("it reads").source(), "d");
}
