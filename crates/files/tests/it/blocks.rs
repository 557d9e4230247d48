//! Quantized blocks: what the `gguf` package and ggml make of the same inputs is in `fixtures/gguf_blocks.json`, written
//! by `tools/goldens/make_gguf_goldens.py`, which makes the inputs from seeds exactly as it is done here.

use serde_json::Value;
use sha2::{Digest, Sha256};
use tsumugi_base::Hint;
use tsumugi_files::{ElementType, FilesError, TensorView, narrow_f32_into, read_f32_at, to_f32};

fn golden() -> Value {
    serde_json::from_str(include_str!("../../fixtures/gguf_blocks.json")).unwrap()
}

fn type_named(name: &str) -> ElementType {
    ElementType::all().find(|element_type| element_type.name() == name).unwrap()
}

/// SplitMix64: Steele, Lea, Flood 2014, "Fast Splittable Pseudorandom Number Generators".
fn random_words(seed: u64, count: usize) -> Vec<u64> {
    let word = |i: u64| {
        let z = seed.wrapping_add((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    };
    (0..count as u64).map(word).collect()
}

fn random_bytes(seed: u64, count: usize) -> Vec<u8> {
    let words = random_words(seed, count.div_ceil(8));
    words.into_iter().flat_map(u64::to_le_bytes).take(count).collect()
}

/// Sums of three uniform 20-bit integers about zero.
fn bell(seed: u64, count: usize) -> Vec<i64> {
    let parts = |word: u64| (0..3).map(|i| (word >> (20 * i) & 0xf_ffff) as i64).sum::<i64>();
    random_words(seed, count).into_iter().map(|word| parts(word) - 3 * (1 << 19)).collect()
}

/// Blocks of 32 of many magnitudes; of every eight blocks one is zero, one constant, one a spike, one of halves.
fn values_for_rounding(seed: u64, blocks: usize) -> Vec<f32> {
    let mut integers = bell(seed, blocks * 32);
    for (number, block) in integers.chunks_exact_mut(32).enumerate() {
        match number % 8 {
            0 => block.fill(0),
            1 => block.fill(block[0]),
            2 => block[1..].fill(0),
            3 => block.iter_mut().for_each(|value| *value = value.rem_euclid(16) * (1 << 16) - (1 << 19)),
            _ => {}
        }
    }
    let exponent = |i: usize| -20 - (i / 32 % 24) as i32;
    integers.iter().enumerate().map(|(i, &value)| (value as f64 * 2f64.powi(exponent(i))) as f32).collect()
}

/// Values that a K-quant is judged on.
fn values_for_search(kind: &str) -> Vec<f32> {
    let value = |(i, integer): (usize, i64)| {
        let x = integer as f64 / f64::from(1 << 20);
        let value = match kind {
            "bell" => x,
            "heavy tails" => x * x * x,
            "offset" => x + 0.75,
            "uneven" => x * 2f64.powi((i / 32 % 7) as i32 - 3),
            _ => panic!("{kind}"),
        };
        value as f32
    };
    bell(200, 64 * 1024).into_iter().enumerate().map(value).collect()
}

fn sha256(bytes: impl AsRef<[u8]>) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn widen(element_type: ElementType, bytes: &[u8]) -> Vec<f32> {
    let blocks = bytes.len() / element_type.block_bytes() as usize;
    let shape = [blocks, element_type.block_elements() as usize];
    to_f32(&TensorView { name: "blocks", element_type, shape: &shape, bytes }).unwrap()
}

fn narrow(values: &[f32], element_type: ElementType) -> Vec<u8> {
    let mut bytes = Vec::new();
    narrow_f32_into(values, element_type, &mut bytes).unwrap();
    bytes
}

#[test]
fn random_blocks_of_every_type_widen_to_the_bits_of_the_reference() {
    let golden = golden();
    let blocks = golden["blocks"].as_u64().unwrap();
    let widened = golden["widened"].as_object().unwrap();
    for (name, expected) in widened {
        let element_type = type_named(name);
        let bytes = random_bytes(expected["seed"].as_u64().unwrap(), (blocks * element_type.block_bytes()) as usize);
        let canonical = |value: f32| if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() };
        let bits: Vec<u8> =
            widen(element_type, &bytes).into_iter().flat_map(|value| canonical(value).to_le_bytes()).collect();
        assert_eq!(sha256(bits), expected["values"].as_str().unwrap(), "{name}");
    }
    let missing: Vec<_> = ElementType::all().filter(|t| t.is_quantized() && !widened.contains_key(t.name())).collect();
    assert_eq!(missing, []);
}

#[test]
fn rounded_types_have_the_bits_of_the_reference() {
    let golden = golden();
    let blocks = golden["blocks"].as_u64().unwrap() as usize;
    for (name, expected) in golden["rounded"].as_object().unwrap() {
        let values = values_for_rounding(expected["seed"].as_u64().unwrap(), blocks);
        assert_eq!(sha256(narrow(&values, type_named(name))), expected["blocks"].as_str().unwrap(), "{name}");
    }
}

/// √(Σ(x − y)² / Σx²).
fn relative_error(values: &[f32], found: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let error: f64 = values.iter().zip(found).map(|(&x, &y)| square(f64::from(y) - f64::from(x))).sum();
    (error / values.iter().map(|&x| square(x.into())).sum::<f64>()).sqrt()
}

#[test]
fn searched_types_err_at_most_one_percent_more_than_ggml() {
    for (name, kinds) in golden()["errors"].as_object().unwrap() {
        for (kind, expected) in kinds.as_object().unwrap() {
            let (values, expected) = (values_for_search(kind), expected.as_f64().unwrap());
            let found = relative_error(&values, &widen(type_named(name), &narrow(&values, type_named(name))));
            let ratio = found / expected;
            println!("{name} {kind}: {found:.5}, ggml {expected:.5}, ratio {ratio:.4}");
            assert!(ratio < 1.01 && ratio > 0.5, "{name} {kind}: {found}, ggml {expected}");
        }
    }
}

#[test]
fn searched_types_hold_extremes_tiny_and_constant_blocks() {
    for element_type in ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"].map(type_named) {
        for value in [0.0, -0.0, 1e-45, -1e-9, 1e-6, 1.0, -1.0, 65_504.0, -65_504.0] {
            let back = widen(element_type, &narrow(&[value; 256], element_type));
            let slack = value.abs() / 12.0 + 2e-6; // the finest unit of Q2_K is 2^-24, times 3 and 15
            assert!(back.iter().all(|back| (back - value).abs() <= slack), "{element_type} {value}: {}", back[0]);
        }
        let mut spike = [0.0; 256];
        spike[77] = -3.0;
        let back = widen(element_type, &narrow(&spike, element_type));
        assert!((back[77] + 3.0).abs() < 0.01, "{element_type}: {}", back[77]);
        // Not zero exactly: the units of scale and minimum are rounded apart.
        assert!(back.iter().enumerate().all(|(i, &back)| i == 77 || back.abs() < 0.003), "{element_type}");
    }
}

#[test]
fn a_block_depends_on_its_own_values_only() {
    let values = values_for_search("uneven");
    for element_type in ElementType::all().filter(|element_type| element_type.is_quantized()) {
        let mut whole = Vec::new();
        if narrow_f32_into(&values[..1024], element_type, &mut whole).is_err() {
            continue;
        }
        let pieces: Vec<u8> = values[..1024].chunks(256).flat_map(|piece| narrow(piece, element_type)).collect();
        assert_eq!(whole, pieces, "{element_type}");
    }
}

#[test]
fn what_cannot_be_quantized_is_told_and_leaves_the_bytes() {
    let mut bytes = vec![7];
    let mut told = |values: &[f32], name: &str| {
        let error: FilesError = narrow_f32_into(values, type_named(name), &mut bytes).unwrap_err();
        assert!(error.hint().is_some());
        error.to_string()
    };
    assert_eq!(told(&[0.0; 100], "Q4_0"), "100 numbers do not fill whole blocks of 32, as Q4_0 needs them");
    assert_eq!(told(&[0.0; 256], "IQ2_XS"), "numbers cannot be stored as IQ2_XS");
    assert_eq!(told(&[f32::NAN; 1], "I8"), "numbers cannot be stored as I8");
    let mut values = [0.0; 32];
    values[9] = f32::INFINITY;
    assert_eq!(told(&values, "Q8_0"), "number 9 is inf; Q8_0 holds magnitudes up to 65504");
    values[3] = f32::NAN;
    assert_eq!(told(&values, "Q4_1"), "number 3 is NaN; Q4_1 holds magnitudes up to 65504");
    assert_eq!(bytes, [7]);
}

#[test]
fn any_stretch_of_whole_blocks_widens_as_in_the_whole() {
    for element_type in [ElementType::F32, ElementType::F16, ElementType::Q4_1, ElementType::Q6_K] {
        let block = element_type.block_elements() as usize;
        let shape = [3 * block];
        let bytes = random_bytes(7, 3 * element_type.block_bytes() as usize);
        let tensor = TensorView { name: "t", element_type, shape: &shape, bytes: &bytes };
        let whole: Vec<u32> = to_f32(&tensor).unwrap().into_iter().map(f32::to_bits).collect();
        for first in 0..=3 {
            for count in 0..=3 - first {
                let mut values = vec![0.0; count * block];
                read_f32_at(&tensor, first * block, &mut values).unwrap();
                let found: Vec<u32> = values.into_iter().map(f32::to_bits).collect();
                assert_eq!(found, whole[first * block..][..count * block], "{element_type} {first} {count}");
            }
        }
        let error = read_f32_at(&tensor, 2 * block, &mut vec![0.0; 2 * block]).unwrap_err();
        assert!(matches!(error, FilesError::Room { .. }), "{error}");
        if block > 1 {
            let error = read_f32_at(&tensor, 1, &mut vec![0.0; block]).unwrap_err();
            assert!(matches!(error, FilesError::PartOfBlock { elements: 1, .. }), "{error}");
        }
    }
}
