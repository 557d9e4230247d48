//! `tsumugi perplexity`

use tsumugi_base::testing::temporary_folder;

use crate::support::{drama, tiny_model, tiny_tokenizer, tsumugi};

#[test]
fn it_measures_and_the_numbers_agree_with_each_other() {
    let folder = temporary_folder();
    let path = folder.path();
    tiny_model(&path.join("model"), false);
    std::fs::write(path.join("drama.txt"), drama()).unwrap();
    let measured = tsumugi(path, &["perplexity", "model", "drama.txt", "--json"]).json();
    let keys: Vec<&String> = measured.as_object().unwrap().keys().collect();
    let expected = ["nll_nats", "tokens_scored", "perplexity", "bits_per_byte", "bits_per_token", "window", "stride"];
    assert_eq!(keys, expected);
    let number = |key: &str| measured[key].as_f64().unwrap();
    // All but BOS.
    assert_eq!(number("tokens_scored") as usize, tiny_tokenizer().encode(&drama()).len());
    assert_eq!((number("window"), number("stride")), (64.0, 64.0));
    let per_token = number("nll_nats") / number("tokens_scored");
    assert!((per_token.exp() - number("perplexity")).abs() < 1e-6 * number("perplexity"));
    assert!((per_token / std::f64::consts::LN_2 - number("bits_per_token")).abs() < 1e-9);
    let bits = number("bits_per_token") * number("tokens_scored");
    assert!((bits / drama().len() as f64 - number("bits_per_byte")).abs() < 1e-9);
    // Random weights of deviation 0.02 predict next to nothing: about one of 320 tokens.
    assert!((number("perplexity") / 320.0 - 1.0).abs() < 0.1, "{measured}");

    let text = tsumugi(path, &["perplexity", "model", "drama.txt", "--stride", "32"]);
    assert_eq!(text.code, 0, "{}", text.stderr);
    assert!(
        text.stdout.starts_with("perplexity ") && text.stdout.ends_with("(window 64, stride 32)\n"),
        "{}",
        text.stdout
    );
}

#[test]
fn weights_may_stay_in_the_file() {
    let folder = temporary_folder();
    let path = folder.path();
    tiny_model(&path.join("model"), false);
    std::fs::write(path.join("drama.txt"), drama()).unwrap();
    assert_eq!(tsumugi(path, &["quantize", "model", "small.gguf", "--type", "Q8_0"]).code, 0);
    let measured = |weights: &str| tsumugi(path, &["perplexity", "small.gguf", "drama.txt", "--weights", weights]);
    let (mapped, packed) = (measured("mapped"), measured("packed"));
    assert_eq!((mapped.code, mapped.stdout.starts_with("perplexity ")), (0, true), "{}", mapped.stderr);
    assert_eq!(mapped.stdout, packed.stdout);
    let widened = ["perplexity", "small.gguf", "drama.txt", "--weights", "mapped", "--compute", "f32"];
    let refused = tsumugi(path, &widened);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("`--compute f32` widens them all"), "{}", refused.stderr);
}

#[test]
fn a_quantized_model_is_measured_against_the_one_it_was_made_from() {
    let folder = temporary_folder();
    let path = folder.path();
    tiny_model(&path.join("model"), false);
    std::fs::write(path.join("drama.txt"), drama()).unwrap();
    assert_eq!(tsumugi(path, &["quantize", "model", "small.gguf", "--type", "Q8_0"]).code, 0);
    let against = |model: &str, more: &[&str]| {
        let asked = ["perplexity", model, "drama.txt", "--against", "model"];
        tsumugi(path, &[asked.as_slice(), more].concat())
    };
    let measured = against("small.gguf", &["--json"]).json();
    let alone = tsumugi(path, &["perplexity", "small.gguf", "drama.txt", "--json"]).json();
    let number = |pointer: &str| measured.pointer(pointer).unwrap().as_f64().unwrap();
    assert!((number("/perplexity") / alone["perplexity"].as_f64().unwrap() - 1.0).abs() < 1e-5, "{measured}");
    assert_eq!(number("/reference/bits_per_weight"), 32.0);
    // Rows of 16 are no whole block: some tensors are F16.
    assert!((8.5..16.0).contains(&number("/bits_per_weight")), "{measured}");
    let bytes = number("/weight_bytes") / number("/reference/weight_bytes");
    assert!((bytes - number("/bits_per_weight") / 32.0).abs() < 1e-9, "{measured}");
    let [mean, p99, maximum] = ["mean", "percentile_99", "maximum"].map(|of| number(&format!("/divergence/{of}_nats")));
    assert!(0.0 < mean && mean < p99 && p99 <= maximum && maximum < 0.01, "{measured}");
    assert!((0.5..=1.0).contains(&number("/divergence/same_top")), "{measured}");

    let itself = against("model", &["--compute", "f32"]);
    assert_eq!(itself.code, 0, "{}", itself.stderr);
    assert!(itself.stderr.contains("KL divergence: 0 of "), "{}", itself.stderr);
    let said = "KL divergence 0.000000 nats per token, 99th percentile 0.000000, maximum 0.000000; the same token is \
                likeliest for 100.00 %; over ";
    let lines: Vec<&str> = itself.stdout.lines().collect();
    assert!(lines.len() == 4 && lines[3].starts_with(said), "{}", itself.stdout);
    assert_eq!(lines[1].trim_start().strip_prefix("against"), lines[2].trim_start().strip_prefix("model"));
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let folder = temporary_folder();
    let path = folder.path();
    tiny_model(&path.join("model"), false);
    std::fs::write(path.join("drama.txt"), drama()).unwrap();
    tsumugi(path, &["perplexity", "model", "drama.txt", "--window", "65"]).is("
        exit 2
        ---- stderr
        error: a window of 65 was asked for, but the model has 64 positions

        hint: give a window from 1 to 64, or leave it out
    ");
    tsumugi(path, &["perplexity", "model", "nothing.txt"]).is("
        exit 2
        ---- stderr
        error: cannot read nothing.txt: no such file or folder

        hint: check the path; it is taken relative to the current folder
    ");
}
