//! Flags that several commands share. A command takes a group only if it uses all of it.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, Args, Command, ValueEnum};
use tsumugi_base::{error_chain, units};
use tsumugi_files::{Admitted, Gate, ModelFiles, OpenFolder, Refusal};
use tsumugi_infer::text::{Options, Placement, SamplingParameters, TooLarge, ranges};
use tsumugi_models::Precision;
use tsumugi_scan::{Policy, ScanGate, Severity};
use tsumugi_tensor::KeyValueType;

use crate::output::{Failure, harmless, tell};

/// `--json`.
#[derive(Debug, Clone, Copy, Args)]
pub struct Json {
    /// Print JSON on standard output; progress stays on standard error
    #[arg(long)]
    pub json: bool,
}

/// `--threads`.
#[derive(Debug, Clone, Copy, Args)]
pub struct Threads {
    /// Threads that compute; the result does not depend on it [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl Threads {
    /// What was asked for; none is one per core.
    pub fn get(self) -> Option<usize> {
        self.threads.map(usize::from)
    }

    /// What was asked for, else one per core.
    pub fn count(self) -> usize {
        self.get().unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }
}

/// Reads the severity of a finding.
pub fn severity() -> impl TypedValueParser<Value = Severity> {
    PossibleValuesParser::new(Severity::ALL.map(Severity::name))
        .map(|name| Severity::from_name(&name).unwrap_or(Severity::Medium)) // clap knows no other
}

/// `--allow-unsafe` and `--policy`: the gate that the files of a model pass before they are loaded.
#[derive(Debug, Clone, Default, Args)]
pub struct Trust {
    /// Load the model although the scanner finds something in its files that could do harm; that becomes a warning
    #[arg(long)]
    allow_unsafe: bool,
    /// Whose signature a model must have, and which findings are known (TOML; docs/scan.md). Where a signature is demanded,
    /// `--allow-unsafe` does not replace it
    #[arg(long, value_name = "FILE", env = "TSUMUGI_POLICY", value_parser = PolicyParser)]
    policy: Option<Arc<Policy>>,
}

/// Reads a policy while the command line is read: what is wrong with it is said before anything is done.
#[derive(Debug, Clone)]
struct PolicyParser;

impl TypedValueParser for PolicyParser {
    type Value = Arc<Policy>;

    fn parse_ref(&self, command: &Command, flag: Option<&Arg>, value: &OsStr) -> Result<Arc<Policy>, clap::Error> {
        self.parse_ref_(command, flag, value, ValueSource::CommandLine)
    }

    /// Says where the policy was named: who set a variable looks for no flag.
    fn parse_ref_(
        &self,
        command: &Command,
        _: Option<&Arg>,
        value: &OsStr,
        source: ValueSource,
    ) -> Result<Arc<Policy>, clap::Error> {
        Policy::read(Path::new(value)).map(Arc::new).map_err(|error| {
            let place = match source {
                ValueSource::EnvVariable => "in the environment variable TSUMUGI_POLICY",
                _ => "for '--policy <FILE>'",
            };
            let message = format!("invalid value '{}' {place}: {}\n", value.display(), error_chain(&error));
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}

impl Gate for Trust {
    fn check(&self, folder: &OpenFolder) -> Result<(), Refusal> {
        let none = Policy::default();
        let gate = ScanGate { way_out: "--allow-unsafe", policy: self.policy.as_deref().unwrap_or(&none) };
        gate.verify(folder)?;
        match gate.scan(folder) {
            Err(refusal) if self.allow_unsafe => {
                tell(&harmless(&format!("warning: {}: {}", refusal.path.display(), refusal.reason)));
                Ok(())
            }
            other => other,
        }
    }
}

/// `--compute`.
#[derive(Debug, Clone, Copy, Args)]
pub struct Compute {
    /// What to compute with: `auto` takes weights as they are stored, and rounds what quantized ones multiply to 8 bits;
    /// `f32` widens all to float32, the reference
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    compute: ComputeType,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ComputeType {
    Auto,
    F32,
}

impl Compute {
    /// For the loader.
    pub fn precision(self) -> Precision {
        match self.compute {
            ComputeType::Auto => Precision::Stored,
            ComputeType::F32 => Precision::Float32,
        }
    }
}

fn key_value_type() -> impl TypedValueParser<Value = KeyValueType> {
    let names = PossibleValuesParser::new(KeyValueType::ALL.map(KeyValueType::name));
    names.map(|name| KeyValueType::ALL.into_iter().find(|kind| kind.name() == name).expect("one of the names"))
}

/// `--weights`.
#[derive(Debug, Clone, Copy, Args)]
pub struct Weights {
    /// Where the weights lie: `packed` copies them into the layout that is read fastest; `mapped` leaves them in the file,
    /// which takes no time and no memory, but answers are slower, and the file must not be shortened meanwhile; `auto` packs
    /// what fits into 70 % of the free memory
    #[arg(long, value_name = "WHERE", default_value = "auto")]
    weights: Where,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Where {
    Auto,
    Packed,
    Mapped,
}

impl Weights {
    /// For the loader of a model that computes with this.
    pub fn placement(self, precision: Precision) -> Result<Placement, Failure> {
        let placement = match self.weights {
            Where::Auto => Placement::Auto,
            Where::Packed => Placement::Packed,
            Where::Mapped => Placement::Mapped,
        };
        if precision == Precision::Float32 && placement != Placement::Auto {
            return Err(Failure::new(
                "--weights says where stored weights lie, but `--compute f32` widens them all",
                "leave one of the two out",
            ));
        }
        Ok(placement)
    }
}

/// How a model is read.
#[derive(Debug, Clone, Copy, Args)]
pub struct Reading {
    #[command(flatten)]
    weights: Weights,
    #[command(flatten)]
    compute: Compute,
    #[command(flatten)]
    threads: Threads,
}

impl Reading {
    /// Threads; none is one per core.
    pub fn threads(self) -> Option<usize> {
        self.threads.get()
    }

    /// What the model is loaded with. Says where it is too large to be copied.
    pub fn precision(self, model: &Admitted<ModelFiles>) -> Result<Precision, Failure> {
        let precision = self.compute.precision();
        let (precision, too_large) = self.weights.placement(precision)?.resolve(model, precision)?;
        if let Some(too_large) = too_large {
            tell(&mapped_text(&model.path().display().to_string(), too_large));
        }
        Ok(precision)
    }
}

/// Why weights stay in the file.
pub fn mapped_text(name: &str, TooLarge { weights, available }: TooLarge) -> String {
    format!(
        "note: the weights of {name}, {}, stay in the mapped file: of {} of free memory the context needs a part; \
         `--weights packed` copies them, for faster answers",
        units::bytes(weights),
        units::bytes(available),
    )
}

/// How a model is served.
#[derive(Debug, Clone, Copy, Args)]
pub struct Serving {
    /// Tokens that prompt and answer may have together [default: the model's, or what the memory allows]
    #[arg(long, value_name = "N", value_parser = positive)]
    context: Option<usize>,
    /// Keep keys and values of the context as float32, in 16 bits, or in 8: less memory and faster answers, less exact
    /// [default: bf16, or f16 where the processor does not multiply bfloat16; f32 with `--compute f32`]
    #[arg(long, value_name = "TYPE", value_parser = key_value_type())]
    kv: Option<KeyValueType>,
    #[command(flatten)]
    reading: Reading,
}

impl Serving {
    /// For the loader.
    pub fn options(self) -> Result<Options, Failure> {
        let Reading { weights, compute, threads } = self.reading;
        let precision = compute.precision();
        let exact = (precision == Precision::Float32).then_some(KeyValueType::F32);
        Ok(Options {
            threads: threads.get(),
            context: self.context,
            precision,
            placement: weights.placement(precision)?,
            kv: self.kv.or(exact),
            ..Options::default()
        })
    }
}

/// How tokens are chosen. The defaults are the engine's.
#[derive(Debug, Clone, Args)]
pub struct Sampling {
    /// Divides the logits: below 1 safer, above 1 wilder, 0 always the likeliest token
    #[arg(long, value_name = "T", default_value_t = SamplingParameters::default().temperature, value_parser = temperature)]
    temperature: f32,
    /// Choose among the K likeliest tokens [default: all]
    #[arg(long, value_name = "K", value_parser = positive)]
    top_k: Option<usize>,
    /// Choose among the likeliest tokens that together reach probability P
    #[arg(long, value_name = "P", default_value_t = SamplingParameters::default().top_p, value_parser = top_p)]
    top_p: f32,
    /// Choose among tokens at least P times as likely as the likeliest
    #[arg(long, value_name = "P", default_value_t = SamplingParameters::default().min_p, value_parser = min_p)]
    min_p: f32,
    /// Above 1, tokens already in the context become less likely; 1 is off
    #[arg(long, value_name = "F", default_value_t = SamplingParameters::default().repetition_penalty, value_parser = penalty)]
    repetition_penalty: f32,
}

impl Sampling {
    /// For the engine.
    pub fn parameters(&self, seed: u64) -> SamplingParameters {
        let &Self { temperature, top_k, top_p, min_p, repetition_penalty } = self;
        SamplingParameters { temperature, top_k, top_p, min_p, repetition_penalty, seed }
    }
}

/// A whole number of at least 1.
pub fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(_) => Err("it must be a whole number".into()),
    }
}

/// A number of bytes: `512MB`, `1.5GiB`, `2G` (of 1,024), `1500000000`.
pub fn byte_count(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit: u64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        _ => return Err("its unit is none of B, KB, MB, GB, KiB, MiB, GiB".into()),
    };
    let number: f64 = digits.parse().map_err(|_| "it must be a number with a unit, such as 512MiB")?;
    let size = number * unit as f64;
    let fits = (1.0..=(1_u64 << 50) as f64).contains(&size);
    if fits { Ok(size as u64) } else { Err("it must be at least 1, and at most a million GiB".into()) }
}

/// A stop string; an empty one is in every text.
pub fn stop_text(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("every answer would end at once".into()) } else { Ok(text.into()) }
}

fn number(text: &str, range: ranges::Range) -> Result<f32, String> {
    let number: f32 = text.parse().map_err(|_| format!("it must be a number {}", range.expected))?;
    if range.holds(number) { Ok(number) } else { Err(format!("it must be {}", range.expected)) }
}

fn temperature(text: &str) -> Result<f32, String> {
    number(text, ranges::TEMPERATURE)
}

fn top_p(text: &str) -> Result<f32, String> {
    number(text, ranges::TOP_P)
}

fn min_p(text: &str) -> Result<f32, String> {
    number(text, ranges::MIN_P)
}

fn penalty(text: &str) -> Result<f32, String> {
    number(text, ranges::REPETITION_PENALTY)
}

#[cfg(test)]
mod tests {
    use super::{TooLarge, byte_count, mapped_text};

    #[test]
    fn weights_that_stay_in_the_file_are_said_with_the_reason() {
        let text = mapped_text("llama", TooLarge { weights: 20 << 30, available: 8 << 30 });
        assert!(text.starts_with("note: the weights of llama, 20") && text.contains("--weights packed"), "{text}");
    }

    #[test]
    fn sizes() {
        let sizes = ["7", "512M", "1.5GiB", "2gb", "1K"].map(|text| byte_count(text).unwrap());
        assert_eq!(sizes, [7, 512 << 20, 3 << 29, 2_000_000_000, 1024]);
        for text in ["", "G", "-1", "0", "1X", "nan", "inf", "99999T", "1 G"] {
            assert!(byte_count(text).is_err(), "{text}");
        }
    }
}
