//! Errors with hints, seeded randomness, atomic files, progress events, run records, test helpers.

/// An error that may know one next step for the user.
pub trait Hint {
    /// What to do about it, or nothing if we would only be guessing.
    fn hint(&self) -> Option<String> {
        None
    }
}
