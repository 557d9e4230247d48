//! Models served with their weights as they are stored.

use std::path::Path;

use tsumugi_base::rng::{Key, Stream};
use tsumugi_base::testing::temporary_folder;
use tsumugi_files::{ElementType, ModelFiles, TensorView, narrow_f32_into, to_f32, write_gguf, write_safetensors};
use tsumugi_models::gguf::architecture_of;
use tsumugi_models::llama::Llama;
use tsumugi_models::slots::{Layout, slots};
use tsumugi_models::{Decoder, DecoderSpec, LogitsPlan, Precision};
use tsumugi_tensor::quant::{QuantizedMatrix, StoredRows, WeightKind};
use tsumugi_tensor::{Cpu, Isa, Segment, Weight};

use crate::contract::random;
use crate::goldens::GATE;

#[test]
fn kinds_are_the_files_types_and_widen_to_the_same_bits() {
    let cpu = Cpu::with_isa(Isa::PORTABLE, 1);
    let mut random = Stream::new(Key::from_seed(6));
    for kind in WeightKind::all() {
        let element_type = ElementType::all().find(|element_type| element_type.name() == kind.name()).unwrap();
        let (numbers, bytes) = (element_type.block_elements() as usize, element_type.block_bytes() as usize);
        assert_eq!((kind.block_numbers(), kind.block_bytes()), (numbers, bytes), "{element_type}");
        let (rows, columns) = (20, numbers.max(32) * 2);
        let stored: Vec<u8> = (0..rows * columns / numbers * bytes).map(|_| random.next_u64() as u8).collect();
        let mut matrix = QuantizedMatrix::new(columns);
        matrix.push(&cpu, StoredRows { kind, bytes: &stored, row_at: &|row| row, transposed: false, rows });
        let view = TensorView { name: "w", element_type, shape: &[rows, columns], bytes: &stored };
        let expected = to_f32(&view).unwrap();
        let mut row = vec![0.0; columns];
        for (index, expected) in expected.chunks_exact(columns).enumerate() {
            matrix.copy_row(index, &mut row);
            for (found, expected) in row.iter().zip(expected) {
                let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
                // -0 as code times scale and 0 as difference are one number.
                assert!(same || *found == 0.0 && *expected == 0.0, "{element_type}: {found} is not {expected}");
            }
        }
    }
}

fn spec() -> DecoderSpec {
    let mut spec = Llama::sized(96, 64, 256, 2, 4, 2);
    spec.feed_forward_width = 512;
    spec
}

/// A GGUF file of this decoder; `type_of` says the type of a matrix.
fn write(path: &Path, decoder: &Decoder, type_of: impl Fn(&str) -> ElementType) {
    let architecture = architecture_of(&decoder.spec).unwrap();
    let tensors: Vec<(String, Vec<usize>, ElementType, Vec<u8>)> = slots(decoder, Layout::Gguf(architecture))
        .into_iter()
        .map(|slot| {
            let element_type = if slot.shape.len() == 1 { ElementType::F32 } else { type_of(&slot.tensor) };
            let mut bytes = Vec::new();
            narrow_f32_into(&decoder.stored_values(&slot), element_type, &mut bytes).unwrap();
            (slot.tensor, slot.shape, element_type, bytes)
        })
        .collect();
    let views: Vec<TensorView<'_>> = tensors
        .iter()
        .map(|(name, shape, element_type, bytes)| TensorView { name, element_type: *element_type, shape, bytes })
        .collect();
    write_gguf(path, &architecture.metadata(&decoder.spec).unwrap(), &views).unwrap();
}

fn logits(cpu: &Cpu, decoder: Decoder) -> Vec<f32> {
    let tokens: Vec<u32> = (0..24).map(|i| i * 31 % 96).collect();
    let positions: Vec<u32> = (0..24).collect();
    let decoder = decoder.pack(cpu);
    let mut plan = LogitsPlan::new(&decoder, 24, 24);
    plan.run_uncached(cpu, &decoder.parameters, &tokens, &positions, &[Segment { start: 0, len: 24 }]).to_vec()
}

/// Matrices that are not widened, where all vectors are.
fn as_stored(decoder: &Decoder) -> usize {
    let is_stored = |id| matches!(decoder.parameters.weight(id), Weight::Quantized(_));
    assert!(decoder.parameters.iter().all(|(id, parameter)| parameter.shape.len() > 1 || !is_stored(id)));
    decoder.parameters.iter().filter(|(id, _)| is_stored(*id)).count()
}

/// The share of the reference that the difference is, both as lengths.
fn distance(found: &[f32], expected: &[f32]) -> f32 {
    let length = |values: &mut dyn Iterator<Item = f32>| values.map(|x| x * x).sum::<f32>().sqrt();
    let difference = length(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    difference / length(&mut expected.iter().copied())
}

/// From the file the bits are those of packed weights. Packed, float32 is added in the order of training's product.
fn assert_mapped(what: &str, element_type: ElementType, mapped: &[f32], packed: &[f32]) {
    let share = distance(mapped, packed);
    let allowed = if element_type == ElementType::F32 { 1e-6 } else { 0.0 };
    assert!(share <= allowed, "{what}: mapped weights give other logits, {share} of their length away");
}

#[test]
fn served_as_stored_they_compute_what_their_widened_weights_do() {
    let decoder = random(&spec());
    let folder = temporary_folder();
    let path = folder.path().join("m.gguf");
    let every_type = WeightKind::all().map(|kind| {
        let found = ElementType::all().find(|element_type| element_type.name() == kind.name());
        (kind.layout().is_some(), found.unwrap())
    });
    for (rounds, element_type) in every_type {
        write(&path, &decoder, |_| element_type);
        let model = ModelFiles::admit(&path, &GATE).unwrap();
        for isa in Isa::available() {
            let cpu = Cpu::with_isa(isa, 2);
            let stored = Decoder::load_to_serve(&model, &cpu, Precision::Stored).unwrap();
            let widened = Decoder::load_to_serve(&model, &cpu, Precision::Float32).unwrap();
            let mapped = Decoder::load_to_serve(&model, &cpu, Precision::Mapped).unwrap();
            assert_eq!(as_stored(&stored), if element_type == ElementType::F32 { 0 } else { 9 });
            assert_eq!(
                as_stored(&mapped),
                9,
                "embedding, and in two layers queries to values, output, gate with up, down"
            );
            let mapped = logits(&cpu, mapped);
            let stored = logits(&cpu, stored);
            assert_mapped(&format!("{element_type}, {}", isa.name()), element_type, &mapped, &stored);
            let share = distance(&stored, &logits(&cpu, widened));
            // Rounding to 8 bits costs a few hundredths after two layers of random weights; a wrong scale or order costs all.
            let allowed = if rounds { 0.08 } else { 1e-5 };
            assert!(share < allowed, "{element_type}, {}: {share}", isa.name());
        }
    }
}

#[test]
fn queries_keys_and_values_of_different_types_are_one_product() {
    let decoder = random(&spec());
    let folder = temporary_folder();
    let path = folder.path().join("m.gguf");
    write(&path, &decoder, |name| match name {
        name if name.contains("attn_v") => ElementType::Q6_K,
        name if name.contains("attn_q") => ElementType::Q4_K,
        name if name.contains("ffn_up") => ElementType::F16,
        _ => ElementType::Q8_0,
    });
    let Ok(model) = ModelFiles::admit(&path, &GATE) else { panic!("it is written") };
    let cpu = Cpu::with_isa(Isa::available()[0], 2);
    let load = |precision| Decoder::load_to_serve(&model, &cpu, precision).unwrap();
    let share = distance(&logits(&cpu, load(Precision::Stored)), &logits(&cpu, load(Precision::Float32)));
    assert!(share < 0.08, "{share}");
}

#[test]
fn matrices_with_their_axes_swapped_stay_in_the_file_too() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/gpt2-tiny");
    let read = ModelFiles::admit(&fixture, &GATE).unwrap();
    let folder = temporary_folder();
    std::fs::copy(fixture.join("config.json"), folder.path().join("config.json")).unwrap();
    for element_type in [ElementType::F32, ElementType::F16, ElementType::BF16] {
        let tensors = read.tensors().unwrap();
        let narrowed: Vec<(TensorView<'_>, Vec<u8>)> = tensors
            .iter()
            .map(|tensor| {
                let mut bytes = Vec::new();
                narrow_f32_into(&to_f32(&tensor).unwrap(), element_type, &mut bytes).unwrap();
                (tensor, bytes)
            })
            .collect();
        let views: Vec<TensorView<'_>> =
            narrowed.iter().map(|(tensor, bytes)| TensorView { element_type, bytes, ..*tensor }).collect();
        write_safetensors(&folder.path().join("model.safetensors"), &views, &Default::default()).unwrap();
        let model = ModelFiles::admit(folder.path(), &GATE).unwrap();
        for isa in Isa::available() {
            let cpu = Cpu::with_isa(isa, 2);
            let load = |precision| Decoder::load_to_serve(&model, &cpu, precision).unwrap();
            let mapped = load(Precision::Mapped);
            assert_eq!(as_stored(&mapped), 1 + 4 * mapped.spec.layers);
            let (mapped, widened) = (logits(&cpu, mapped), logits(&cpu, load(Precision::Float32)));
            assert!(distance(&mapped, &widened) < 1e-5, "{element_type}, {}", isa.name());
            let stored = logits(&cpu, load(Precision::Stored));
            assert_mapped(&format!("{element_type}, {}", isa.name()), element_type, &mapped, &stored);
        }
    }
}
