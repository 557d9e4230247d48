//! Bills of materials: what the files say, the same bytes for the same files. The schema judges them in
//! `tools/peers/cyclonedx.sh`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tsumugi_base::progress::Silent;
use tsumugi_base::run_record::{InputHash, RunRecord, sha256};
use tsumugi_base::testing::temporary_folder;
use tsumugi_files::{ElementType, ModelFiles, NoScan, TensorView, write_safetensors};
use tsumugi_scan::bom::bom;

fn bill(path: &Path, timestamp: Option<&str>) -> Value {
    let model = ModelFiles::admit(path, &NoScan { reason: "a test of ours" }).unwrap();
    bom(&model, timestamp, 2, &Silent).unwrap()
}

fn write_model(folder: &Path) {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 9, "max_position_embeddings": 64,
        "quantization_config": {"quant_method": "gptq"},
    });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    fs::write(folder.join("tokenizer.json"), r#"{"model": {"type": "BPE", "vocab": {}}}"#).unwrap();
    fs::write(
        folder.join("README.md"),
        "---\nlicense: apache-2.0\nbase_model: org/base\npipeline_tag: text-generation\n---\n",
    )
    .unwrap();
    let tensors = [
        TensorView { name: "a", element_type: ElementType::F32, shape: &[2, 3], bytes: &[0; 24] },
        TensorView { name: "b", element_type: ElementType::F16, shape: &[5], bytes: &[0; 10] },
    ];
    write_safetensors(&folder.join("model.safetensors"), &tensors, &Default::default()).unwrap();
    let mut run = RunRecord::begin(vec!["train".into()], json!({"depth": 2}), 7);
    run.inputs = vec![InputHash { path: "/data/me/text.txt".into(), bytes: 3, sha256: sha256(b"abc") }];
    run.write(&folder.join("run.json")).unwrap();
}

#[test]
fn a_bill_says_what_the_files_say() {
    let folder = temporary_folder();
    write_model(folder.path());
    let bill = bill(folder.path(), None);
    let component = &bill["metadata"]["component"];
    assert_eq!(component["type"], "machine-learning-model");
    assert_eq!(component["licenses"], json!([{"license": {"id": "Apache-2.0"}}]));
    assert_eq!(component["pedigree"]["ancestors"][0]["purl"], "pkg:huggingface/org/base");
    let data = format!("data:{}", sha256(b"abc"));
    let parameters = json!({
        "task": "text-generation", "architectureFamily": "llama", "modelArchitecture": "LlamaForCausalLM",
        "datasets": [{"ref": data}],
    });
    assert_eq!(component["modelCard"]["modelParameters"], parameters);
    let properties = component["properties"].as_array().unwrap();
    let property =
        |name: &str| properties.iter().find(|property| property["name"] == name).map(|found| &found["value"]);
    for (name, value) in [
        ("tsumugi:parameters", "11"),
        ("tsumugi:parameters:F32", "6"),
        ("tsumugi:parameters:F16", "5"),
        ("tsumugi:quantization", "gptq"),
        ("tsumugi:tokenizer", "BPE"),
        ("tsumugi:vocabulary", "9"),
        ("tsumugi:context", "64"),
        ("tsumugi:run:recipe", "{\"depth\":2}"),
        ("tsumugi:run:seed", "7"),
    ] {
        assert_eq!(property(name), Some(&json!(value)), "{name}");
    }
    let components = bill["components"].as_array().unwrap();
    let hash = |reference: &str| {
        let found = components.iter().find(|component| component["bom-ref"] == reference);
        found.map(|component| component["hashes"][0]["content"].clone())
    };
    let config = fs::read(folder.path().join("config.json")).unwrap();
    assert_eq!(hash("file:config.json"), Some(json!(sha256(&config))));
    assert_eq!(hash(&data), Some(json!(sha256(b"abc"))));
    assert_eq!(components.len(), 6);
    assert!(!bill.to_string().contains("/data/me"), "no folder of the machine");
}

#[test]
fn the_same_files_give_the_same_bytes() {
    let folder = temporary_folder();
    write_model(folder.path());
    let first = bill(folder.path(), None);
    assert_eq!(bill(folder.path(), None).to_string(), first.to_string());
    let dated = bill(folder.path(), Some("2026-01-31T00:00:00Z"));
    assert_eq!(dated["metadata"]["timestamp"], "2026-01-31T00:00:00Z");
    assert_eq!(dated["serialNumber"], first["serialNumber"], "a time is not content");
    fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
    assert_ne!(bill(folder.path(), None)["serialNumber"], first["serialNumber"]);
}

#[test]
fn files_that_say_nothing_give_a_short_bill() {
    let folder = temporary_folder();
    write_safetensors(&folder.path().join("model.safetensors"), &[], &Default::default()).unwrap();
    fs::write(folder.path().join("README.md"), b"---\nlicense: \xff\n---\n").unwrap();
    fs::write(folder.path().join("run.json"), "[]").unwrap();
    let bill = bill(folder.path(), None);
    let component = bill["metadata"]["component"].as_object().unwrap();
    let keys: Vec<&str> = component.keys().map(String::as_str).collect();
    assert_eq!(keys, ["type", "bom-ref", "name", "properties"]);
}
