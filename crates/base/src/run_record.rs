//! `run.json`: what a run was made from, so that it can be repeated, resumed, and told apart from another.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::{FileError, Hint};
use crate::io::{TextError, read_to_string_limited, write_atomic};
use crate::limits::RUN_RECORD_BYTES_MAX;
use crate::machine::Machine;

/// Everything that made a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The words of the command, without the program: `["train", "--depth", "6"]`.
    pub command: Vec<String>,
    /// The whole recipe with every default filled in: what a resume must agree with.
    pub recipe: Value,
    /// What was worked out from the recipe and the machine before the first step (sizes, steps, calibration).
    #[serde(default)]
    pub derived: Value,
    /// The seed of every random number.
    pub seed: u64,
    /// Names and versions of what made it; `tsumugi` is always there.
    pub versions: BTreeMap<String, String>,
    /// The files that went in.
    pub inputs: Vec<InputHash>,
    /// When it began, UTC: `2026-01-31T12:00:00Z`.
    pub started: String,
    /// Where it ran.
    pub machine: Machine,
}

/// One input file, named by its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputHash {
    /// As the user gave it.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its bytes, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

impl InputHash {
    /// Reads the file once, in blocks.
    pub fn of(path: &Path) -> Result<Self, FileError> {
        let failed = |source| FileError::read(path, source);
        let mut file = File::open(path).map_err(failed)?;
        let mut hasher = Sha256::new();
        let mut block = vec![0; 1 << 18];
        let mut bytes = 0;
        loop {
            let read = file.read(&mut block).map_err(failed)?;
            if read == 0 {
                break;
            }
            hasher.update(&block[..read]);
            bytes += read as u64;
        }
        Ok(Self { path: path.to_owned(), bytes, sha256: hexadecimal(&hasher.finalize()) })
    }
}

impl InputHash {
    /// Of a text that was read already, so that what is hashed is what is used. A byte-order mark is not part of it.
    pub fn of_text(path: &Path, text: &str) -> Self {
        Self { path: path.to_owned(), bytes: text.len() as u64, sha256: sha256(text.as_bytes()) }
    }
}

/// SHA-256 of `bytes`, 64 lower-case hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A run record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RunRecordError {
    /// It could not be read.
    #[error(transparent)]
    Text(#[from] TextError),
    /// It could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not a run record.
    #[error("{path} is not a run record of ours: {source}", path = .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl Hint for RunRecordError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Text(text) => text.hint(),
            Self::File(file) => file.hint(),
            Self::Json { .. } => Some("choose another output folder, or move this one away".into()),
        }
    }
}

impl RunRecord {
    /// A run of this version that begins now on this machine, with no inputs yet.
    pub fn begin(command: Vec<String>, recipe: Value, seed: u64) -> Self {
        Self {
            command,
            recipe,
            derived: Value::Null,
            seed,
            versions: BTreeMap::from([("tsumugi".into(), env!("CARGO_PKG_VERSION").into())]),
            inputs: Vec::new(),
            started: utc_timestamp(SystemTime::now()),
            machine: Machine::here(),
        }
    }

    /// Writes it to `path`, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), RunRecordError> {
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|source| RunRecordError::Json { path: path.to_owned(), source })?;
        text.push('\n');
        Ok(write_atomic(path, text.as_bytes())?)
    }

    /// Reads what [`RunRecord::write`] wrote.
    pub fn read(path: &Path) -> Result<Self, RunRecordError> {
        let text = read_to_string_limited(path, RUN_RECORD_BYTES_MAX)?;
        serde_json::from_str(&text).map_err(|source| RunRecordError::Json { path: path.to_owned(), source })
    }
}

/// A key whose value differs between two records.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// A dotted path: `model.depth`.
    pub key: String,
    /// In the first record; none where it has no such key.
    pub there: Option<Value>,
    /// In the second.
    pub here: Option<Value>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |value: &Option<Value>| value.as_ref().map_or("nothing".to_owned(), Value::to_string);
        write!(f, "{} (there {}, here {})", self.key, shown(&self.there), shown(&self.here))
    }
}

/// The keys whose values differ, in alphabetical order. A key that only one side has differs. `1` and `1.0` are the
/// same; arrays are compared whole.
pub fn differences(a: &Value, b: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    collect_differing(a, b, "", &mut found);
    found
}

fn collect_differing(a: &Value, b: &Value, path: &str, found: &mut Vec<Difference>) {
    if let (Value::Object(a), Value::Object(b)) = (a, b) {
        let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        for key in keys {
            let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match (a.get(key), b.get(key)) {
                (Some(a), Some(b)) => collect_differing(a, b, &below, found),
                (there, here) => {
                    found.push(Difference { key: below, there: there.cloned(), here: here.cloned() });
                }
            }
        }
    } else if !same_value(a, b) {
        let key = if path.is_empty() { "(the whole)".into() } else { path.into() };
        found.push(Difference { key, there: Some(a.clone()), here: Some(b.clone()) });
    }
}

fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || (x.is_f64() != y.is_f64() && x.as_f64() == y.as_f64()),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same_value(x, y)),
        _ => a == b,
    }
}

/// A moment as RFC 3339 in UTC, to the second.
pub fn utc_timestamp(moment: SystemTime) -> String {
    let seconds = moment.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The first second, since 1970 in UTC, of a day that is written `2026-01-31`; none for what is no day since 1970.
pub fn seconds_of_day(date: &str) -> Option<u64> {
    let parts: Vec<u64> = date.split('-').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let &[year @ 1970..=9999, month @ 1..=12, day @ 1..=31] = parts.as_slice() else { return None };
    // `days_from_civil`, the other way of the function below.
    let year = year - u64::from(month <= 2);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year % 400 * 365 + year % 400 / 4 - year % 400 / 100 + day_of_year;
    let seconds = (year / 400 * 146_097 + day_of_era).checked_sub(719_468)? * 86_400;
    let written = utc_timestamp(UNIX_EPOCH + std::time::Duration::from_secs(seconds));
    (written.split('T').next() == Some(date)).then_some(seconds)
}

/// Year, month and day of a number of days since 1970-01-01 (Hinnant 2013, "chrono-Compatible Low-Level Date
/// Algorithms", `civil_from_days`, for days that are not negative).
fn civil_date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temporary_folder;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn a_day_and_its_first_second() {
        for day in 0..40_000 {
            let moment = UNIX_EPOCH + Duration::from_secs(day * 86_400);
            let date = utc_timestamp(moment).split('T').next().unwrap().to_owned();
            assert_eq!(seconds_of_day(&date), Some(day * 86_400), "{date}");
        }
        for date in ["1969-12-31", "2026-02-30", "2026-1-31", "2026-13-01", "2026-01", "", "today", "2026-01-31T00"] {
            assert_eq!(seconds_of_day(date), None, "{date}");
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = temporary_folder();
        let input = folder.path().join("input.txt");
        std::fs::write(&input, "abc").unwrap();
        let mut record = RunRecord::begin(vec!["train".into()], json!({"depth": 6}), 1337);
        record.inputs.push(InputHash::of(&input).unwrap());
        // FIPS 180-2, appendix B.1.
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((record.inputs[0].bytes, record.inputs[0].sha256.as_str()), (3, known));
        assert_eq!(sha256(b"abc"), known);
        let path = folder.path().join("run.json");
        record.write(&path).unwrap();
        assert_eq!(RunRecord::read(&path).unwrap(), record);
        std::fs::write(&path, "{}").unwrap();
        let error = RunRecord::read(&path).unwrap_err();
        assert!(error.to_string().contains("is not a run record of ours: missing field `command`"), "{error}");
        assert!(error.hint().is_some());
    }

    #[test]
    fn differing_keys_are_paths() {
        let a = json!({"steps": 100, "model": {"depth": 6, "width": 384}, "rate": 1, "list": [1, 2]});
        let b = json!({"steps": 200, "model": {"depth": 6, "width": 385, "extra": null}, "rate": 1.0, "list": [1, 3]});
        let shown = |a: &Value, b: &Value| differences(a, b).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            shown(&a, &b),
            [
                "list (there [1,2], here [1,3])",
                "model.extra (there nothing, here null)",
                "model.width (there 384, here 385)",
                "steps (there 100, here 200)"
            ]
        );
        assert!(differences(&a, &a).is_empty());
        assert_eq!(shown(&json!(1), &json!({})), ["(the whole) (there 1, here {})"]);
        // Two large integers that are equal as doubles still differ.
        assert_eq!(differences(&json!({"s": u64::MAX}), &json!({"s": u64::MAX - 1})).len(), 1);
    }

    #[test]
    fn timestamps() {
        let at = |seconds| utc_timestamp(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_709_251_199), "2024-02-29T23:59:59Z");
        assert_eq!(at(4_102_444_800), "2100-01-01T00:00:00Z");
    }
}
