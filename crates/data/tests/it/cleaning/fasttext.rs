//! Predictions are fastText's, and no file does harm.

use std::collections::BTreeMap;
use std::path::Path;

use tsumugi_base::testing::optional_asset;
use tsumugi_data::clean::language::fasttext::FastText;
use tsumugi_data::clean::language::{Identify, Trigrams};

use super::{fixture, golden};

/// A text, and the probability of each label.
type Prediction = (String, BTreeMap<String, f32>);

const MODELS: [&str; 5] = ["softmax.bin", "tree.bin", "sigmoid.bin", "quantized.ftz", "pruned.ftz"];

#[test]
fn predictions_are_fasttexts() {
    let goldens: BTreeMap<String, Vec<Prediction>> = golden("predictions.json");
    assert_eq!(goldens.len(), MODELS.len());
    for (name, cases) in goldens {
        let model = FastText::open(&fixture(&name)).unwrap();
        for (text, wanted) in cases {
            let found: BTreeMap<_, _> = model.predict(&text, usize::MAX).into_iter().collect();
            assert_eq!(found.len(), wanted.len(), "{name} of {text:?}");
            for (label, probability) in wanted {
                // fastText adds 1e-5 to every probability before it takes its logarithm.
                assert!(
                    (found[label.as_str()] - probability).abs() < 1e-4,
                    "{name} of {text:?}: {found:?}, want {label} {probability}"
                );
            }
        }
    }
}

#[test]
fn the_published_model_says_what_it_says_to_fasttext() {
    let Some(path) = optional_asset("lid.176.ftz") else { return };
    let model = FastText::open(&path).unwrap();
    assert_eq!(model.labels().len(), 176);
    let cases: Vec<Prediction> = golden("lid176.json");
    assert!(cases.len() > 20);
    for (text, wanted) in cases {
        let found: BTreeMap<_, _> = model.predict(&text, 3).into_iter().collect();
        for (label, probability) in wanted.into_iter().filter(|(_, probability)| *probability > 0.01) {
            let near = found.get(label.as_str()).is_some_and(|found| (found - probability).abs() < 1e-3);
            assert!(near, "of {text:?}: {found:?}, want {label} {probability}");
        }
    }
}

#[test]
fn a_language_has_its_code() {
    let model = FastText::open(&fixture("softmax.bin")).unwrap();
    let found = model.identify("кошка сидела на коврике").unwrap();
    assert_eq!(found.code, "ru");
    assert!(found.confidence > 0.9);
    assert_eq!(model.predict("the cat", 2).len(), 2);
    let german = "Alle Menschen sind frei und gleich an Würde und Rechten geboren.";
    assert_eq!(Trigrams.identify(german).unwrap().code, "de");
    assert_eq!(Trigrams.identify("人人生而自由，在尊严和权利上一律平等。").unwrap().code, "zh");
    assert_eq!(Trigrams.identify("123 456"), None);
}

#[test]
fn a_damaged_model_is_an_error() {
    let path = Path::new("damaged.bin");
    for name in MODELS {
        let bytes = std::fs::read(fixture(name)).unwrap();
        for length in (0..bytes.len()).step_by(7) {
            let error = FastText::from_bytes(&bytes[..length], path).unwrap_err().to_string();
            assert!(error.starts_with("damaged.bin is not a fastText classifier: "), "{error}");
        }
        // Any four bytes at any place of the head: an error, or a model that answers.
        for place in 0..bytes.len().min(400) {
            for value in [0, 1, -1, i32::MAX, i32::MIN, 1000] {
                let mut damaged = bytes.clone();
                let end = (place + 4).min(damaged.len());
                damaged[place..end].copy_from_slice(&value.to_le_bytes()[..end - place]);
                if let Ok(model) = FastText::from_bytes(&damaged, path) {
                    model.predict("the cat sat on the Vogel кошка", 3);
                }
            }
        }
    }
}

#[test]
fn other_files_are_named_as_what_they_are_not() {
    let error = FastText::from_bytes(b"{\"a\": 1}", Path::new("config.json")).unwrap_err().to_string();
    assert!(error.contains("it begins with") && error.contains("(byte 4)"), "{error}");
}
