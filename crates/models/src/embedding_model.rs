//! A model that reads whole texts into hidden states, encoder or decoder, and its planned tapes.

use tsumugi_files::{Admitted, ModelFiles};
use tsumugi_tensor::{Cpu, Ids, Parameters, Plan, Segment, Tape, Var};

use crate::load::Precision;
use crate::{Decoder, Encoder, ModelError, bert};

/// What gives hidden states for embeddings and scores.
#[derive(Debug)]
pub enum EmbeddingModel {
    /// Every position sees the whole text.
    Encoder(Box<Encoder>),
    /// Every position sees what is before it.
    Decoder(Box<Decoder>),
}

impl EmbeddingModel {
    /// Loads a model of either kind, packed for serving.
    pub fn load_to_serve(model: &Admitted<ModelFiles>, cpu: &Cpu, precision: Precision) -> Result<Self, ModelError> {
        if bert::is_encoder(model)? {
            return Encoder::load_to_serve(model, cpu, precision).map(|encoder| Self::Encoder(Box::new(encoder)));
        }
        let decoder = Decoder::load_to_serve(model, cpu, precision)?;
        Ok(Self::Decoder(Box::new(decoder.pack(cpu))))
    }

    /// Its weights.
    pub fn parameters(&self) -> &Parameters {
        match self {
            Self::Encoder(encoder) => &encoder.parameters,
            Self::Decoder(decoder) => &decoder.parameters,
        }
    }

    /// Token ids.
    pub fn vocabulary(&self) -> usize {
        match self {
            Self::Encoder(encoder) => encoder.spec.vocabulary,
            Self::Decoder(decoder) => decoder.spec.vocabulary,
        }
    }

    /// Model width m.
    pub fn width(&self) -> usize {
        match self {
            Self::Encoder(encoder) => encoder.spec.width,
            Self::Decoder(decoder) => decoder.spec.width,
        }
    }

    /// Longest text.
    pub fn context(&self) -> usize {
        match self {
            Self::Encoder(encoder) => encoder.spec.context,
            Self::Decoder(decoder) => decoder.spec.context,
        }
    }

    /// Scores of its classifier, if there is one.
    pub fn labels(&self) -> Option<usize> {
        match self {
            Self::Encoder(encoder) => encoder.spec.labels,
            Self::Decoder(_) => None,
        }
    }

    /// Kinds of tokens that it tells apart, of the first and of the second text of a pair.
    pub fn token_types(&self) -> usize {
        match self {
            Self::Encoder(encoder) => encoder.spec.token_types,
            Self::Decoder(_) => 1,
        }
    }

    fn first_position(&self) -> usize {
        match self {
            Self::Encoder(encoder) => encoder.spec.first_position,
            Self::Decoder(_) => 0,
        }
    }

    fn record_hidden(&self, tape: &mut Tape, rows: &RowIds) -> Var {
        match self {
            Self::Encoder(encoder) => encoder.record_hidden(tape, rows.tokens, rows.positions, rows.types),
            Self::Decoder(decoder) => decoder.record_hidden(tape, rows.tokens, rows.positions),
        }
    }
}

/// Texts behind each other, without padding between them.
#[derive(Debug, Clone, Copy)]
pub struct TextRows<'a> {
    /// `[r]`
    pub tokens: &'a [u32],
    /// `[r]`: which text of a pair a token is of; decoders ignore it.
    pub types: &'a [u32],
    /// The texts. Rows of none are padding.
    pub texts: &'a [Segment],
}

struct RowIds {
    tokens: Ids,
    positions: Ids,
    types: Ids,
}

impl RowIds {
    fn of(tape: &mut Tape, rows: usize) -> Self {
        Self { tokens: tape.ids(rows), positions: tape.ids(rows), types: tape.ids(rows) }
    }

    fn set(&self, plan: &mut Plan, model: &EmbeddingModel, rows: TextRows<'_>) {
        let first = model.first_position() as u32;
        let mut positions = vec![first; rows.tokens.len()];
        for text in rows.texts {
            for (position, to) in (first..).zip(&mut positions[text.start..text.start + text.len]) {
                *to = position;
            }
        }
        plan.set_ids(self.tokens, rows.tokens);
        plan.set_ids(self.positions, &positions);
        plan.set_ids(self.types, rows.types);
        plan.set_segments(rows.texts);
    }
}

/// Texts to hidden states.
pub struct HiddenPlan {
    plan: Plan,
    rows: RowIds,
    hidden: Var,
}

impl HiddenPlan {
    /// For `rows` rows.
    pub fn new(model: &EmbeddingModel, rows: usize) -> Self {
        let mut tape = Tape::new();
        let rows = RowIds::of(&mut tape, rows);
        let hidden = model.record_hidden(&mut tape, &rows);
        Self { plan: Plan::forward_only(tape, &[hidden]), rows, hidden }
    }

    /// Hidden states `[r, m]`, of the final norm.
    ///
    /// # Panics
    /// When there are more or fewer rows: a mistake of the caller.
    pub fn run(&mut self, cpu: &Cpu, model: &EmbeddingModel, rows: TextRows<'_>) -> &[f32] {
        self.rows.set(&mut self.plan, model, rows);
        self.plan.evaluate(cpu, model.parameters());
        self.plan.value(self.hidden)
    }
}

/// Texts, or pairs of texts, to the classifier's scores.
pub struct ScorePlan {
    plan: Plan,
    rows: RowIds,
    first: Ids,
    first_len: usize,
    scores: Var,
}

impl ScorePlan {
    /// For `rows` rows and at most `texts` texts.
    ///
    /// # Panics
    /// When the encoder has no classifier: a mistake of the caller.
    pub fn new(encoder: &Encoder, rows: usize, texts: usize) -> Self {
        let mut tape = Tape::new();
        let (rows, first) = (RowIds::of(&mut tape, rows), tape.ids(texts));
        let hidden = encoder.record_hidden(&mut tape, rows.tokens, rows.positions, rows.types);
        let hidden = tape.select_rows(hidden, first);
        let scores = encoder.record_scores(&mut tape, hidden);
        Self { plan: Plan::forward_only(tape, &[scores]), rows, first, first_len: texts, scores }
    }

    /// Scores `[texts, labels]`, first those of the given texts in their order; what follows is of no text.
    ///
    /// # Panics
    /// When there are more or fewer rows, or too many texts: mistakes of the caller.
    pub fn run(&mut self, cpu: &Cpu, model: &EmbeddingModel, rows: TextRows<'_>) -> &[f32] {
        assert!(rows.texts.len() <= self.first_len, "{} texts in a plan for {}", rows.texts.len(), self.first_len);
        let mut first: Vec<u32> = rows.texts.iter().map(|text| text.start as u32).collect();
        first.resize(self.first_len, 0);
        self.rows.set(&mut self.plan, model, rows);
        self.plan.set_ids(self.first, &first);
        self.plan.evaluate(cpu, model.parameters());
        self.plan.value(self.scores)
    }
}
