//! The main text of pages: reads the paths of HTML files from standard input, a line each, and writes a JSON line of path and
//! text for each. The half of `bench/peers/html/run` that is ours.
//!
//! ```sh
//! find pages -name '*.html' | cargo run --release -p tsumugi-data --example main_text > ours.jsonl
//! ```

use std::io::{self, BufRead, Write};
use std::time::Instant;

use serde_json::json;
use tsumugi_data::source::main_text;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut seconds, mut bytes) = (0.0, 0);
    let mut out = io::stdout().lock();
    for path in io::stdin().lock().lines() {
        let path = path?;
        let page = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
        let begin = Instant::now();
        let text = main_text(&page);
        seconds += begin.elapsed().as_secs_f64();
        bytes += page.len();
        writeln!(out, "{}", json!({ "path": path, "text": text }))?;
    }
    writeln!(io::stderr(), "{}", json!({ "bytes": bytes, "seconds": seconds }))?;
    Ok(())
}
