//! Ways to write Keras and YAML configurations that once passed unseen.

use tsumugi_scan::{Limits, Severity, scan_bytes};

/// The findings at medium or above, as rule and message.
fn found(bytes: &[u8], name: &str) -> Vec<String> {
    let report = scan_bytes(bytes, name, &Limits::default());
    let failing = report.findings.iter().filter(|finding| finding.severity >= Severity::Medium);
    failing.map(|finding| format!("{}: {}", finding.rule.id, finding.message)).collect()
}

fn assert_found(text: &str, name: &str, rule: &str) {
    let found = found(text.as_bytes(), name);
    let start: String = text.chars().take(200).collect();
    assert!(found.iter().any(|finding| finding.starts_with(rule)), "{start}: {rule} is not among {found:?}");
}

fn assert_clean(text: &str, name: &str) {
    let found = found(text.as_bytes(), name);
    assert!(found.is_empty(), "{text}: {found:?}");
}

#[test]
fn functions_are_judged_by_module_and_name() {
    for (module, name) in [
        ("builtins", "exec"),
        ("builtins", "eval"),
        ("builtins", "__import__"),
        ("builtins", "open"),
        ("numpy", "load"),
        ("numpy.lib._npyio_impl", "load"),
        ("keras.src.saving", "load_model"),
        ("keras.src.saving.saving_lib", "load_model"),
        ("tf_keras.src.utils.generic_utils", "func_load"),
        ("tensorflow.python.ops.io_ops", "write_file"),
    ] {
        let function = format!(r#"{{"module":"{module}","class_name":"function","config":"{name}"}}"#);
        assert_found(&function, "config.json", "keras-code");
        assert_found(&function.replace('"', "\\\""), "a.json", "keras-code");
        let class = format!(r#"{{"class_name": "{name}", "config": {{}}, "module": "{module}"}}"#);
        assert_found(&class, "config.json", "keras-code");
    }
    assert_clean(
        r#"{"module": "keras.src.models.functional", "class_name": "Functional", "config": {"layers": [
            {"module": "keras.layers", "class_name": "Dense", "config": {"dtype": {"module": "keras",
            "class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": null}}},
            {"module": "builtins", "class_name": "function", "config": "my_loss", "registered_name": "function"},
            {"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": ["a", "/", "open"]}},
            {"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": "words.txt"}}]}}"#,
        "config.json",
    );
}

#[test]
fn white_space_hides_nothing() {
    for space in [" ".repeat(300), "\n\t\r ".repeat(100_000)] {
        assert_found(&format!("{{\"class_name\":{space}\"Lambda\"}}"), "config.json", "keras-code");
        assert_found(&format!("{{\"class_name\"{space}:\"Lambda\"}}"), "config.json", "keras-code");
        assert_found(&format!("{{\"class_name\":\"a\",\"module\":{space}\"os\"}}"), "config.json", "keras-code");
    }
    assert_found(r#"["{\"class_name\":\n \t\"Lambda\"}"]"#, "config.json", "keras-code");
}

#[test]
fn many_others_hide_nothing() {
    let lambda = r#"{"class_name":"Lambda"}"#;
    let same = r#"{"class_name":"Dense"},"#.repeat(100_001);
    assert_found(&format!("[{same}{lambda}]"), "config.json", "keras-code");
    let different: String = (0..20_000).map(|number| format!(r#"{{"class_name":"D{number}"}},"#)).collect();
    assert_found(&format!("[{different}{lambda}]"), "config.json", "keras-code");
    let module = r#"{"class_name":"function","config":"exec","module":"builtins"}"#;
    assert_found(&format!("[{different}{module}]"), "config.json", "limit");
}

#[test]
fn layers_that_read_other_files() {
    for layer in ["StringLookup", "TextVectorization"] {
        for path in ["/etc/hostname", "../../a.txt", "C:/a.txt", "C:\\\\a.txt", "https://example.org/a"] {
            let config = format!(r#"{{"class_name": "{layer}", "config": {{"vocabulary": "{path}"}}}}"#);
            assert_found(&config, "config.json", "keras-code");
        }
    }
    assert_found(r#"{"class_name": "TFSMLayer", "config": {"filepath": "a"}}"#, "config.json", "keras-code");
}

#[test]
fn targets_of_yaml_in_every_form() {
    for text in [
        "a:\n  _target_: os.system\n",
        "'_target_': os.system",
        "\"_target_\": 'os.system'",
        "_target_ : os.system",
        "_target_: >-\n  os.system\n",
        "_target_: |\n  os.system\n",
        "_target_:\n  os.system\n",
        "_target_: # why\n\n  # not\n  os.system\n",
        "? _target_\n: os.system\n",
        "? |-\n  _target_\n: os.system\n",
        "f: &f os.system\n_target_: *f\n",
        "_target_: *nowhere\n",
        "k: &k _target_\n*k : os.system\n",
        "\"_targ\\u0065t_\": os.system",
        "\"_targ\\x65t_\": os.system",
        "\"_tar\\\n  get_\": os.system",
        "_target_: \"os\\u002esystem\"",
        "_target_: !!str os.system",
        "!!str _target_: &x os.system",
        "{a: 1, _target_: os.system}",
        "{ _target_: os.system}",
        "# a comment\r_target_: os.system",
        "_target_: ${f}",
    ] {
        assert_found(text, "a.yaml", "config-target");
    }
    assert_found(&format!("_target_:{}os.system\n", " ".repeat(10_000)), "a.yaml", "config-target");
    assert_found(&format!("_target_{}: os.system\n", " ".repeat(10_000)), "a.yaml", "config-target");
}

#[test]
fn targets_of_yaml_that_are_fine() {
    for text in [
        "a:\n  _target_: torch.nn.Linear\n  b: 1\n",
        "_target_: ???\nb: 1\n",
        "_target_:\nos: linux\n",
        "# _target_: os.system\n",
        "my_target_: os.system\n",
        "keys: [_target_, _partial_]\n",
        "text: it has the key _target_ for classes\n",
        "f: &f torch.nn.Linear\n_target_: *f\n",
        "path: 'C:\\users\\x'\n_target_: nemo.collections.asr.modules.ConformerEncoder # & * \n",
    ] {
        assert_clean(text, "a.yaml");
    }
}

#[test]
fn large_json_is_told_and_not_parsed() {
    let filler = "1,".repeat(5 << 20);
    assert_found(&format!(r#"{{"a": [{filler}1], "_target_": "os.system"}}"#), "config.json", "limit");
    let vocabulary = format!(r#"{{"a": [{filler}1], "b": ["_target_"], "__module__": 7, "auto_map": 8}}"#);
    assert!(found(vocabulary.as_bytes(), "tokenizer.json").is_empty());
}
