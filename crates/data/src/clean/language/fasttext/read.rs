//! fastText's binary format. Every size is held against the bytes that are there before anything is allocated.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tsumugi_base::io::{TextError, read_limited};

use super::matrix::{CENTROIDS, Quantizer, Rows};
use super::tree::Tree;
use super::{FastText, Loss, Settings};

/// The largest published models of vectors have 7 GB.
const FILE_BYTES_MAX: u64 = 16 << 30;
const MAGIC: i32 = 793_712_314;
const VERSION_MAX: i32 = 12;
/// Longer vectors are nobody's.
const DIMENSIONS_MAX: i32 = 1 << 16;
/// Longer n-grams of characters or words only cost time.
const NGRAM_MAX: i32 = 64;

/// Why a model could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FastTextError {
    /// The file could not be read.
    #[error(transparent)]
    File(#[from] TextError),
    /// It is not what it should be.
    #[error("{path} is not a fastText classifier: {reason} (byte {offset})", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What disagrees.
        reason: String,
        /// Where it was seen.
        offset: usize,
    },
}

impl FastText {
    /// Reads a `.bin` or `.ftz`.
    pub fn open(path: &Path) -> Result<Self, FastTextError> {
        let bytes = read_limited(path, FILE_BYTES_MAX)?;
        Self::from_bytes(&bytes, path)
    }

    /// Reads a model in memory; `path` is for errors.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self, FastTextError> {
        let mut reader = Reader { bytes, offset: 0 };
        reader.model().map_err(|reason| FastTextError::Malformed {
            path: path.to_owned(),
            reason,
            offset: reader.offset,
        })
    }
}

struct Reader<'b> {
    bytes: &'b [u8],
    offset: usize,
}

struct Dictionary {
    words: HashMap<Vec<u8>, u32, crate::clean::hash::Fixed>,
    labels: Vec<String>,
    label_counts: Vec<i64>,
    kept_ngrams: Option<HashMap<u32, u32, crate::clean::hash::Fixed>>,
}

impl<'b> Reader<'b> {
    fn model(&mut self) -> Result<FastText, String> {
        let settings = self.settings()?;
        let dictionary = self.dictionary()?;
        let is_quantized = self.flag()?;
        let input = self.matrix(is_quantized, settings.dimensions)?;
        let ngrams = dictionary
            .kept_ngrams
            .as_ref()
            .map_or(settings.buckets as usize, |kept| kept.values().max().map_or(0, |row| *row as usize + 1));
        let hashes = settings.ngram_max > 0 || settings.word_ngrams > 1;
        let rows = dictionary.words.len() + if hashes { ngrams } else { 0 };
        if input.len() < rows {
            return Err(format!("the input matrix has {} rows for {rows} words and n-grams", input.len()));
        }
        let is_output_quantized = self.flag()?;
        let output = self.matrix(is_quantized && is_output_quantized, settings.dimensions)?;
        if output.len() < dictionary.labels.len() {
            return Err(format!("the output matrix has {} rows for {} labels", output.len(), dictionary.labels.len()));
        }
        let tree = (settings.loss == Loss::HierarchicalSoftmax).then(|| Tree::new(&dictionary.label_counts));
        let Dictionary { words, labels, kept_ngrams, .. } = dictionary;
        Ok(FastText { settings, words, labels, kept_ngrams, input, output, tree })
    }

    fn settings(&mut self) -> Result<Settings, String> {
        let magic = self.i32()?;
        if magic != MAGIC {
            return Err(format!("it begins with {magic}, not with {MAGIC}"));
        }
        let version = self.i32()?;
        if !(11..=VERSION_MAX).contains(&version) {
            return Err(format!("version {version}; 11 and {VERSION_MAX} are known"));
        }
        let dimensions = self.within("the dimension", 1..=DIMENSIONS_MAX)?;
        let _unused_window_epochs_count_negatives = [self.i32()?, self.i32()?, self.i32()?, self.i32()?];
        let word_ngrams = self.within("the length of word n-grams", 0..=NGRAM_MAX)?;
        let loss = match self.i32()? {
            1 => Loss::HierarchicalSoftmax,
            3 => Loss::Softmax,
            2 | 4 => Loss::Sigmoid,
            other => return Err(format!("loss {other} is unknown")),
        };
        let kind = self.i32()?;
        if kind != 3 {
            return Err("it holds word vectors, not a supervised classifier".into());
        }
        let buckets = self.within("the number of buckets", 0..=i32::MAX)?;
        let ngram_min = self.within("the shortest n-gram", 0..=NGRAM_MAX)? as usize;
        let ngram_max = self.within("the longest n-gram", 0..=NGRAM_MAX)? as usize;
        let _learning_rate_updates = self.i32()?;
        let _sampling = self.take(8)?;
        Ok(Settings {
            dimensions: dimensions as usize,
            word_ngrams: word_ngrams as usize,
            loss,
            buckets: buckets as u32,
            ngram_min,
            // Classifiers of version 11 had no n-grams of characters, whatever the field says.
            ngram_max: if version == 11 { 0 } else { ngram_max },
        })
    }

    fn dictionary(&mut self) -> Result<Dictionary, String> {
        let entries = self.within("the number of entries", 0..=i32::MAX)?;
        let words_said = self.i32()?;
        let labels_said = self.within("the number of labels", 1..=i32::MAX)?;
        let _tokens = self.i64()?;
        let pruned = self.i64()?;
        let (mut words, mut labels, mut label_counts) = (HashMap::default(), Vec::new(), Vec::new());
        for _ in 0..entries {
            let word = self.word()?;
            let count = self.i64()?;
            match self.take(1)?[0] {
                0 => {
                    let row = words.len() as u32;
                    if words.insert(word.to_vec(), row).is_some() {
                        return Err("a word is there twice".into());
                    }
                }
                1 => {
                    labels.push(String::from_utf8_lossy(word).into_owned());
                    label_counts.push(count);
                }
                other => return Err(format!("an entry of type {other}, neither word nor label")),
            }
        }
        if (words.len(), labels.len()) != (words_said as usize, labels_said as usize) {
            let found = format!("{} words and {} labels", words.len(), labels.len());
            return Err(format!("{found}, where {words_said} and {labels_said} were announced"));
        }
        if label_counts.iter().any(|count| *count < 0) || !label_counts.is_sorted_by(|a, b| a >= b) {
            return Err("the labels are not sorted by how often they were seen".into());
        }
        let kept_ngrams = if pruned < 0 { None } else { Some(self.kept_ngrams(pruned)?) };
        Ok(Dictionary { words, labels, label_counts, kept_ngrams })
    }

    fn kept_ngrams(&mut self, count: i64) -> Result<HashMap<u32, u32, crate::clean::hash::Fixed>, String> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let bytes = self.take(count.saturating_mul(8))?;
        Ok(bytes
            .chunks_exact(8)
            .map(|pair| {
                let number = |at: usize| u32::from_le_bytes([pair[at], pair[at + 1], pair[at + 2], pair[at + 3]]);
                (number(0), number(4))
            })
            .collect())
    }

    fn matrix(&mut self, is_quantized: bool, columns: usize) -> Result<Rows, String> {
        let has_norms = is_quantized && self.flag()?;
        let (rows, columns_said) = (self.size()?, self.size()?);
        if columns_said != columns {
            return Err(format!("a matrix of {columns_said} columns, where vectors have {columns}"));
        }
        if !is_quantized {
            let values = self.floats(rows.saturating_mul(columns))?;
            return Ok(Rows::Dense { values, columns });
        }
        let code_bytes = self.within("the number of codes", 0..=i32::MAX)? as usize;
        let codes = self.take(code_bytes)?.to_vec();
        let quantizer = self.quantizer(columns)?;
        if rows.checked_mul(quantizer.parts) != Some(codes.len()) {
            return Err(format!("{} codes for {rows} rows of {} parts", codes.len(), quantizer.parts));
        }
        let norms = if has_norms {
            let codes = self.take(rows)?.to_vec();
            Some((codes, self.quantizer(1)?))
        } else {
            None
        };
        Ok(Rows::Quantized { codes, quantizer, norms })
    }

    fn quantizer(&mut self, columns: usize) -> Result<Quantizer, String> {
        let said = self.within("the dimension of a quantizer", 1..=DIMENSIONS_MAX)? as usize;
        let parts = self.within("the parts of a quantizer", 1..=DIMENSIONS_MAX)? as usize;
        let part_columns = self.within("the columns of a part", 1..=DIMENSIONS_MAX)? as usize;
        let last_columns = self.within("the columns of the last part", 1..=part_columns as i32)? as usize;
        if said != columns || (parts - 1) * part_columns + last_columns != columns {
            return Err(format!("{parts} parts of {part_columns} columns do not make {columns}"));
        }
        let centroids = self.floats(columns * CENTROIDS)?;
        Ok(Quantizer { parts, part_columns, last_columns, centroids })
    }

    fn take(&mut self, count: usize) -> Result<&'b [u8], String> {
        let rest = &self.bytes[self.offset..];
        let Some(taken) = rest.get(..count) else {
            return Err(format!("it ends {} bytes too early", count - rest.len()));
        };
        self.offset += count;
        Ok(taken)
    }

    fn floats(&mut self, count: usize) -> Result<Vec<f32>, String> {
        let bytes = self.take(count.saturating_mul(4))?;
        Ok(bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect())
    }

    /// Up to the next zero byte.
    fn word(&mut self) -> Result<&'b [u8], String> {
        let length = memchr::memchr(0, &self.bytes[self.offset..]).ok_or("a word has no end")?;
        let start = self.offset;
        self.offset += length + 1;
        Ok(&self.bytes[start..start + length])
    }

    fn flag(&mut self) -> Result<bool, String> {
        match self.take(1)?[0] {
            byte @ (0 | 1) => Ok(byte == 1),
            other => Err(format!("{other} where 0 or 1 belongs")),
        }
    }

    fn i32(&mut self) -> Result<i32, String> {
        let bytes = self.take(4)?;
        Ok(i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn i64(&mut self) -> Result<i64, String> {
        let low = self.i32()? as u32;
        let high = self.i32()?;
        Ok(i64::from(high) << 32 | i64::from(low))
    }

    fn size(&mut self) -> Result<usize, String> {
        let size = self.i64()?;
        usize::try_from(size).map_err(|_| format!("a size of {size}"))
    }

    fn within(&mut self, what: &str, range: std::ops::RangeInclusive<i32>) -> Result<i32, String> {
        let value = self.i32()?;
        let known = range.contains(&value).then_some(value);
        known.ok_or_else(|| format!("{what} is {value}, not from {} to {}", range.start(), range.end()))
    }
}
