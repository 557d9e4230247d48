//! Language models that need no tensor. So far: n-grams.

pub mod ngram;
