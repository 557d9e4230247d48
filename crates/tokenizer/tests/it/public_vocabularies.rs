//! Real texts and vocabularies, where they are.

use tsumugi_base::progress::Silent;
use tsumugi_base::testing::asset;
use tsumugi_tokenizer::train::{TrainingConfig, train_bpe};

#[test]
fn texts_of_many_languages_come_back() {
    let Some(folder) = asset("udhr") else { return };
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("it is a folder").map(|entry| entry.expect("it lists").path()).collect();
    files.sort();
    let texts: Vec<String> = files.iter().map(|path| std::fs::read_to_string(path).expect("it is text")).collect();
    assert!(texts.len() > 20);
    let config = TrainingConfig { vocabulary_size: 2000, ..TrainingConfig::default() };
    let tokenizer = train_bpe(&texts, &config, &Silent).expect("it trains");
    assert_eq!(tokenizer.vocabulary_size(), 2000);
    for (path, text) in files.iter().zip(&texts) {
        let ids = tokenizer.encode(text);
        assert_eq!(tokenizer.decode(&ids), *text, "{}", path.display());
        assert!(ids.len() < text.len(), "{} was not compressed", path.display());
    }
}
