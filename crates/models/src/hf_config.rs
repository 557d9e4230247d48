//! Reading `config.json`: typed, bounded, and every error says the key and the value.

use serde_json::{Map, Value};

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

/// Checks that heads divide as they must.
pub fn check_heads(heads: usize, key_heads: usize, head_width: usize, rotary: bool) -> Result<(), ConfigProblem> {
    if !heads.is_multiple_of(key_heads) {
        return Err(ConfigProblem(format!("{key_heads} key/value heads do not divide {heads} query heads")));
    }
    if rotary && !head_width.is_multiple_of(2) {
        return Err(ConfigProblem(format!("heads of width {head_width} cannot be rotated: the width must be even")));
    }
    Ok(())
}
