//! `quantize_numbers TYPE`: float32 numbers (little-endian) from standard input to quantized blocks on standard output.
//! `tools/goldens/compare_k_quants.py` compares them with ggml's.

use std::io::{Error, Read, Result, Write, stdin, stdout};

use tsumugi_files::{ElementType, narrow_f32_into};

fn main() -> Result<()> {
    let name = std::env::args().nth(1).unwrap_or_default();
    let element_type = ElementType::all().find(|element_type| element_type.name() == name);
    let element_type = element_type.ok_or_else(|| Error::other(format!("no element type is named `{name}`")))?;
    let mut bytes = Vec::new();
    stdin().read_to_end(&mut bytes)?;
    let values: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let mut blocks = Vec::new();
    narrow_f32_into(&values, element_type, &mut blocks).map_err(Error::other)?;
    stdout().write_all(&blocks)
}
