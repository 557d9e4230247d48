//! The tuning methods. To add one: write `<name>.rs` (paper, settings, run), then its two lines below.

pub mod sft;

/// What every method tells about itself; its settings and its `run` are its own.
pub trait Method: Sync {
    /// The word after `tsumugi tune`.
    fn name(&self) -> &'static str;
    /// One line.
    fn about(&self) -> &'static str;
    /// Where it comes from.
    fn paper(&self) -> &'static str;
}

/// Every method, in the order of the help.
pub const ALL: &[&dyn Method] = &[&sft::Sft];
