//! Initial values, a function of the seed and the parameter's name: adding a layer changes no other.

use tsumugi_base::rng::Key;
use tsumugi_tensor::threads::Pool;
use tsumugi_tensor::{ParameterId, Parameters};

/// Numbers in a task.
const CHUNK: usize = 1 << 14;

/// A key for a parameter, from its name.
fn key(seed: u64, name: &str) -> Key {
    let words: Vec<u64> = name
        .as_bytes()
        .chunks(8)
        .map(|chunk| chunk.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)))
        .collect();
    Key::from_seed(seed).derive(&words)
}

/// Normal with mean 0. A number depends on its place alone, so threads change nothing.
pub fn normal(pool: &Pool, parameters: &mut Parameters, id: ParameterId, seed: u64, standard_deviation: f32) {
    let key = key(seed, &parameters.get(id).name);
    pool.split([(parameters.values_mut(id), CHUNK)], |chunk, [values]| {
        for (i, value) in (CHUNK * chunk..).zip(values) {
            *value = key.normal(i as u64) * standard_deviation;
        }
    });
}

/// All the same.
pub fn constant(parameters: &mut Parameters, id: ParameterId, value: f32) {
    parameters.values_mut(id).fill(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsumugi_tensor::ParametersBuilder;

    #[test]
    fn numbers_follow_from_seed_name_and_place_with_any_number_of_threads() {
        for len in [1, CHUNK, 3 * CHUNK + 5] {
            let mut builder = ParametersBuilder::default();
            let id = builder.add("layers.3.attention.qkv.weight", &[1, len]);
            let mut parameters = builder.build();
            let key = key(7, "layers.3.attention.qkv.weight");
            let want: Vec<f32> = (0..len as u64).map(|i| key.normal(i) * 0.02).collect();
            for threads in [1, 2, 3] {
                parameters.values_mut(id).fill(f32::NAN);
                normal(&Pool::new(threads), &mut parameters, id, 7, 0.02);
                assert!(parameters.values(id) == want, "{len} numbers, {threads} threads");
            }
        }
    }
}
