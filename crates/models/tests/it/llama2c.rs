//! stories260K in llama2.c's own format against an independent float64 forward pass (`data/stories260k/PROVENANCE.txt`).

use serde_json::{Value, json};
use tsumugi_base::testing::{asset, temporary_folder};
use tsumugi_files::llama2c::Header;
use tsumugi_files::{ModelFiles, NoScan};
use tsumugi_models::{Decoder, LogitsPlan};
use tsumugi_tensor::threads::Pool;
use tsumugi_tensor::{Cpu, Segment};

#[test]
fn stories260k_has_the_published_logits() {
    let Some(folder) = asset("stories260k") else { return };
    let expected: Value = serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
    let bytes = std::fs::read(folder.join("stories260K.bin")).unwrap();
    let header = Header::of(&bytes).unwrap();
    assert_eq!((header.dim, header.heads, header.kv_heads, header.tied), (64, 8, 4, true));
    // The format has no place for them: the other settings are run.c's.
    let config = json!({
        "model_type": "llama", "hidden_size": header.dim, "intermediate_size": header.hidden_dim,
        "num_hidden_layers": header.layers, "num_attention_heads": header.heads,
        "num_key_value_heads": header.kv_heads, "vocab_size": header.vocabulary,
        "max_position_embeddings": header.context, "tie_word_embeddings": header.tied,
        "rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "hidden_act": "silu",
    });
    let model = temporary_folder();
    std::fs::write(model.path().join("config.json"), config.to_string()).unwrap();
    std::fs::write(model.path().join("stories260K.bin"), &bytes).unwrap();
    let gate = NoScan { reason: "a published file without code" };
    let decoder = Decoder::load(&ModelFiles::admit(model.path(), &gate).unwrap(), &Pool::new(2)).unwrap();

    let cpu = Cpu::detect(Some(2)).unwrap();
    let cases = expected["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let ids: Vec<u32> = serde_json::from_value(case["token_ids"].clone()).unwrap();
        let positions: Vec<u32> = (0..ids.len() as u32).collect();
        let mut plan = LogitsPlan::new(&decoder, ids.len(), ids.len());
        let segments = [Segment { start: 0, len: ids.len() }];
        let logits = plan.run_uncached(&cpu, &decoder.parameters, &ids, &positions, &segments);
        let rows: Vec<&[f32]> = logits.chunks(header.vocabulary).collect();
        let last = rows[ids.len() - 1];
        let near = |found: f64, expected: &Value, tolerance: f64| {
            let expected = expected.as_f64().unwrap();
            assert!((found - expected).abs() < tolerance, "{}: {found} is not {expected}", case["prompt"]);
        };
        for pair in case["last_logits_top5"].as_array().unwrap() {
            near(last[pair[0].as_u64().unwrap() as usize].into(), &pair[1], 1e-3);
        }
        near(last.iter().map(|&logit| f64::from(logit)).sum(), &case["last_logits_sum"], 5e-2);
        for (i, expected) in case["prompt_token_logprobs"].as_array().unwrap().iter().enumerate() {
            let row: Vec<f64> = rows[i].iter().map(|&logit| logit.into()).collect();
            let largest = row.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = row.iter().map(|logit| (logit - largest).exp()).sum();
            near(row[ids[i + 1] as usize] - largest - total.ln(), expected, 1e-3);
        }
    }
}

#[test]
fn what_is_no_file_of_llama2c() {
    let numbers = |numbers: [i32; 7], floats: usize| {
        let head: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        [head, vec![0; floats * 4]].concat()
    };
    // dim 4, hidden 6, 1 layer, 2 heads, 1 key head, 3 tokens, context 5: by hand from `run.c`.
    let floats = 3 * 4 + 4 + 16 + 8 + 8 + 16 + 4 + 3 * 24 + 4 + 2 * 5;
    let good = [4, 6, 1, 2, 1, 3, 5];
    assert!(Header::of(&numbers(good, floats)).is_some_and(|header| header.tied));
    assert!(Header::of(&numbers([4, 6, 1, 2, 1, -3, 5], floats + 12)).is_some_and(|header| !header.tied));
    assert_eq!(Header::of(&numbers(good, floats + 1)), None);
    assert_eq!(Header::of(&numbers(good, floats)[..27]), None);
    for (i, wrong) in [(0, 3), (0, 0), (1, -6), (2, 0), (2, i32::MAX), (3, 0), (4, 0), (5, 0), (5, i32::MIN), (6, -1)] {
        let mut numbers_of = good;
        numbers_of[i] = wrong;
        assert_eq!(Header::of(&numbers(numbers_of, floats)), None, "{numbers_of:?}");
    }
}
