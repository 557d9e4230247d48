//! Folders that cannot answer, and what the error says.

use std::fs;
use std::path::Path;

use tsumugi_base::Hint;
use tsumugi_base::testing::{mutations, temporary_folder};
use tsumugi_infer::text::{CHAT_FILE, GenerateError, LoadError, LocalModel, Options, Prompt, TextModel, chat_file};
use tsumugi_models::{DecoderSpec, llama::Llama};
use tsumugi_tokenizer::Message;

use crate::support::{VOCABULARY, admit, decoder, write_chat_model};

fn spec() -> DecoderSpec {
    Llama::sized(VOCABULARY, 64, 16, 1, 2, 1)
}

fn options() -> Options {
    Options { threads: Some(1), ..Options::default() }
}

fn load(folder: &Path) -> Result<LocalModel, LoadError> {
    LocalModel::load(&admit(folder), options())
}

fn error(result: Result<LocalModel, LoadError>) -> LoadError {
    match result {
        Ok(model) => panic!("`{}` was loaded", model.name()),
        Err(error) => error,
    }
}

#[test]
fn the_name_is_the_folders_unless_given() {
    let folder = temporary_folder();
    let path = folder.path().join("hamlet-1");
    fs::create_dir(&path).unwrap();
    write_chat_model(&path, &decoder(spec(), 1));
    assert_eq!(load(&path).unwrap().name(), "hamlet-1");
    let named = Options { name: Some("prince".into()), context: Some(32), ..options() };
    let model = LocalModel::load(&admit(&path), named).unwrap();
    assert_eq!((model.name(), model.context_length(), model.has_chat_template()), ("prince", 32, true));
    assert_eq!(model.end_tokens(), [256, 260]);
    for context in [0, 65] {
        let asked = Options { context: Some(context), ..options() };
        let error = error(LocalModel::load(&admit(&path), asked));
        assert!(error.to_string().contains("has 64 positions") && error.hint().is_some(), "{error}");
    }
}

#[test]
fn a_context_that_memory_cannot_hold_is_cut_and_told() {
    let folder = temporary_folder();
    write_chat_model(folder.path(), &decoder(Llama::sized(VOCABULARY, 1000, 16, 1, 2, 1), 1));
    let load = |options: Options| LocalModel::load(&admit(folder.path()), options).unwrap();
    let whole = load(options());
    assert_eq!((whole.context_length(), whole.context_cut()), (1000, None));
    let no_memory = Options { cache_share: Some(0.0), ..options() };
    if tsumugi_base::machine::available_memory_bytes().is_some() {
        let cut = load(no_memory.clone());
        assert_eq!(cut.context_length(), 64, "a page is the least");
        let told = cut.context_cut().unwrap();
        // Keys and values, one layer and head of 8 numbers of 4 bytes, perhaps padded.
        assert!((told.model, told.fitting) == (1000, 64) && told.wanted_bytes >= 1000 * 2 * 8 * 4, "{told:?}");
    }
    let asked = load(Options { context: Some(500), ..no_memory });
    assert_eq!((asked.context_length(), asked.context_cut()), (500, None), "who asks for it gets it");
}

#[test]
fn a_chat_file_suggests_system_messages() {
    let folder = temporary_folder();
    write_chat_model(folder.path(), &decoder(spec(), 1));
    assert!(load(folder.path()).unwrap().suggested_system_messages().is_empty(), "without the file");
    let suggested = ["You are ROMEO.".to_owned(), "You are \"JULIET\".".to_owned()];
    let write = |text: &str| fs::write(folder.path().join(CHAT_FILE), text).unwrap();
    write(&chat_file(&suggested));
    assert_eq!(load(folder.path()).unwrap().suggested_system_messages(), suggested);
    write("{}");
    assert!(load(folder.path()).unwrap().suggested_system_messages().is_empty());
    for wrong in [
        r#"{"suggested_system_messages": "You are ROMEO."}"#,
        r#"{"suggested_system_messages": [1]}"#,
        "[",
        &" ".repeat(1 << 21),
    ] {
        write(wrong);
        let error = error(load(folder.path())).to_string();
        assert!(error.contains("chat.json"), "{error}");
    }
}

#[test]
fn a_folder_without_a_tokenizer_or_with_anothers() {
    let folder = temporary_folder();
    write_chat_model(folder.path(), &decoder(DecoderSpec { vocabulary: 200, ..spec() }, 1));
    let wrong = error(load(folder.path()));
    assert!(matches!(wrong, LoadError::Vocabulary { tokenizer: 261, model: 200, .. }), "{wrong}");
    assert!(wrong.hint().is_some());
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    assert!(matches!(error(load(folder.path())), LoadError::NoTokenizer { .. }));
}

#[test]
fn a_base_model_has_no_chat_and_a_larger_vocabulary_is_fine() {
    let folder = temporary_folder();
    let tokenizer = write_chat_model(folder.path(), &decoder(DecoderSpec { vocabulary: 300, ..spec() }, 1));
    tokenizer.save(folder.path()).unwrap();
    let model = load(folder.path()).unwrap();
    assert!(!model.has_chat_template());
    let chat = model.count_tokens(&Prompt::Chat(vec![Message::new("user", "hi")]));
    assert!(matches!(chat, Err(GenerateError::Template { .. })));
    assert_eq!(model.count_tokens(&Prompt::Text("hi".into())), Ok(3), "the tokenizer puts BOS before");
    let beyond = model.count_tokens(&Prompt::Tokens(vec![270]));
    assert_eq!(beyond, Err(GenerateError::UnknownToken { id: 270, vocabulary_size: 261 }));
}

#[test]
fn a_template_in_a_file_of_its_own_is_found() {
    let folder = temporary_folder();
    let tokenizer = write_chat_model(folder.path(), &decoder(spec(), 1));
    tokenizer.save(folder.path()).unwrap();
    fs::write(folder.path().join("chat_template.jinja"), "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}")
        .unwrap();
    let model = load(folder.path()).unwrap();
    assert_eq!(model.encode(&Prompt::Chat(vec![Message::new("user", "hi")])), Ok(vec![258, 104, 105]));
}

#[test]
fn damaged_json_is_refused_and_never_panics() {
    let folder = temporary_folder();
    write_chat_model(folder.path(), &decoder(spec(), 1));
    for name in ["config.json", "tokenizer_config.json"] {
        let path = folder.path().join(name);
        let original = fs::read(&path).unwrap();
        let mut refused = 0;
        for mutation in mutations(&original, 4, 150) {
            fs::write(&path, &mutation.bytes).unwrap();
            if let Err(error) = load(folder.path()) {
                assert!(!error.to_string().is_empty());
                refused += 1;
            }
        }
        assert!(refused > 50, "{name}: only {refused} of 150 were refused");
        fs::write(&path, &original).unwrap();
    }
    fs::write(folder.path().join("generation_config.json"), "{").unwrap();
    assert!(matches!(error(load(folder.path())), LoadError::Files(_)));
}
