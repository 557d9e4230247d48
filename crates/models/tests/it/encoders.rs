//! Encoders: hidden states and scores against what `transformers` computed (`tools/goldens/make_encoder_goldens.py`), and the
//! contract that they share with the decoders.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tsumugi_base::Hint;
use tsumugi_base::rng::{Key, Stream};
use tsumugi_base::testing::temporary_folder;
use tsumugi_files::{
    ElementType, ModelFiles, TensorFile, TensorView, mmap::MappedFile, narrow_f32_into, to_f32, write_safetensors,
};
use tsumugi_models::embedding_model::TextRows;
use tsumugi_models::{
    Decoder, EmbeddingModel, Encoder, EncoderSpec, HiddenPlan, ModelError, Precision, ScorePlan, bert,
};
use tsumugi_tensor::threads::Pool;
use tsumugi_tensor::{Activation, Cpu, Isa, Segment};

use crate::goldens::GATE;

const FIXTURES: [&str; 4] = ["bert", "roberta", "bert-cross-encoder", "xlm-roberta-cross-encoder"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/encoders").join(name)
}

fn load(folder: &Path) -> Result<Encoder, ModelError> {
    Encoder::load(&ModelFiles::admit(folder, &GATE).unwrap(), &Pool::new(2))
}

fn worst(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn hidden_states_and_scores_equal_transformers_on_every_instruction_set() {
    for name in FIXTURES {
        let folder = fixture(name);
        let golden = TensorFile::single(MappedFile::open(&folder.join("golden.safetensors")).unwrap()).unwrap();
        let numbers = |name: &str| to_f32(&golden.get(name).unwrap()).unwrap();
        let ids = |name: &str| -> Vec<u32> {
            golden.get(name).unwrap().bytes.chunks_exact(8).map(|id| u32::from(id[0])).collect()
        };
        for isa in Isa::available() {
            let cpu = Cpu::with_isa(isa, 2);
            let model = EmbeddingModel::Encoder(Box::new(load(&folder).unwrap()));
            for index in 0..2 {
                let (tokens, types) = (ids(&format!("ids_{index}")), ids(&format!("types_{index}")));
                let texts = [Segment { start: 0, len: tokens.len() }];
                let rows = TextRows { tokens: &tokens, types: &types, texts: &texts };
                let mut plan = HiddenPlan::new(&model, tokens.len());
                let off = worst(plan.run(&cpu, &model, rows), &numbers(&format!("hidden_{index}")));
                assert!(off < 5e-6, "{name} on {}: hidden states off by {off}", isa.name());
                let EmbeddingModel::Encoder(encoder) = &model else { unreachable!() };
                if encoder.spec.labels.is_some() {
                    let mut plan = ScorePlan::new(encoder, tokens.len(), 1);
                    let off = worst(plan.run(&cpu, &model, rows), &numbers(&format!("scores_{index}")));
                    assert!(off < 5e-6, "{name} on {}: scores off by {off}", isa.name());
                }
            }
        }
    }
}

fn specs() -> Vec<EncoderSpec> {
    let bert = EncoderSpec {
        family: "bert",
        vocabulary: 40,
        width: 12,
        layers: 2,
        heads: 3,
        feed_forward_width: 20,
        context: 16,
        first_position: 0,
        token_types: 2,
        activation: Activation::Gelu,
        epsilon: 1e-12,
        pooler: true,
        labels: None,
    };
    let mut specs = vec![
        EncoderSpec { pooler: false, activation: Activation::Relu, ..bert.clone() },
        EncoderSpec { labels: Some(3), token_types: 1, ..bert.clone() },
        bert.clone(),
    ];
    for family in ["roberta", "xlm-roberta"] {
        specs.push(EncoderSpec { family, first_position: 2, ..bert.clone() });
        specs.push(EncoderSpec { family, first_position: 2, labels: Some(1), ..bert.clone() });
    }
    specs
}

fn random(spec: &EncoderSpec) -> Encoder {
    let mut encoder = Encoder::new(spec.clone());
    let ids: Vec<_> = encoder.parameters.iter().map(|(id, _)| id).collect();
    let mut noise = Stream::new(Key::from_seed(5));
    for id in ids {
        encoder.parameters.values_mut(id).fill_with(|| 0.3 * noise.next_normal());
    }
    encoder
}

#[test]
fn save_and_load_give_the_same_spec_and_bits_and_every_number_is_there_once() {
    for spec in specs() {
        let encoder = random(&spec);
        let folder = temporary_folder();
        encoder.save(folder.path(), &BTreeMap::new()).unwrap();
        let loaded = load(folder.path()).unwrap();
        assert_eq!(loaded.spec, spec);
        for ((id, parameter), (_, same)) in encoder.parameters.iter().zip(loaded.parameters.iter()) {
            assert_eq!(parameter, same);
            assert!(encoder.parameters.values(id) == loaded.parameters.values(id), "`{}` changed", parameter.name);
        }
        let tensors = ModelFiles::admit(folder.path(), &GATE).unwrap().tensors().unwrap();
        assert_eq!(tensors.iter().map(|tensor| tensor.element_count()).sum::<usize>(), encoder.parameters.count());
    }
}

/// Texts behind each other, each with its hidden states.
fn hidden(cpu: &Cpu, model: &EmbeddingModel, texts: &[&[u32]], rows: usize) -> Vec<Vec<f32>> {
    let mut tokens: Vec<u32> = texts.concat();
    let mut segments: Vec<Segment> = Vec::new();
    for text in texts {
        let start = segments.last().map_or(0, |last| last.start + last.len);
        segments.push(Segment { start, len: text.len() });
    }
    tokens.resize(rows, 0);
    let types: Vec<u32> = tokens.iter().map(|token| token % 2).collect();
    let mut plan = HiddenPlan::new(model, rows);
    let rows = TextRows { tokens: &tokens, types: &types, texts: &segments };
    let (hidden, width) = (plan.run(cpu, model, rows), model.width());
    segments.iter().map(|text| hidden[text.start * width..][..text.len * width].to_vec()).collect()
}

#[test]
fn a_text_has_the_same_bits_beside_others_with_any_threads() {
    let encoder = random(&specs()[2]);
    let texts: [&[u32]; 4] = [&[1, 2, 3], &[7; 16], &[9], &[3, 4, 5, 6, 8, 30, 39]];
    for isa in Isa::available() {
        let folder = temporary_folder();
        encoder.save(folder.path(), &BTreeMap::new()).unwrap();
        let files = ModelFiles::admit(folder.path(), &GATE).unwrap();
        let one = Cpu::with_isa(isa, 1);
        let model = EmbeddingModel::load_to_serve(&files, &one, Precision::Float32).unwrap();
        let alone: Vec<Vec<f32>> = texts.iter().flat_map(|text| hidden(&one, &model, &[text], text.len())).collect();
        for threads in 1..4 {
            let cpu = Cpu::with_isa(isa, threads);
            assert!(hidden(&cpu, &model, &texts, 32) == alone, "{}, {threads} threads", isa.name());
        }
        let plain = EmbeddingModel::Encoder(Box::new(load(folder.path()).unwrap()));
        assert!(worst(&hidden(&one, &plain, &texts, 27).concat(), &alone.concat()) < 1e-5, "packed is another model");
    }
}

/// Writes the tensors of `folder` again, in a type of their own and under other names.
fn rewrite(folder: &Path, element_type: ElementType, rename: impl Fn(&str) -> String, extra: &[&str]) {
    let tensors = ModelFiles::admit(folder, &GATE).unwrap().tensors().unwrap();
    let mut stored: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for tensor in tensors.iter() {
        let mut bytes = Vec::new();
        narrow_f32_into(&to_f32(&tensor).unwrap(), element_type, &mut bytes).unwrap();
        stored.push((rename(tensor.name), tensor.shape.to_vec(), bytes));
    }
    for &name in extra {
        let mut bytes = Vec::new();
        narrow_f32_into(&[1.0], element_type, &mut bytes).unwrap();
        stored.push((name.to_owned(), vec![1], bytes));
    }
    let views: Vec<TensorView<'_>> =
        stored.iter().map(|(name, shape, bytes)| TensorView { name, element_type, shape, bytes }).collect();
    write_safetensors(&folder.join("model.safetensors"), &views, &BTreeMap::new()).unwrap();
}

#[test]
fn old_names_prefixes_and_heads_of_pre_training_are_understood() {
    let encoder = random(&specs()[2]);
    let folder = temporary_folder();
    encoder.save(folder.path(), &BTreeMap::new()).unwrap();
    let old = |name: &str| {
        format!("bert.{name}")
            .replace("LayerNorm.weight", "LayerNorm.gamma")
            .replace("LayerNorm.bias", "LayerNorm.beta")
    };
    let extra = ["cls.predictions.bias", "cls.seq_relationship.bias", "bert.embeddings.position_ids"];
    rewrite(folder.path(), ElementType::F32, old, &extra);
    let loaded = load(folder.path()).unwrap();
    assert_eq!(loaded.spec, encoder.spec);
    assert!(loaded.parameters.buffer() == encoder.parameters.buffer());

    rewrite(folder.path(), ElementType::F32, str::to_owned, &["bert.encoder.layer.2.output.dense.bias"]);
    let error = load(folder.path()).unwrap_err();
    assert!(error.to_string().contains("encoder.layer.2.output.dense.bias"), "{error}");
}

#[test]
fn sixteen_bits_are_served_as_they_are_stored() {
    let encoder = random(&EncoderSpec { width: 48, heads: 3, feed_forward_width: 64, ..specs()[2].clone() });
    let folder = temporary_folder();
    encoder.save(folder.path(), &BTreeMap::new()).unwrap();
    rewrite(folder.path(), ElementType::BF16, str::to_owned, &[]);
    let (files, cpu) = (ModelFiles::admit(folder.path(), &GATE).unwrap(), Cpu::detect(Some(2)).unwrap());
    let load = |precision| EmbeddingModel::load_to_serve(&files, &cpu, precision).unwrap();
    let (stored, float) = (load(Precision::Stored), load(Precision::Float32));
    let text: &[u32] = &[1, 2, 3, 4, 5, 6];
    let [stored, float] = [&stored, &float].map(|model| hidden(&cpu, model, &[text], 16).concat());
    let off = worst(&stored, &float);
    assert!(off < 0.05, "off by {off}");
}

fn error_with(spec: &EncoderSpec, changes: &[(&str, Value)]) -> String {
    let folder = temporary_folder();
    random(spec).save(folder.path(), &BTreeMap::new()).unwrap();
    let path = folder.path().join("config.json");
    let mut config: Map<String, Value> = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    config.extend(changes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    fs::write(path, Value::Object(config).to_string()).unwrap();
    let error = load(folder.path()).expect_err(&format!("{changes:?} was loaded"));
    assert!(!error.to_string().contains('\n'), "one line: {error}");
    error.to_string()
}

#[test]
fn configs_that_cannot_be_are_refused_by_key_or_tensor() {
    let [bert, roberta] = [&specs()[2], &specs()[3]];
    let cases: [(&EncoderSpec, &str, Value, &str); 9] = [
        (bert, "num_attention_heads", json!(5), "num_attention_heads 5 does not divide hidden_size 12"),
        (bert, "position_embedding_type", json!("relative_key"), "only \"absolute\" is supported"),
        (bert, "is_decoder", json!(true), "only false is supported"),
        (bert, "hidden_act", json!("mish"), "hidden_act `mish`"),
        (bert, "vocab_size", json!(1 << 20), "it describes"),
        (bert, "intermediate_size", json!(21), "encoder.layer.0.intermediate.dense.weight"),
        (bert, "num_hidden_layers", json!(3), "no tensor `encoder.layer.2."),
        (bert, "model_type", json!("electra"), "unknown model_type `electra`; known: bert, roberta"),
        (roberta, "max_position_embeddings", json!(2), "positions begin at 2"),
    ];
    for (spec, key, value, expected) in cases {
        let error = error_with(spec, &[(key, value)]);
        assert!(error.contains(expected), "{key}: {error}");
    }
    let labels = &[("id2label", json!({}))];
    assert!(error_with(&specs()[1], labels).contains("`id2label` is empty"));
}

#[test]
fn an_encoder_is_no_decoder_and_the_error_says_what_to_do() {
    let files = ModelFiles::admit(&fixture("bert"), &GATE).unwrap();
    let error = Decoder::load(&files, &Pool::new(1)).unwrap_err();
    assert!(error.to_string().contains("`bert` is an encoder"), "{error}");
    assert!(error.hint().unwrap().contains("tsumugi embed"));
    assert!(bert::ALL.iter().all(|family| bert::find(family.name).is_some() && family.about.len() < 120));
}
