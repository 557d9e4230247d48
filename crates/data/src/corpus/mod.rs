//! The corpus pipeline: sources, stages, shards, and what came of them.
//!
//! A recipe's stages are cut into passes at the corpus stages, which need to have seen all documents. A pass works on shards
//! in any order and on all threads; a marker says that one is done. The order of the output is that of the input.
//!
//! **Invariant:** what comes out depends on the recipe and the inputs alone: not on threads, memory, ranks, or how
//! often the run was killed. **Invariant:** every document that went in is in `documents/`, in `dropped/` with its
//! rule, or a [`Fault`].

mod error;
mod exchange;
mod fault;
mod folder;
mod frames;
mod mix;
mod pack;
mod packed;
mod pass;
mod plan;
mod recipe;
mod record;
mod report;
mod run;
mod stage;
pub mod stages;
mod workers;

pub use error::CorpusError;
pub use fault::Fault;
pub use recipe::{Mix, Pack, Recipe};
pub use record::{Amount, Example, FileRecord, RuleRecord, StageRecord, Summary};
pub use run::{Options, Outcome, run};
pub use stage::{Context, CorpusStage, DecisionWriter, DocumentStage, SketchReader, Stage, Verdict};
use workers::Workers;
