//! Published samples: everything that another scanner flags rightly is flagged here, and the harmless ones pass.

use std::path::Path;

use tsumugi_base::progress::Silent;
use tsumugi_base::testing::asset;
use tsumugi_scan::{Limits, Report, Severity, scan};

/// Files of picklescan's tests that hold nothing that harms.
const PICKLESCAN_HARMLESS: &[&str] = &[
    "PROVENANCE.txt",
    "expected.json",
    "modelscan.json",
    "data/benign0_v0.pkl",
    "data/benign0_v3.pkl",
    "data/new_pytorch_model.bin",
    "data/not_a_pickle.bin",
    "data2/int_arrays.npz",
    "data2/int_arrays_compressed.npz",
    "data2/object_array.npy",
    "data2/object_arrays.npz",
];

/// And of modelaudit's.
const MODELAUDIT_HARMLESS: &[&str] = &[
    "PROVENANCE.txt",
    "modelscan.json",
    "samples/archives/safe_model.zip",
    "samples/jinja2/benign/chatml_format.json",
    "samples/jinja2/benign/conditional_system.json",
    "samples/jinja2/benign/huggingface_llama.json",
    "samples/jinja2/benign/special_tokens.json",
    "samples/jinja2/benign_conditional_format.json",
    "samples/jinja2/benign_simple_template.json",
    "samples/jinja2/benign_template.j2",
    "samples/jinja2/edge_cases/malformed_template.json",
    "samples/jinja2/edge_cases/oversized_template.json",
    "samples/jinja2/standalone/suspicious_benign.template",
    "samples/jinja2/yaml/model_config.yaml",
    "samples/keras/safe_model.h5",
    "samples/manifests/safe_config.json",
    "samples/pickles/safe_data.pkl",
    "samples/pickles/safe_model_with_binary.pkl",
    "samples/pickles/safe_model_with_tokens.pkl",
    "samples/pickles/safe_nested_structure.pkl",
    // Classes of the author's own program, which nothing imports or calls but skops itself, after asking.
    "samples/pipeline.skops",
    "scenarios/license_scenarios/mit_model/config.json",
    "scenarios/license_scenarios/mit_model/model_weights.pkl",
    "scenarios/license_scenarios/mixed_licenses/mixed_model.pkl",
    "scenarios/license_scenarios/unlicensed_dataset/training_data.json",
];

fn scanned(folder: &Path) -> Report {
    scan(&[folder.to_owned()], &Limits::default(), 2, &Silent).expect("the folder is there")
}

/// Every file is flagged, but those that are harmless.
fn check(name: &str, harmless: &[&str]) {
    let Some(folder) = asset(name) else { return };
    let report = scanned(&folder);
    assert!(report.files.len() > harmless.len(), "{name} holds more than harmless files");
    let mut wrong = Vec::new();
    for file in &report.files {
        let path = file.path.strip_prefix(&folder).expect("it lies in the folder").to_string_lossy();
        let is_flagged = file.worst() >= Some(Severity::Medium);
        if is_flagged == harmless.contains(&&*path) {
            let found: Vec<&str> = file.findings.iter().map(|finding| &*finding.message).collect();
            wrong.push(format!(
                "{path}: {} {:?} {found:?}",
                if is_flagged { "flagged" } else { "passed" },
                file.formats
            ));
        }
    }
    assert!(wrong.is_empty(), "{} files:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn samples_of_picklescan() {
    check("picklescan-fixtures", PICKLESCAN_HARMLESS);
}

#[test]
fn samples_of_modelaudit() {
    check("modelaudit-samples", MODELAUDIT_HARMLESS);
}
