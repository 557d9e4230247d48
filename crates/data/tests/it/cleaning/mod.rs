//! Cleaning, against what the libraries that define it make of the same texts (`fixtures/cleaning`).

mod classifier;
mod fasttext;
mod filters;
mod masking;
mod repairing;
mod stages;
mod topics;

use std::path::PathBuf;

use serde::de::DeserializeOwned;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/cleaning").join(name)
}

fn golden<T: DeserializeOwned>(name: &str) -> T {
    let text = std::fs::read_to_string(fixture(name)).expect("it is in the repository");
    serde_json::from_str(&text).expect("it is JSON of this form")
}
