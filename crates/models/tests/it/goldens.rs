//! Logits against what `transformers` computed (`tools/goldens/`).

use std::path::{Path, PathBuf};

use tsumugi_files::{ModelFiles, NoScan, TensorFile, mmap::MappedFile, to_f32};
use tsumugi_models::{Decoder, LogitsPlan, Precision};
use tsumugi_tensor::threads::Pool;
use tsumugi_tensor::{Cpu, Isa, Segment};

pub const GATE: NoScan = NoScan { reason: "fixtures of this repository" };

pub fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("config.json").exists())
        .collect();
    folders.sort();
    assert!(folders.len() >= 4, "fixtures are missing");
    folders
}

fn golden_ids(folder: &Path) -> Vec<Vec<u32>> {
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("golden.json")).unwrap()).unwrap();
    serde_json::from_value(json["ids"].clone()).unwrap()
}

#[test]
fn logits_equal_transformers_on_every_instruction_set() {
    for folder in fixtures() {
        let model = ModelFiles::admit(&folder, &GATE).unwrap();
        let widened = Decoder::load(&model, &Pool::new(2)).unwrap();
        let golden = TensorFile::single(MappedFile::open(&folder.join("golden.safetensors")).unwrap()).unwrap();
        for isa in Isa::available() {
            let cpu = Cpu::with_isa(isa, 2);
            // Weights of 16 bits are exact as they are stored, too.
            let stored = Decoder::load_to_serve(&model, &cpu, Precision::Stored).unwrap();
            for (index, ids) in golden_ids(&folder).iter().enumerate() {
                let name = golden
                    .names()
                    .find(|name| name.starts_with("logits") && name.ends_with(&index.to_string()))
                    .unwrap();
                let expected = to_f32(&golden.get(name).unwrap()).unwrap();
                let positions: Vec<u32> = (0..ids.len() as u32).collect();
                let segments = [Segment { start: 0, len: ids.len() }];
                for decoder in [&widened, &stored] {
                    let mut plan = LogitsPlan::new(decoder, ids.len(), ids.len());
                    let logits = plan.run_uncached(&cpu, &decoder.parameters, ids, &positions, &segments);
                    assert_eq!(logits.len(), expected.len());
                    let worst = logits.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(worst < 5e-5, "{} on {}: off by {worst}", folder.display(), isa.name());
                }
            }
        }
    }
}
