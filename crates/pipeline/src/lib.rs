//! Whole runs in stages: from the text in the repository to a model that one chats with; and what needs trainer and engine
//! together, such as the roofline of a model.
//!
//! **Invariant:** what a run will do is decided and written down before its first step, so that a run that was stopped
//! anywhere goes on to the same result. **Invariant:** each stage leaves an ordinary folder that the single commands
//! (`train`, `tune sft`, `serve`) read and could have made.

mod error;
pub mod quickstart;
pub mod roofline;
pub mod stage;

pub use error::PipelineError;
pub use quickstart::{Options, QuickstartResult, quickstart};
