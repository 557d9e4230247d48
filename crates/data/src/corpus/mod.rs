//! The corpus pipeline: sources, stages, shards, and what came of them.

mod error;
mod fault;
mod frames;
mod stage;
pub mod stages;

pub use error::CorpusError;
pub use fault::Fault;
pub use stage::{Context, CorpusStage, DecisionWriter, DocumentStage, SketchReader, Stage, Verdict};
