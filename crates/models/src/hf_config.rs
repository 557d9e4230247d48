//! Reading `config.json`: typed, bounded, and every error says the key and the value.

use serde_json::{Map, Value};
use tsumugi_tensor::Activation;

/// What is wrong with a config, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem(pub String);

/// Reads keys of a config.
pub struct ConfigReader<'a> {
    map: &'a Map<String, Value>,
}

/// Sizes above this are a damaged or hostile file.
pub const SIZE_MAX: u64 = 1 << 24;

impl<'a> ConfigReader<'a> {
    /// Of a JSON object.
    pub fn new(map: &'a Map<String, Value>) -> Self {
        Self { map }
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// A size between 1 and 2^24.
    pub fn size(&self, key: &str) -> Result<usize, ConfigProblem> {
        let value = self.get(key).ok_or_else(|| ConfigProblem(format!("key `{key}` is missing")))?;
        match value.as_u64() {
            Some(size @ 1..=SIZE_MAX) => Ok(size as usize),
            _ => Err(ConfigProblem(format!("`{key}` is {value}, but must be a whole number from 1 to {SIZE_MAX}"))),
        }
    }

    /// A size under either of two keys; the second is named where none is there.
    pub fn either(&self, key: &str, other: &str) -> Result<usize, ConfigProblem> {
        self.size_if_there(key)?.map_or_else(|| self.size(other), Ok)
    }

    /// How many keys there are.
    pub fn count(&self) -> usize {
        self.map.len()
    }

    /// Whether a key is there, null or not.
    pub fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// A size, if there.
    pub fn size_if_there(&self, key: &str) -> Result<Option<usize>, ConfigProblem> {
        if self.get(key).is_none() { Ok(None) } else { self.size(key).map(Some) }
    }

    /// A size or 0, or a default where the key is absent.
    pub fn count_or(&self, key: &str, default: usize) -> Result<usize, ConfigProblem> {
        if self.get(key).and_then(Value::as_u64) == Some(0) { Ok(0) } else { self.size_or(key, default) }
    }

    /// A size, or a default where the key is absent.
    pub fn size_or(&self, key: &str, default: usize) -> Result<usize, ConfigProblem> {
        if self.get(key).is_none() { Ok(default) } else { self.size(key) }
    }

    /// A finite number, or a default where the key is absent.
    pub fn number_or(&self, key: &str, default: f64) -> Result<f64, ConfigProblem> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value
            .as_f64()
            .filter(|x| x.is_finite())
            .ok_or_else(|| ConfigProblem(format!("`{key}` is {value}, but must be a number")))
    }

    /// A number above 0.
    pub fn positive_or(&self, key: &str, default: f64) -> Result<f64, ConfigProblem> {
        let number = self.number_or(key, default)?;
        if number > 0.0 { Ok(number) } else { Err(ConfigProblem(format!("`{key}` is {number}, but must be above 0"))) }
    }

    /// True or false, or a default where the key is absent.
    pub fn flag_or(&self, key: &str, default: bool) -> Result<bool, ConfigProblem> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| ConfigProblem(format!("`{key}` is {value}, but must be true or false")))
    }

    /// A word, or a default where the key is absent.
    pub fn word_or(&self, key: &str, default: &'a str) -> Result<&'a str, ConfigProblem> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_str().ok_or_else(|| ConfigProblem(format!("`{key}` is {value}, but must be a string")))
    }

    /// An object, if there.
    pub fn object(&self, key: &str) -> Result<Option<ConfigReader<'a>>, ConfigProblem> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let map =
            value.as_object().ok_or_else(|| ConfigProblem(format!("`{key}` is {value}, but must be an object")))?;
        Ok(Some(ConfigReader { map }))
    }

    /// A number above 0, if there.
    pub fn positive(&self, key: &str) -> Result<Option<f64>, ConfigProblem> {
        if self.get(key).is_none() { Ok(None) } else { self.positive_or(key, 1.0).map(Some) }
    }

    /// A list of so many numbers above 0.
    pub fn positives(&self, key: &str, count: usize) -> Result<Vec<f64>, ConfigProblem> {
        let list = self.list(key)?.ok_or_else(|| ConfigProblem(format!("key `{key}` is missing")))?;
        let numbers: Option<Vec<f64>> =
            list.iter().map(|value| value.as_f64().filter(|x| x.is_finite() && *x > 0.0)).collect();
        match numbers {
            Some(numbers) if numbers.len() == count => Ok(numbers),
            _ => Err(ConfigProblem(format!("`{key}` must be a list of {count} numbers above 0"))),
        }
    }

    /// A list, if there.
    pub fn list(&self, key: &str) -> Result<Option<&'a [Value]>, ConfigProblem> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let list = value.as_array().ok_or_else(|| ConfigProblem(format!("`{key}` is {value}, but must be a list")))?;
        Ok(Some(list))
    }

    /// An activation by its word in `transformers`, or a default where the key is absent.
    pub fn activation_or(&self, key: &str, default: Activation) -> Result<Activation, ConfigProblem> {
        let word = self.word_or(key, activation_word(default))?;
        let known = ACTIVATIONS.iter().find(|(known, _)| *known == word);
        known
            .map(|&(_, activation)| activation)
            .ok_or_else(|| ConfigProblem(format!("{key} `{word}` is not supported")))
    }

    /// Fails unless a key is absent or has the value that the family always has.
    pub fn only(&self, key: &str, supported: &Value) -> Result<(), ConfigProblem> {
        match self.get(key) {
            Some(value) if value != supported => {
                Err(ConfigProblem(format!("`{key}` is {value}, but only {supported} is supported")))
            }
            _ => Ok(()),
        }
    }
}

/// Activations by their words in `transformers`; the first of several is the one that is written.
const ACTIVATIONS: [(&str, Activation); 10] = [
    ("gelu_new", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu", Activation::Gelu),
    ("relu", Activation::Relu),
    ("relu2", Activation::ReluSquared),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("tanh", Activation::Tanh),
    ("sigmoid", Activation::Sigmoid),
];

/// The word of an activation.
pub fn activation_word(activation: Activation) -> &'static str {
    ACTIVATIONS.iter().find(|(_, known)| *known == activation).map_or("", |(word, _)| word)
}

/// A number as short as it was before it became an `f32`.
pub fn as_short(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}

/// The object that `json!` made.
pub fn keys(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Checks that heads divide as they must.
pub fn check_heads(heads: usize, key_heads: usize) -> Result<(), ConfigProblem> {
    if !heads.is_multiple_of(key_heads) {
        return Err(ConfigProblem(format!("{key_heads} key/value heads do not divide {heads} query heads")));
    }
    Ok(())
}
