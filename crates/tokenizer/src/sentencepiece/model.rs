//! What a SentencePiece model is: its pieces and how text is prepared. From a `.model` file, which is a protocol buffer
//! (google/sentencepiece, `sentencepiece_model.proto`), or from the metadata of a GGUF file.

use tsumugi_files::protobuf::{ProtobufError, Value, fields};

use crate::{TokenId, Tokenizer, TokenizerError};

/// How this format is called in messages.
pub(crate) const FORMAT: &str = "SentencePiece";

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Piece {
    pub text: String,
    /// A log probability, or for BPE minus the place in the order of merges.
    pub score: f32,
    pub kind: PieceKind,
}

/// What a piece is for, by its number in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PieceKind {
    Normal = 1,
    /// Stands for what no other piece does.
    Unknown = 2,
    /// Never made from text.
    Control = 3,
    /// Always one token where it occurs.
    UserDefined = 4,
    /// Merged over, but split again.
    Unused = 5,
    /// One byte, spelled `<0x41>`.
    Byte = 6,
}

impl PieceKind {
    /// Its number in a `.model` file, and in the metadata of a GGUF file.
    pub fn from_number(number: u64) -> Option<Self> {
        use PieceKind::{Byte, Control, Normal, Unknown, Unused, UserDefined};
        [Normal, Unknown, Control, UserDefined, Unused, Byte].into_iter().find(|&kind| kind as u64 == number)
    }

    /// Whether text may become it as it stands.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Normal | Self::UserDefined | Self::Unused)
    }
}

/// Which of the two algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// Merges of neighbours, the best score first (Sennrich et al. 2016).
    Bpe,
    /// The most likely segmentation (Kudo 2018).
    Unigram,
}

/// A model; the defaults are those of the format.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Model {
    /// Places are ids.
    pub pieces: Vec<Piece>,
    pub algorithm: Algorithm,
    /// Rules that replace characters, compiled; empty for none.
    pub character_map: Vec<u8>,
    /// A space is put before a text (or after it, with `whitespace_as_suffix`).
    pub add_dummy_prefix: bool,
    /// Runs of spaces become one, and none are left at the ends.
    pub remove_extra_whitespaces: bool,
    pub whitespace_as_suffix: bool,
    /// Characters without a piece become their bytes.
    pub byte_fallback: bool,
    /// What the unknown piece shows as.
    pub unknown_surface: String,
    /// Before and after a text.
    pub begins_with: Option<TokenId>,
    pub ends_with: Option<TokenId>,
    /// What fills rows of a batch.
    pub padding: Option<TokenId>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            pieces: Vec::new(),
            algorithm: Algorithm::Unigram,
            character_map: Vec::new(),
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            whitespace_as_suffix: false,
            byte_fallback: false,
            unknown_surface: " \u{2047} ".into(),
            begins_with: None,
            ends_with: None,
            padding: None,
        }
    }
}

/// An error of this format.
pub(crate) fn failed(reason: impl Into<String>) -> TokenizerError {
    TokenizerError::Vocabulary { format: FORMAT, reason: reason.into() }
}

impl Model {
    /// Reads a `.model` file.
    pub fn from_protobuf(bytes: &[u8]) -> Result<Self, TokenizerError> {
        let mut model = Self::default();
        let mut trainer = Trainer { algorithm: 1, begin_id: 1 };
        for field in fields(bytes) {
            let (offset, number, value) = field.map_err(|error| failed(error.to_string()))?;
            let inside = |error: ProtobufError| failed(format!("{error} of the field at byte {offset}"));
            let message =
                || value.bytes().ok_or_else(|| failed(format!("field {number} at byte {offset} is no message")));
            match number {
                1 if model.pieces.len() >= Tokenizer::VOCABULARY_SIZE_MAX => {
                    return Err(failed(format!("more than {} pieces", Tokenizer::VOCABULARY_SIZE_MAX)));
                }
                1 => {
                    let piece = read_piece(message()?).map_err(inside)?;
                    let piece = piece.ok_or_else(|| failed(format!("the piece at byte {offset} is not usable")))?;
                    model.pieces.push(piece);
                }
                2 => model.read_trainer(message()?, &mut trainer).map_err(inside)?,
                3 => model.read_normalizer(message()?).map_err(inside)?,
                _ => {}
            }
        }
        model.algorithm = match trainer.algorithm {
            1 => Algorithm::Unigram,
            2 => Algorithm::Bpe,
            3 | 4 => return Err(failed("it is a model of whole words or of characters; BPE and Unigram are read")),
            other => return Err(failed(format!("its model type {other} is unknown"))),
        };
        model.begins_with = usize::try_from(trainer.begin_id)
            .ok()
            .filter(|&id| model.pieces.get(id).is_some_and(|piece| piece.kind == PieceKind::Control))
            .map(|id| id as TokenId);
        Ok(model)
    }

    fn read_trainer(&mut self, message: &[u8], trainer: &mut Trainer) -> Result<(), ProtobufError> {
        for field in fields(message) {
            let (_, number, value) = field?;
            match number {
                3 => set(&mut trainer.algorithm, value.integer()),
                24 => set(&mut self.whitespace_as_suffix, value.truth()),
                35 => set(&mut self.byte_fallback, value.truth()),
                41 => set(&mut trainer.begin_id, value.integer()),
                43 => self.padding = value.integer().and_then(|id| id.try_into().ok()),
                44 => set(&mut self.unknown_surface, value.text().map(str::to_owned)),
                _ => {}
            }
        }
        Ok(())
    }

    fn read_normalizer(&mut self, message: &[u8]) -> Result<(), ProtobufError> {
        for field in fields(message) {
            let (_, number, value) = field?;
            match number {
                2 => set(&mut self.character_map, value.bytes().map(<[u8]>::to_vec)),
                3 => set(&mut self.add_dummy_prefix, value.truth()),
                4 => set(&mut self.remove_extra_whitespaces, value.truth()),
                _ => {}
            }
        }
        Ok(())
    }
}

/// What the specification of the training says that is needed only while reading.
struct Trainer {
    algorithm: i64,
    begin_id: i64,
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// None if its text is not UTF-8 or too long, its score no number, or its kind unknown.
fn read_piece(message: &[u8]) -> Result<Option<Piece>, ProtobufError> {
    let mut text = Some(String::new());
    let mut score = Some(0.0);
    let mut kind = Some(PieceKind::Normal);
    for field in fields(message) {
        let (_, number, value): (usize, u64, Value) = field?;
        match number {
            1 => text = value.text().filter(|text| text.len() <= PIECE_BYTES_MAX).map(str::to_owned),
            2 => score = value.float().filter(|score| !score.is_nan()),
            3 => kind = value.integer().and_then(|number| PieceKind::from_number(number as u64)),
            _ => {}
        }
    }
    Ok(text.zip(score).zip(kind).map(|((text, score), kind)| Piece { text, score, kind }))
}

/// Longest piece. The longest of published models have some hundred bytes.
const PIECE_BYTES_MAX: usize = 4096;
