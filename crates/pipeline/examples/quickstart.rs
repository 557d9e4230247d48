//! Quickstart without the command line: `cargo run --release -p tsumugi-pipeline --example quickstart -- OUT MINUTES`
#![allow(clippy::print_stderr, reason = "an example speaks")]

use std::error::Error;

use tsumugi_base::progress::{Event, Observer};
use tsumugi_files::NoScan;
use tsumugi_pipeline::{Options, quickstart};

struct Lines;

impl Observer for Lines {
    fn event(&self, event: &Event) {
        match event {
            Event::Stage { name } => eprintln!("== {name}"),
            Event::Note { message } => eprintln!("{message}"),
            Event::Warning { message } => eprintln!("warning: {message}"),
            Event::Step { .. } => {}
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [out, minutes] = &arguments[..] else { return Err("usage: OUT MINUTES".into()) };
    let options = Options { minutes: minutes.parse()?, ..Options::new(out) };
    let gate = NoScan { reason: "the stages wrote these folders themselves" };
    let begun = std::time::Instant::now();
    let result = quickstart(&options, std::env::args().collect(), &gate, &Lines)?;
    eprintln!("{:.1} s, finished: {}", begun.elapsed().as_secs_f64(), result.finished);
    if let Some(measured) = result.measured {
        eprintln!(
            "{:.4} bits per byte (xz {}), answers {:.3} -> {:.3}",
            measured.base_bits_per_byte,
            measured.xz_bits_per_byte,
            measured.answers_before_nats,
            measured.answers_after_nats
        );
    }
    Ok(())
}
