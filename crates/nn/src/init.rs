//! Initial values, a function of the seed and the parameter's name: adding a layer changes no other.

use tsumugi_base::rng::Key;
use tsumugi_tensor::{ParameterId, Parameters};

/// A key for a parameter, from its name.
fn key(seed: u64, name: &str) -> Key {
    let words: Vec<u64> = name
        .as_bytes()
        .chunks(8)
        .map(|chunk| chunk.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)))
        .collect();
    Key::from_seed(seed).derive(&words)
}

/// Normal with mean 0.
pub fn normal(parameters: &mut Parameters, id: ParameterId, seed: u64, standard_deviation: f32) {
    let key = key(seed, &parameters.get(id).name);
    for (i, value) in parameters.values_mut(id).iter_mut().enumerate() {
        *value = key.normal(i as u64) * standard_deviation;
    }
}

/// All the same.
pub fn constant(parameters: &mut Parameters, id: ParameterId, value: f32) {
    parameters.values_mut(id).fill(value);
}
