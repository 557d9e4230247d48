//! Real texts and vocabularies, where they are.

use std::collections::HashMap;
use std::path::PathBuf;

use tsumugi_base::progress::Silent;
use tsumugi_base::run_record::sha256;
use tsumugi_base::testing::asset;
use tsumugi_files::gguf::parse_header;
use tsumugi_files::{ModelFiles, NoScan};
use tsumugi_tokenizer::Tokenizer;
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
    let tokenizer = Tokenizer::from_tiktoken(&std::fs::read_to_string(ranks).expect("it is text")).expect("it reads");
    // Published with tiktoken's README and its cookbook.
    assert_eq!(tokenizer.encode("tiktoken is great!"), [83, 1609, 5963, 374, 2294, 0]);
    assert_eq!(tokenizer.encode("antidisestablishmentarianism"), [519, 85342, 34500, 479, 8997, 2191]);
    assert_eq!(tokenizer.vocabulary_size(), 100_277);
    // Were a run of one word not linear, these would take minutes.
    for unit in ["a", " ", "1", "é", "\n ", "!"] {
        let text = unit.repeat(1_000_000);
        assert_eq!(tokenizer.decode(&tokenizer.encode(&text)), text);
    }
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

/// The vocabularies of llama.cpp, its texts and its ids.
#[test]
fn gguf_vocabularies_give_the_ids_of_llama_cpp() {
    for name in ["bert-bge", "gpt-2", "llama-spm"] {
        let Some(tokenizer) = gguf_vocabulary(name) else { return };
        let text = |ending: &str| {
            let path =
                asset(&format!("gguf-vocab/ggml-vocab-{name}.gguf.{ending}")).expect("it lies beside the vocabulary");
            std::fs::read_to_string(path).expect("it is text")
        };
        let (inputs, outputs) = (text("inp"), text("out"));
        let inputs: Vec<&str> = inputs.split("\n__ggml_vocab_test__\n").collect();
        let outputs: Vec<&str> = outputs.lines().collect();
        assert!(outputs.len() > 40, "{name}");
        for (input, output) in inputs.iter().zip(&outputs) {
            let expected: Vec<u32> = output.split_whitespace().map(|id| id.parse().expect("an id")).collect();
            assert_eq!(tokenizer.encode(input), expected, "{name}: {input:?}");
        }
    }
}

fn gguf_vocabulary(name: &str) -> Option<Tokenizer> {
    let path = asset(&format!("gguf-vocab/ggml-vocab-{name}.gguf"))?;
    let header = parse_header(&std::fs::read(&path).expect("it reads"), &path).expect("a GGUF file");
    Some(Tokenizer::from_gguf(&header.metadata).expect("a vocabulary"))
}

/// llama.cpp's ids, without BOS. The vocabulary has no token for some bytes.
#[test]
fn smollm2_gives_the_ids_of_llama_cpp() {
    let Some(path) = asset("models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let model = ModelFiles::admit(&path, &NoScan { reason: "a published file without code" }).expect("a GGUF file");
    let tokenizer = Tokenizer::of_model(&model).expect("it reads").expect("it has a vocabulary");
    for (text, ids) in [
        (
            "Hello, world! 12345  naïve café 東京 🙂\n\tfoo_bar()",
            &[
                19556, 28, 905, 17, 216, 33, 34, 35, 36, 37, 216, 15486, 46494, 37366, 17097, 247, 126, 16736, 122,
                47526, 198, 197, 15236, 79, 6299, 1000,
            ][..],
        ),
        ("def f(x):\n    return x**2  # comment", &[1604, 275, 24, 104, 727, 472, 1003, 1792, 828, 34, 216, 907, 5189]),
        (
            "The quick brown fox can't jump over 3.14159 lazy dogs.",
            &[504, 2365, 6354, 16438, 416, 982, 7379, 690, 216, 35, 30, 33, 36, 33, 37, 41, 23790, 5046, 30],
        ),
        ("a\u{4}b", &[81, 82]),
    ] {
        assert_eq!(tokenizer.encode(text), ids, "{text}");
    }
    assert_eq!((tokenizer.vocabulary_size(), tokenizer.prefix()), (49_152, &[][..]));
}

/// Token counts of FLORES-200 that Petrov et al. 2023 published (arXiv 2305.15425), of each language whose text is here.
#[test]
fn flores_token_counts_are_the_published_ones() {
    let (Some(folder), Some(ranks)) = (asset("flores-tokenization"), asset("tiktoken/cl100k_base.tiktoken")) else {
        return;
    };
    let cl100k = Tokenizer::from_tiktoken(&std::fs::read_to_string(ranks).expect("it is text")).expect("it reads");
    let (Some(gpt2), Some(llama)) = (gguf_vocabulary("gpt-2"), gguf_vocabulary("llama-spm")) else { return };
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("it is text");
    let table = read("tokenization_lengths.csv");
    let mut rows = table.lines().map(csv_fields);
    let header = rows.next().expect("a header");
    let rows: HashMap<String, Vec<String>> = rows.map(|fields| (fields[0].clone(), fields)).collect();
    let mut languages = 0;
    for fields in read("flores_language_map.csv").lines().skip(1).map(csv_fields) {
        let [language, code] = &fields[..] else { panic!("{fields:?}") };
        let part = |name: &str| std::fs::read_to_string(folder.join(name).join(format!("{}.{name}", code.trim())));
        let (Ok(dev), Ok(devtest)) = (part("dev"), part("devtest")) else { continue };
        languages += 1;
        let text = dev.split('\n').chain(devtest.split('\n')).collect::<Vec<_>>().join(" ");
        for (column, tokenizer) in [("cl100k_base", &cl100k), ("GPT-2", &gpt2), ("r50k_base", &gpt2), ("LLAMA", &llama)]
        {
            let place = header.iter().position(|name| name == column).expect("a column");
            assert_eq!(tokenizer.encode(&text).len().to_string(), rows[language][place], "{language} {column}");
        }
    }
    assert_eq!(languages, 13);
}

/// The fields of a line, of which some are in quotes.
fn csv_fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => fields.last_mut().expect("one at least").push(other),
        }
    }
    fields
}
