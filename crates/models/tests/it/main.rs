//! Tests of the models: goldens by `transformers`, and the contract of every family.

mod goldens;
