//! Many small random texts: the fast estimate against the plain one, and what must hold for any text.

use std::fs;

use tsumugi_base::progress::Silent;
use tsumugi_base::rng::{Key, Stream};
use tsumugi_base::testing::temporary_folder;
use tsumugi_classical::ngram::{NgramError, NgramModel, Scorer, WordId};

use crate::reference::reference;
use crate::{assert_same, estimate, options, read_arpa};

/// Sentences of words `a`, `b`, …, of which the first ones are frequent.
fn random_text(seed: u64) -> Vec<Vec<String>> {
    let mut random = Stream::new(Key::from_seed(seed));
    let (words, lines, longest) = (1 + random.below(9), 1 + random.below(30), 1 + random.below(9));
    let mut word = || char::from(b'a' + random.below(words).min(random.below(words)) as u8).to_string();
    let mut text: Vec<Vec<String>> =
        (0..lines).map(|line| (0..(line * 7) % (longest + 1)).map(|_| word()).collect()).collect();
    text[0].push(word());
    text
}

fn as_lines(text: &[Vec<String>]) -> String {
    text.iter().map(|sentence| sentence.join(" ") + "\n").collect()
}

#[test]
fn estimates_are_those_of_the_formulas() {
    let folder = temporary_folder();
    let (text_path, out) = (folder.path().join("text"), folder.path().join("out.arpa"));
    for seed in 0..60 {
        let text = random_text(seed);
        fs::write(&text_path, as_lines(&text)).unwrap();
        for order in 1..=5 {
            for prune in [vec![0], vec![0, 1], vec![0, 0, 2], vec![1, 1, 2]] {
                if prune.len() > order {
                    continue;
                }
                let mut options = options(order, folder.path());
                options.prune = prune.clone();
                estimate(&text_path, &options).unwrap().write_arpa(&out, &Silent).unwrap();
                let written = fs::read_to_string(&out).unwrap();
                let mut thresholds = prune.clone();
                thresholds.resize(order, *prune.last().unwrap());
                let what = format!("seed {seed}, order {order}, prune {prune:?}");
                assert_same(&read_arpa(&written).0, &reference(&text, &thresholds), 2e-6, &what);
            }
        }
    }
}

#[test]
fn bytes_do_not_depend_on_memory_or_threads() {
    let folder = temporary_folder();
    let path = |name: &str| folder.path().join(name);
    let mut random = Stream::new(Key::from_seed(3));
    let text: String = (0..60_000)
        .map(|i| format!("w{}{}", random.below(40) * random.below(40), if i % 11 == 0 { "\n" } else { " " }))
        .collect();
    fs::write(path("text"), text).unwrap();
    for prune in [vec![], vec![0, 0, 1]] {
        let run = |memory_bytes, threads| {
            let mut options = options(4, folder.path());
            (options.prune, options.memory_bytes, options.threads) = (prune.clone(), memory_bytes, threads);
            let estimate = estimate(&path("text"), &options).unwrap();
            estimate.write_arpa(&path("out.arpa"), &Silent).unwrap();
            estimate.write_model(&path("out.ngram"), &Silent).unwrap();
            (fs::read(path("out.arpa")).unwrap(), fs::read(path("out.ngram")).unwrap())
        };
        let expected = run(256 << 20, 1);
        for (memory_bytes, threads) in [(256 << 20, 2), (256 << 20, 5), (1 << 18, 1), (1 << 18, 3), (1 << 21, 2)] {
            assert!(run(memory_bytes, threads) == expected, "{memory_bytes} bytes, {threads} threads");
        }
    }
    let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["out.arpa", "out.ngram", "text"], "nothing temporary has a name");
}

#[test]
fn what_follows_a_context_sums_to_one() {
    let folder = temporary_folder();
    let (text_path, out) = (folder.path().join("text"), folder.path().join("out.ngram"));
    for seed in 0..40 {
        fs::write(&text_path, as_lines(&random_text(seed))).unwrap();
        for prune in [vec![], vec![0, 1], vec![0, 0, 1]] {
            let mut options = options(4, folder.path());
            options.prune = prune;
            estimate(&text_path, &options).unwrap().write_model(&out, &Silent).unwrap();
            let model = NgramModel::open(&out).unwrap();
            let words: Vec<WordId> = (0..model.counts()[0] as WordId).filter(|&word| word != 1).collect();
            let total = |scorer: &Scorer| -> f64 {
                words.iter().map(|&word| 10_f64.powf(scorer.clone().push(word).log10.into())).sum()
            };
            let mut random = Stream::new(Key::from_seed(seed));
            let mut scorer = model.begin_sentence();
            for _ in 0..30 {
                let sum = total(&scorer);
                assert!((sum - 1.0).abs() < 1e-4, "seed {seed}: {sum}");
                scorer.push(words[random.below(words.len() as u64) as usize]);
            }
        }
    }
}

#[test]
fn an_arpa_file_and_a_model_file_score_alike() {
    let folder = temporary_folder();
    let path = |name: &str| folder.path().join(name);
    for seed in 0..40 {
        fs::write(path("text"), as_lines(&random_text(seed))).unwrap();
        let mut options = options(1 + seed as usize % 5, folder.path());
        options.prune = if options.order > 2 && seed % 2 == 0 { vec![1, 1, 2] } else { vec![] };
        let estimate = estimate(&path("text"), &options).unwrap();
        estimate.write_arpa(&path("out.arpa"), &Silent).unwrap();
        estimate.write_model(&path("out.ngram"), &Silent).unwrap();
        let models = [NgramModel::open(&path("out.arpa")).unwrap(), NgramModel::open(&path("out.ngram")).unwrap()];
        assert_eq!(models[0].counts(), models[1].counts());
        let text = as_lines(&random_text(seed + 1));
        assert_eq!(models[0].score(&text), models[1].score(&text), "seed {seed}");
        let word = |model: &NgramModel| model.word(model.id(b"a")).map(<[u8]>::to_vec);
        assert_eq!(word(&models[0]), word(&models[1]));
    }
}

#[test]
fn texts_that_cannot_be_counted() {
    let folder = temporary_folder();
    let path = folder.path().join("text");
    let fails = |text: &[u8], change: &dyn Fn(&mut tsumugi_classical::ngram::TrainOptions)| {
        fs::write(&path, text).unwrap();
        let mut options = options(3, folder.path());
        change(&mut options);
        estimate(&path, &options).err().map(|error| error.to_string().replace(&*path.to_string_lossy(), "TEXT"))
    };
    let as_it_is = &|_: &mut _| {};
    assert_eq!(fails(b"", as_it_is).as_deref(), Some("the text has no words"));
    assert_eq!(fails(b"\n \n", as_it_is).as_deref(), Some("the text has no words"));
    let special = "TEXT, line 2: the word `<s>` stands for something else in a model";
    assert_eq!(fails(b"a\nb <s> c\n", as_it_is).as_deref(), Some(special));
    assert_eq!(fails(b"a\nb <s> c\n", &|options| options.skip_symbols = true), None);
    let discounts = "no discounts for n-grams of 1 words: no n-gram has the adjusted count 2";
    assert_eq!(fails(b"a b c\n", &|options| options.discount_fallback = None).as_deref(), Some(discounts));
    assert!(fails(b"a\n", &|options| options.order = 0).is_some());
    assert!(fails(b"a\n", &|options| options.order = 33).is_some());
    assert!(fails(b"a\n", &|options| options.prune = vec![0, 2, 1]).is_some());
    assert!(fails(b"a\n", &|options| options.prune = vec![0; 4]).is_some());
    let missing = estimate(&folder.path().join("none"), &options(2, folder.path()));
    assert!(matches!(missing, Err(NgramError::File(_))));
    let words: String = (0..200_000).map(|i| format!("word-{i} ")).collect();
    let error = fails(words.as_bytes(), &|options| options.memory_bytes = 1 << 20).unwrap();
    assert!(error.contains("more than half of the memory"), "{error}");
}

#[test]
fn words_are_bytes() {
    let folder = temporary_folder();
    let (text_path, out) = (folder.path().join("text"), folder.path().join("out.arpa"));
    fs::write(&text_path, b"\xff\xfe na\xc3\xafve\r\n\x01 \xff\xfe").unwrap();
    estimate(&text_path, &options(2, folder.path())).unwrap().write_arpa(&out, &Silent).unwrap();
    let model = NgramModel::open(&out).unwrap();
    assert_ne!(model.id(b"\xff\xfe"), 0);
    assert_eq!(model.score("na\u{ef}ve").unknown, 0);
    assert_eq!(model.score("nave").unknown, 1);
}
