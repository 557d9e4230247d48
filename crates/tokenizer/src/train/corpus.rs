//! The texts to learn from, and counting their words with progress.

use std::time::Instant;

use tsumugi_base::progress::{Event, Observer};

use crate::TokenizerError;
use crate::bpe::{CountingOptions, TextSink, WordCounts, Words, count};

/// Texts that come one by one, so that they need not fit memory.
pub struct Corpus<'a> {
    /// Of all texts, for the time that is left; 0 if unknown.
    pub bytes: u64,
    /// Pushes every text; an error of the sink ends it.
    pub feed: &'a mut dyn FnMut(TextSink<'_>) -> Result<(), TokenizerError>,
}

/// Bytes between two progress events.
const PROGRESS_BYTES: u64 = 1 << 24;

impl Corpus<'_> {
    /// The words of all texts; at least one. Learning will take `learning_bytes` of memory for each byte of them.
    pub(super) fn count<W: Words>(
        self,
        cut: &W,
        options: &CountingOptions,
        learning_bytes: u64,
        observer: &dyn Observer,
    ) -> Result<WordCounts, TokenizerError> {
        let Self { bytes: total, feed } = self;
        let started = Instant::now();
        let tell = |done: u64| {
            let rate_per_second = done as f64 / started.elapsed().as_secs_f64().max(1e-9);
            let seconds_left = match total {
                0 => f64::INFINITY,
                total => total.saturating_sub(done) as f64 / rate_per_second.max(1e-9),
            };
            let (stage, unit, details) = ("words".into(), "bytes", Vec::new());
            observer.event(&Event::Step { stage, done, total, unit, rate_per_second, seconds_left, details });
        };
        let mut done = 0;
        let words = count(cut, options, learning_bytes, |sink| {
            feed(&mut |text| {
                let before = done;
                done += text.len() as u64;
                if before / PROGRESS_BYTES != done / PROGRESS_BYTES {
                    tell(done);
                }
                if observer.stop_requested() {
                    return Err(TokenizerError::Stopped { merges: 0 });
                }
                sink(text)
            })
        })?;
        if words.dropped > 0 {
            let (dropped, kept) = (words.dropped, words.words.len());
            let message =
                format!("memory holds {kept} distinct words; the {dropped} rarest were left out (more with --memory)");
            observer.event(&Event::Warning { message });
        }
        words.checked()
    }
}
