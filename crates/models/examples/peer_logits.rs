//! Writes the logits of token ids, for comparison with another engine (`bench/peers/llama_cpp/divergence`).
//!
//! `cargo run --release -p tsumugi-models --example peer_logits -- MODEL IDS.json WINDOW OUT f32|stored`
//!
//! OUT gets float32 numbers, little-endian: `[windows, WINDOW, vocabulary]`. Each window is read alone, without a cache; ids after
//! the last whole one are left out.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use tsumugi_files::{ModelFiles, NoScan};
use tsumugi_models::{Decoder, LogitsPlan, Precision};
use tsumugi_tensor::memory::bytes_of;
use tsumugi_tensor::{Cpu, Segment};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, ids, window, out, precision] = &arguments[..] else {
        return Err("give MODEL IDS.json WINDOW OUT f32|stored".into());
    };
    let precision = match precision.as_str() {
        "f32" => Precision::Float32,
        "stored" => Precision::Stored,
        other => return Err(format!("`{other}` is neither f32 nor stored").into()),
    };
    let ids: Vec<u32> = serde_json::from_str(&std::fs::read_to_string(ids)?)?;
    let window: usize = window.parse()?;
    let cpu = Cpu::detect(None)?;
    let model = ModelFiles::admit(Path::new(model), &NoScan { reason: "a comparison of engines" })?;
    let decoder = Decoder::load_to_serve(&model, &cpu, precision)?.pack(&cpu);
    let mut plan = LogitsPlan::new(&decoder, window, window);
    let positions: Vec<u32> = (0..window as u32).collect();
    let segment = [Segment { start: 0, len: window }];
    let mut file = BufWriter::new(File::create(out)?);
    for ids in ids.chunks_exact(window) {
        let logits = plan.run_uncached(&cpu, &decoder.parameters, ids, &positions, &segment);
        file.write_all(bytes_of(logits))?;
    }
    Ok(file.flush()?)
}
