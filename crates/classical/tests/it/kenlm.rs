//! What KenLM makes of a small text, and what we make of it.

use tsumugi_base::progress::Silent;
use tsumugi_base::testing::temporary_folder;
use tsumugi_classical::ngram::{NgramModel, TextScore};

use crate::{assert_same, estimate, fixture, options, read_arpa};

/// lmplz computes in float32.
const TOLERANCE: f64 = 2e-6;

#[test]
fn estimates_are_those_of_lmplz() {
    let folder = temporary_folder();
    let out = folder.path().join("out.arpa");
    for (golden, order, prune) in [
        ("citizens.arpa", 3, vec![]),
        ("citizens-pruned.arpa", 3, vec![0, 0, 1]),
        ("citizens-unigrams.arpa", 1, vec![]),
    ] {
        let mut options = options(order, folder.path());
        options.prune = prune;
        estimate(&fixture("citizens.txt"), &options).unwrap().write_arpa(&out, &Silent).unwrap();
        let (ours, theirs) =
            (std::fs::read_to_string(&out).unwrap(), std::fs::read_to_string(fixture(golden)).unwrap());
        let ((ours_ngrams, ours_header), (theirs_ngrams, theirs_header)) = (read_arpa(&ours), read_arpa(&theirs));
        assert_eq!(ours_header, theirs_header, "{golden}");
        assert_same(&ours_ngrams, &theirs_ngrams, TOLERANCE, golden);
        let order_of_lines = |text: &str| -> Vec<String> {
            text.lines().map(|line| line.split('\t').nth(1).unwrap_or(line).to_owned()).collect()
        };
        assert_eq!(order_of_lines(&ours), order_of_lines(&theirs), "{golden}: lines in another order");
    }
}

/// `word=id length log10` for each word, then `Total: log10 OOV: count`, then the summary.
#[test]
fn answers_are_those_of_query() {
    let folder = temporary_folder();
    let path = folder.path().join("citizens.ngram");
    estimate(&fixture("citizens.txt"), &options(3, folder.path())).unwrap().write_model(&path, &Silent).unwrap();
    let expected = std::fs::read_to_string(fixture("queries.out")).unwrap();
    for model in [NgramModel::open(&fixture("citizens.arpa")).unwrap(), NgramModel::open(&path).unwrap()] {
        let mut all = TextScore::default();
        let mut lines = expected.lines();
        for query in std::fs::read_to_string(fixture("queries.txt")).unwrap().lines() {
            let mut fields = lines.next().unwrap().split('\t');
            model.score_line(query.as_bytes(), |word, id, scored| {
                all.count(scored);
                let (found, rest) = fields.next().unwrap().split_once('=').unwrap();
                assert_eq!(found.as_bytes(), word);
                let [expected_id, length, log10] = rest.split(' ').collect::<Vec<_>>()[..] else { panic!("{rest}") };
                // KenLM's ids depend on its kind of model, but for that of unknown words.
                assert_eq!(id == 0, expected_id == "0", "{found}");
                assert_eq!(scored.ngram_length.to_string(), length, "{found} in `{query}`");
                let difference = f64::from(scored.log10) - log10.parse::<f64>().unwrap();
                assert!(difference.abs() < TOLERANCE, "{found} in `{query}`: {} instead of {log10}", scored.log10);
            });
        }
        let number = |name| -> f64 {
            let line = expected.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().parse().unwrap()
        };
        assert!((all.perplexity() / number("Perplexity including OOVs:") - 1.0).abs() < 1e-5);
        assert!((all.perplexity_of_known() / number("Perplexity excluding OOVs:") - 1.0).abs() < 1e-5);
        assert_eq!((all.unknown as f64, all.tokens as f64), (number("OOVs:"), number("Tokens:")));
        assert_eq!(model.score(&std::fs::read_to_string(fixture("queries.txt")).unwrap()), all);
        assert_eq!(model.score_file(&fixture("queries.txt"), |_| Ok(())).unwrap(), all);
    }
}
