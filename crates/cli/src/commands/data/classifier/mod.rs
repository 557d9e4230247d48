//! `tsumugi data classifier ...`

pub mod score;
pub mod train;

use std::path::Path;

use tsumugi_base::progress::{Event, Observer};
use tsumugi_data::clean::classifier::read_texts;
use tsumugi_data::corpus::CorpusError;

use crate::commands::{Entry, command};

/// In the order of the help.
pub const ALL: &[Entry] = &[command::<train::Train>(), command::<score::Score>()];

/// What cannot be read is named so often; all of it is counted.
const NAMED_MAX: u64 = 10;

/// The texts of a file. What cannot be read is named and added to `faults`; if `strict`, the first of it is an error.
fn texts(path: &Path, strict: bool, faults: &mut u64, observer: &dyn Observer) -> Result<Vec<String>, CorpusError> {
    read_texts(path, &mut |fault| {
        if strict {
            return Err(CorpusError::Strict(fault));
        }
        *faults += 1;
        if *faults <= NAMED_MAX {
            let more = if *faults == NAMED_MAX { "; more is counted, not named" } else { "" };
            observer.event(&Event::Warning { message: format!("left out: {fault}{more}") });
        }
        Ok(())
    })
}
