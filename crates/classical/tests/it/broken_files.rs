//! Broken models: a clear error or a model that scores something, never a panic.

use std::fs;
use std::path::Path;

use tsumugi_base::limits::NGRAM_WORD_BYTES_MAX;
use tsumugi_base::progress::Silent;
use tsumugi_base::testing::{mutations, temporary_folder};
use tsumugi_classical::ngram::NgramModel;

use crate::{estimate, fixture, options};

/// Opens and scores; whether it opened.
fn opens(path: &Path) -> bool {
    let Ok(model) = NgramModel::open(path) else { return false };
    let mut scorer = model.begin_sentence();
    for word in 0..200 {
        scorer.push(word * 7 % 160);
        model.word(word);
    }
    model.score("First Citizen: speak, speak to the people\nwe know");
    true
}

#[test]
fn mutated_files_never_panic() {
    let folder = temporary_folder();
    let (path, model) = (folder.path().join("mutated"), folder.path().join("citizens.ngram"));
    estimate(&fixture("citizens.txt"), &options(3, folder.path())).unwrap().write_model(&model, &Silent).unwrap();
    for (original, count) in [(fixture("citizens.arpa"), 1500), (model, 1500)] {
        assert!(opens(&original));
        let original = fs::read(original).unwrap();
        let mut opened = 0;
        for mutation in mutations(&original, 11, count) {
            fs::write(&path, &mutation.bytes).unwrap();
            opened += u64::from(opens(&path));
        }
        assert!(opened < count, "some mutations are found");
    }
}

#[test]
fn a_cut_model_file_is_refused() {
    let folder = temporary_folder();
    let path = folder.path().join("model");
    estimate(&fixture("citizens.txt"), &options(2, folder.path())).unwrap().write_model(&path, &Silent).unwrap();
    let whole = fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(97) {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(!opens(&path), "{length} bytes");
    }
}

#[test]
fn arpa_errors_name_the_line() {
    let folder = temporary_folder();
    let path = folder.path().join("broken.arpa");
    let error = |text: &str| {
        fs::write(&path, text).unwrap();
        let error = NgramModel::open(&path).err().map(|error| error.to_string()).unwrap_or_default();
        error.replace(&*path.to_string_lossy(), "FILE")
    };
    let good = "\\data\\\nngram 1=3\nngram 2=1\n\n\\1-grams:\n-1\ta\t-0.5\n-1\tb\t0\n-2\t</s>\n\n\\2-grams:\n-0.3\ta b\n\n\\end\\\n";
    assert_eq!(error(good), "");
    for (from, to, expected) in [
        ("\\data\\", "data", "line 13: no `\\data\\` with numbers of n-grams"),
        ("ngram 2=1", "ngram 2=x", "line 3: here should be `ngram 2=` and a number"),
        ("ngram 2=1", "ngram 2=2", "line 12: 2 2-grams are announced, but there are 1"),
        ("ngram 1=3", "ngram 1=2", "line 8: more 1-grams than the 2 announced"),
        ("ngram 1=3", "ngram 1=99999999999", "line 9: 99999999999 1-grams are announced, but there are 3"),
        ("-1\tb", "1\tb", "line 7: `1` is no log10 of a probability"),
        ("-1\tb", "-1 b x y", "line 7: a line of 1-grams has a number, 1 words, and perhaps one more number"),
        ("-2\t</s>", "-2\ta", "line 8: this n-gram stands here for the second time"),
        ("-0.5", "low", "line 6: `low` is no log10 of a back-off weight"),
        ("-0.5", "-inf", "line 6: `-inf` is no log10 of a back-off weight"),
        ("a b", "a c", "line 11: the word `c` is no unigram"),
        ("a b", "a b\t-1", "line 11: the highest order has no back-off weights"),
        ("\\2-grams:", "\\3-grams:", "line 10: here should be `\\2-grams:`"),
        ("\\end\\", "", "line 13: here should be `\\end\\`"),
    ] {
        assert_eq!(error(&good.replacen(from, to, 1)), format!("FILE, {expected}"), "{from} as {to}");
    }
    let trigrams =
        good.replace("ngram 2=1\n", "ngram 2=1\nngram 3=1\n").replace("\\end", "\\3-grams:\n-1\tb a a\n\n\\end");
    assert_eq!(error(&trigrams), "FILE, line 15: this n-gram without its first word is not in the model");
    assert!(error(&"x".repeat(NGRAM_WORD_BYTES_MAX)).contains("line 1: the line is too long"));
}
