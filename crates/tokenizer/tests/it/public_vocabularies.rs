//! Real texts and vocabularies, where they are.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::json;
use tsumugi_base::progress::Silent;
use tsumugi_base::run_record::sha256;
use tsumugi_base::testing::asset;
use tsumugi_tokenizer::Tokenizer;
use tsumugi_tokenizer::bpe::{Split, byte_to_char};
use tsumugi_tokenizer::train::{TrainingConfig, train_bpe};

/// The texts of UDHR by file name.
fn universal_declaration(folder: PathBuf) -> Vec<(String, String)> {
    let mut texts: Vec<(String, String)> = std::fs::read_dir(folder)
        .expect("it is a folder")
        .map(|entry| entry.expect("it lists").path())
        .filter(|path| !path.ends_with("PROVENANCE.txt"))
        .map(|path| {
            let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).expect("it is text"))
        })
        .collect();
    texts.sort();
    assert!(texts.len() > 20);
    texts
}

#[test]
fn texts_of_many_languages_come_back() {
    let Some(folder) = asset("udhr") else { return };
    let texts = universal_declaration(folder);
    let corpus: Vec<&String> = texts.iter().map(|(_, text)| text).collect();
    let config = TrainingConfig { vocabulary_size: 2000, ..TrainingConfig::default() };
    let tokenizer = train_bpe(&corpus, &config, &Silent).expect("it trains");
    assert_eq!(tokenizer.vocabulary_size(), 2000);
    for (name, text) in &texts {
        let ids = tokenizer.encode(text);
        assert_eq!(tokenizer.decode(&ids), *text, "{name}");
        assert!(ids.len() < text.len(), "{name} was not compressed");
    }
}

#[test]
fn cl100k_gives_the_ids_of_tiktoken() {
    let (Some(ranks), Some(folder)) = (asset("tiktoken/cl100k_base.tiktoken"), asset("udhr")) else { return };
    let tokenizer = Tokenizer::from_json(&tokenizer_json(&std::fs::read_to_string(ranks).expect("it is text")))
        .expect("a byte-level BPE");
    // Published with tiktoken's README and its cookbook.
    assert_eq!(tokenizer.encode("tiktoken is great!"), [83, 1609, 5963, 374, 2294, 0]);
    assert_eq!(tokenizer.encode("antidisestablishmentarianism"), [519, 85342, 34500, 479, 8997, 2191]);
    assert_eq!(tokenizer.vocabulary_size(), 100_258);
    let golden = include_str!("goldens/cl100k_udhr.txt");
    let texts: HashMap<String, String> = universal_declaration(folder).into_iter().collect();
    for line in golden.lines().filter(|line| !line.starts_with('#')) {
        let [name, count, hash] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let ids = tokenizer.encode(&texts[name]);
        assert_eq!(ids.len().to_string(), count, "{name}");
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        assert_eq!(sha256(&bytes), hash, "{name}");
    }
}

/// tiktoken's ranks as a `tokenizer.json`: each token's merge is the last step of encoding it with the ranks below its own.
fn tokenizer_json(ranks: &str) -> String {
    let tokens: Vec<(Vec<u8>, u32)> = ranks
        .lines()
        .map(|line| line.split_once(' ').expect("token and rank"))
        .map(|(token, rank)| (from_base64(token), rank.parse().expect("a number")))
        .collect();
    let rank_of: HashMap<&[u8], u32> = tokens.iter().map(|(token, rank)| (&token[..], *rank)).collect();
    let text = |bytes: &[u8]| bytes.iter().copied().map(byte_to_char).collect::<String>();
    let merges: Vec<[String; 2]> = tokens
        .iter()
        .filter(|(token, _)| token.len() > 1)
        .map(|(token, rank)| {
            let cut = last_cut(token, *rank, &rank_of);
            [text(&token[..cut]), text(&token[cut..])]
        })
        .collect();
    let vocabulary: serde_json::Map<String, serde_json::Value> =
        tokens.iter().map(|(token, rank)| (text(token), json!(rank))).collect();
    json!({
        "version": "1.0", "normalizer": null, "post_processor": null, "decoder": {"type": "ByteLevel"},
        "added_tokens": [{"id": 100257, "content": "<|endoftext|>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true}],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": Split::Gpt4.pattern()}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges},
    })
    .to_string()
}

/// Merges `token` with ranks below `rank` until two parts are left; where the second begins.
fn last_cut(token: &[u8], rank: u32, rank_of: &HashMap<&[u8], u32>) -> usize {
    let mut starts: Vec<usize> = (0..=token.len()).collect();
    while starts.len() > 3 {
        let ranks = (0..starts.len() - 2).filter_map(|at| {
            let merged = rank_of.get(&token[starts[at]..starts[at + 2]])?;
            (*merged < rank).then_some((*merged, at))
        });
        let (_, at) = ranks.min().expect("every token of the file was once a merge of two others");
        starts.remove(at + 1);
    }
    starts[1]
}

fn from_base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("{other} is no base64"),
    };
    let digits: Vec<u8> = text.bytes().filter(|&byte| byte != b'=').map(digit).collect();
    let mut bytes: Vec<u8> = Vec::new();
    for group in digits.chunks(4) {
        let bits = group.iter().fold(0u32, |bits, &digit| bits << 6 | u32::from(digit)) << (6 * (4 - group.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}
