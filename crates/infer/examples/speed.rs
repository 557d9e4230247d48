use std::path::Path;
use std::time::Instant;
use tsumugi_files::{ModelFiles, NoScan};
use tsumugi_infer::engine::{Engine, EngineOptions};
use tsumugi_models::{Decoder, Precision};
use tsumugi_tensor::Cpu;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let model = ModelFiles::admit(Path::new(&a[1]), &NoScan { reason: "bench" }).unwrap();
    let threads: usize = a[2].parse().unwrap();
    let depth: usize = a[3].parse().unwrap();
    let precision = if a.len() > 4 && a[4] == "f32" { Precision::Float32 } else { Precision::Stored };
    let cpu = Cpu::detect(Some(threads)).unwrap();
    let t = Instant::now();
    let decoder = Decoder::load_to_serve(&model, &cpu, precision).unwrap();
    eprintln!("load {:.3} s, {} MB", t.elapsed().as_secs_f64(), decoder.parameters.bytes() >> 20);
    let bytes = decoder.parameters.bytes();
    let mut engine = Engine::new(decoder, cpu, EngineOptions { prefill_rows: 512, ..EngineOptions::default() });
    let tokens: Vec<u32> = (0..4096u32).map(|i| 100 + i * 7919 % 30000).collect();
    for _ in 0..3 {
        engine.clear();
        let t = Instant::now();
        let (id, _) = engine.begin(&tokens[..512]).unwrap();
        engine.prefill(id, &tokens[..512]).unwrap();
        eprintln!("prefill 512: {:.1} tokens/s", 512.0 / t.elapsed().as_secs_f64());
        if depth > 0 {
            engine.clear();
            let (id, _) = engine.begin(&tokens[..depth]).unwrap();
            engine.prefill(id, &tokens[..depth]).unwrap();
        } else { engine.clear(); }
        let (id, _) = engine.begin(&tokens[..depth.max(1) + 1]).unwrap();
        let t = Instant::now();
        let mut n = 0;
        for i in 0..64 { engine.decode(&[(id, tokens[i])]).unwrap(); n += 1; }
        let s = t.elapsed().as_secs_f64() / n as f64;
        eprintln!("decode at {depth}: {:.1} tokens/s, {:.1} GB/s", 1.0 / s, bytes as f64 / s / 1e9);
    }
}
