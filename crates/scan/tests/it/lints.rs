//! Small files beside weights: what their loaders import, what is no model at all, and texts that look like programs.

use tsumugi_scan::{Finding, Limits, Severity, scan_bytes};

use crate::samples::{call, call_4, field};

fn found(bytes: &[u8], name: &str) -> Vec<(&'static str, Severity)> {
    let report = scan_bytes(bytes, name, &Limits::default());
    report.findings.iter().map(|finding| (finding.rule.id, finding.severity)).collect()
}

fn worst(bytes: &[u8], name: &str) -> Option<Severity> {
    scan_bytes(bytes, name, &Limits::default()).worst()
}

#[test]
fn what_loaders_of_configurations_import() {
    const NOTHING: &[(&str, Severity)] = &[];
    const IS_TOLD: &[(&str, Severity)] = &[("remote-code", Severity::Low)];
    const HARMS: (&str, Severity) = ("config-target", Severity::Critical);
    for (name, text, expected) in [
        (
            "modules.json",
            r#"[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]"#,
            NOTHING,
        ),
        ("modules.json", r#"[{"idx": 0, "name": "0", "path": "", "type": "custom.Transformer"}]"#, IS_TOLD),
        ("modules.json", r#"[{"type": "sentence_transformersx.A"}]"#, IS_TOLD),
        (
            "model_index.json",
            r#"{"_class_name": "A", "_diffusers_version": "0.1", "unet": ["diffusers", "UNet"], "x": [null, null]}"#,
            NOTHING,
        ),
        ("model_index.json", r#"{"_class_name": ["pipeline", "Mine"]}"#, IS_TOLD),
        (
            "adapter_config.json",
            r#"{"auto_mapping": null, "megatron_core": "megatron.core", "megatron_config": null}"#,
            NOTHING,
        ),
        (
            "adapter_config.json",
            r#"{"auto_mapping": {"base_model_class": "A", "parent_library": "transformers.models.a"}}"#,
            NOTHING,
        ),
        (
            "adapter_config.json",
            r#"{"auto_mapping": {"base_model_class": "A", "parent_library": "transformers_modules.a"}}"#,
            IS_TOLD,
        ),
        ("adapter_config.json", r#"{"megatron_core": "mine", "megatron_config": {}}"#, IS_TOLD),
        ("adapter_config.json", r#"{"megatron_core": "mine", "megatron_config": null}"#, NOTHING),
        // A file of another name, and a word of a vocabulary.
        ("config.json", r#"[{"type": "custom.Transformer"}]"#, NOTHING),
        ("vocab.json", r#"{"_class_name": 7, "auto_mapping": 8}"#, NOTHING),
    ] {
        assert_eq!(found(text.as_bytes(), name), expected, "{text}");
    }
    for (name, text) in [
        ("modules.json", r#"[{"type": "os.system"}]"#),
        ("modules.json", r#"[{"type": "sentence_transformers.os.system"}]"#),
        ("model_index.json", r#"{"_class_name": "A", "unet": ["subprocess", "Popen"]}"#),
        ("model_index.json", r#"{"_class_name": ["os", "system"]}"#),
        ("adapter_config.json", r#"{"auto_mapping": {"base_model_class": "system", "parent_library": "os"}}"#),
        ("adapter_config.json", r#"{"auto_mapping": {"parent_library": "pty"}}"#),
        ("adapter_config.json", r#"{"megatron_core": "pty", "megatron_config": {}}"#),
    ] {
        assert!(found(text.as_bytes(), name).contains(&HARMS), "{text}: {:?}", found(text.as_bytes(), name));
    }
}

#[test]
fn data_of_an_onnx_tensor_stays_in_its_folder() {
    let model = |fields: &[(u8, &[u8])]| {
        let entry: Vec<u8> = fields.iter().flat_map(|(number, text)| field(*number, text)).collect();
        [b"\x08\x08".as_slice(), &field(7, &field(5, &field(13, &entry)))].concat()
    };
    for path in ["file:///etc/passwd", "FILE:/etc/passwd", "https://host/a", "/etc/passwd", "..\\a", "a/../../b"] {
        assert_eq!(worst(&model(&[(1, b"location"), (2, path.as_bytes())]), "a.onnx"), Some(Severity::High), "{path}");
    }
    for path in ["weights.bin", "a/b.data", "file.bin"] {
        assert_eq!(worst(&model(&[(1, b"location"), (2, path.as_bytes())]), "a.onnx"), None, "{path}");
    }
    // The last of two counts.
    let twice = model(&[(1, b"other"), (2, b"a"), (1, b"location"), (2, b"/etc/passwd")]);
    assert_eq!(worst(&twice, "a.onnx"), Some(Severity::High));
}

#[test]
fn a_pointer_of_git_lfs_is_told_as_one() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    for name in ["model.safetensors", "pytorch_model.bin", "a.pt", "a.pkl", "a.gguf", "saved_model.pb"] {
        assert_eq!(found(pointer, name), [("lfs-pointer", Severity::Medium)], "{name}");
    }
    for name in ["config.json", "tokenizer.json", "modules.json", "model.safetensors.index.json", "a.yaml"] {
        assert_eq!(found(pointer, name), [("lfs-pointer", Severity::Medium)], "{name}");
    }
    for old in ["https://hawser.github.com/spec/v1", "http://git-media.io/v/2"] {
        let pointer = format!("version {old}\noid sha256:4d7a\nsize 12345\n");
        for name in ["a.safetensors", "a.bin", "config.json"] {
            assert_eq!(found(pointer.as_bytes(), name), [("lfs-pointer", Severity::Medium)], "{old} {name}");
        }
    }
    assert_eq!(found(pointer, "image.png"), [("lfs-pointer", Severity::Low)]);
    let longer = [pointer.as_slice(), &[b'x'; 2000]].concat();
    assert_eq!(found(&longer, "a.safetensors"), [("unknown-format", Severity::Medium)], "a pointer is short");
}

#[test]
fn joblib_in_lz4_is_unpacked() {
    use std::io::Write as _;
    let packed = |bytes: &[u8]| {
        let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
        encoder.write_all(bytes).expect("memory takes it");
        encoder.finish().expect("memory takes it")
    };
    for name in ["a.joblib", "a.pkl", "a.pkl.lz4"] {
        assert_eq!(worst(&packed(&call_4("os", "system")), name), Some(Severity::Critical), "{name}");
        assert_eq!(found(&packed(b"\x80\x04}."), name), [], "{name}");
    }
    // Readers take all frames, and skip those that are marked so.
    let skipped = b"\x5A\x2A\x4D\x18\x03\0\0\0abc".as_slice();
    let (empty, bad) = (packed(b""), packed(&call_4("os", "system")));
    for frames in [
        [empty.as_slice(), &bad].concat(),
        [empty.as_slice(), skipped, skipped, &empty, &bad].concat(),
        [skipped, &bad].concat(),
        [packed(&call_4("os", "system")[..9]), packed(&call_4("os", "system")[9..])].concat(),
    ] {
        assert_eq!(worst(&frames, "a.joblib"), Some(Severity::Critical), "{frames:?}");
    }
    let junk = [packed(b"\x80\x04}.").as_slice(), b"junk junk"].concat();
    assert_eq!(found(&junk, "a.joblib"), [("archive-unreadable", Severity::Medium)]);
    let mut cut = packed(&[&call_4("os", "system")[..], &[7; 1000]].concat());
    cut.truncate(cut.len() - 5);
    assert!(found(&cut, "a.joblib").contains(&("archive-unreadable", Severity::Medium)));
}

#[test]
fn yaml_in_utf_16_is_read() {
    let utf_16 = |text: &str, big: bool| -> Vec<u8> {
        let unit = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
        "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(unit).collect()
    };
    for big in [false, true] {
        let bad = utf_16("a: !!python/object/apply:os.system ['x']\n", big);
        assert_eq!(found(&bad, "a.yaml"), [("unsafe-yaml", Severity::High)], "{big}");
        assert_eq!(
            found(&utf_16("a:\n  _target_: os.system\n", big), "a.yml"),
            [("config-target", Severity::Critical)]
        );
        assert_eq!(found(&utf_16("a: ü\n", big), "a.yaml"), []);
    }
    // Other bytes may begin so.
    assert_eq!(found(b"\xFF\xFE\x00\x01\x02\x00\x00\x00", "a.dat"), []);
    let broken = [utf_16(&"word ".repeat(300), false), vec![0, 0xDC, 0, 0xDC]].concat();
    assert_eq!(found(&broken, "a.yaml"), [("broken-file", Severity::Medium)]);
}

#[test]
fn a_mark_of_utf_8_changes_nothing() {
    for (name, text) in [
        ("modules.json", r#"[{"type": "custom.Transformer"}]"#),
        ("model_index.json", r#"{"_class_name": ["mine", "Pipeline"]}"#),
        ("config.json", r#"{"auto_map": {"AutoModel": "a.B"}}"#),
        ("adapter_config.json", r#"{"auto_mapping": {"base_model_class": "system", "parent_library": "os"}}"#),
        ("tokenizer_config.json", r#"{"chat_template": "{{ ''.__class__.__mro__ }}"}"#),
        ("a.yaml", "!!python/object/apply:os.system ['x']"),
        ("model.bin", "import os\nos.getcwd()\n"),
        ("model.bin", "#!/bin/sh\ntrue\n"),
    ] {
        let plain = found(text.as_bytes(), name);
        assert!(!plain.is_empty(), "{name}");
        assert_eq!(found(format!("\u{feff}{text}").as_bytes(), name), plain, "{name}");
    }
}

#[test]
fn a_program_is_no_weights() {
    for name in ["model.bin", "model.pt", "model.safetensors", "model.onnx", "model.weights"] {
        for text in [
            "#!/bin/sh\ntrue\n",
            "# x\nimport os\nos.getcwd()\n",
            "\nfrom os import path\npath.exists('x')\n",
            "import a as b, c\rb.f()\r",
            "import os; os.system(\"id\")",
            "import os\ndef f(): pass\n",
            "exec(\"import os\")",
            "# x\nx = eval( b'1' )\n",
            "exec(\n'x'\n)",
            "[exec(compile(x, '', 'exec')) for x in y]",
            "__import__('os').system('true')",
            "eval(input)",
        ] {
            assert!(found(text.as_bytes(), name).contains(&("executable", Severity::High)), "{name} {text}");
        }
    }
    for (name, text) in [
        ("word2vec.bin", "2 3\nimport 0.1 0.2 0.3\nfrom 0.4 0.5 0.6\n"),
        ("spiece.model", "a\t-1\nimport\t-2\nimport os and more\nfrom\n"),
        ("goods.bin", "import cars\nexport wine (red)\n"),
        ("words.model", "exec\t-1\neval(\t-2\nexec(\nfoo\n.eval(x)\nretrieval(x)\n\"eval(\"\n# exec(x)\n"),
        ("a.py", "import os\n"),
        ("run.sh", "#!/bin/sh\n"),
    ] {
        assert_eq!(found(text.as_bytes(), name), [], "{name}");
    }
}

/// `cos` is `GLOBAL` and `os` to a machine. What is a function that harms is told all the same, and so is all that is called.
#[test]
fn words_in_lines_are_no_program() {
    for text in ["cos\nsin\n.", "cos\nsin\ntan\n", "cnt\ntotal\nmean\n", "cray\nzuse\n"] {
        for name in ["a.txt", "functions", "a.bin"] {
            assert!(
                worst(text.as_bytes(), name) < Some(Severity::Medium),
                "{name} {text}: {:?}",
                found(text.as_bytes(), name)
            );
        }
        assert!(worst(text.as_bytes(), "a.pkl") >= Some(Severity::Medium), "{text}: it is named so");
    }
    for text in
        ["cos\nsystem\n.", "cos\nsystem\nand more", "cposix\nexecv\n.", "c__builtin__\neval\n.", "cos\nsin\n(tR."]
    {
        assert_eq!(worst(text.as_bytes(), "a.txt"), Some(Severity::Critical), "{text}");
    }
    for text in ["cimaplib\nIMAP4_stream\n.", "cos\nlistdir\n.", "cos\nsin.system\n.", "cos.path\nsin\n."] {
        assert!(worst(text.as_bytes(), "a.txt") >= Some(Severity::High), "{text}: no word by chance");
    }
    // A call anywhere, and a mark of a pickle, leave no doubt.
    assert_eq!(worst(&[b"cos\nsin\n.".as_slice(), &call("os", "getcwd")].concat(), "a.txt"), Some(Severity::Critical));
    assert_eq!(worst(b"\x80\x02cos\nsin\n.", "a.txt"), Some(Severity::Critical));
}

/// What stands behind so many opcodes that the machine stops before it is not known, whatever the file is named.
#[test]
fn padding_hides_no_pickle() {
    let limits = Limits { opcodes: 10_000, ..Limits::default() };
    let padding = b"N0".repeat(10_000);
    for (begin, rule, least) in [
        ("cimaplib\nIMAP4_stream\n", "pickle-dangerous-import", Severity::High),
        ("cos\nsin\n", "pickle-dangerous-import", Severity::High),
        ("cmath\nsin\n", "limit", Severity::Medium),
    ] {
        let bytes = [begin.as_bytes(), &padding, b"(S'id'\ntR."].concat();
        for name in ["pytorch_model.bin", "a.txt", "a.pkl"] {
            let report = scan_bytes(&bytes, name, &limits);
            let is_told = |told: &Finding| told.rule.id == rule && told.severity >= least;
            assert!(report.findings.iter().any(is_told), "{name} {begin}: {:?}", report.findings);
        }
    }
}

#[test]
fn old_arrays_and_graphs_are_known() {
    let reduced = |module: &str, name: &str| format!("c{module}\n{name}\n(tR.").into_bytes();
    for (module, name) in [
        ("numpy.core.multiarray", "_reconstruct"),
        ("multiarray", "_reconstruct"),
        ("numpy.core.defchararray", "chararray"),
        ("numpy.core.defmatrix", "matrix"),
        ("numpy.matrixlib.defmatrix", "matrix"),
        ("networkx.classes.graph", "Graph"),
        ("networkx.classes.multidigraph", "MultiDiGraph"),
        ("networkx.classes.coreviews", "AtlasView"),
    ] {
        assert_eq!(worst(&reduced(module, name), "a.pkl"), None, "{module}.{name}");
    }
    for (module, name) in [("networkx", "read_gpickle"), ("networkx.classes.graph", "nx.read"), ("multiarray", "other")]
    {
        assert!(worst(&reduced(module, name), "a.pkl") >= Some(Severity::Medium), "{module}.{name}");
    }
}

#[test]
fn configurations_that_lead_out_of_the_folder() {
    let modules = |path: &str| format!(r#"[{{"path": "{path}", "type": "sentence_transformers.models.Pooling"}}]"#);
    let index = |file: &str| format!(r#"{{"weight_map": {{"a": "model-00001.safetensors", "b": "{file}"}}}}"#);
    for path in ["../../x", "/etc/x", "C:/x", "a/../../x"] {
        assert_eq!(found(modules(path).as_bytes(), "modules.json"), [("config-path", Severity::High)], "{path}");
        let name = "model.safetensors.index.json";
        assert_eq!(found(index(path).as_bytes(), name), [("config-path", Severity::High)], "{path}");
    }
    for path in ["", "1_Pooling", "a/../b"] {
        assert_eq!(found(modules(path).as_bytes(), "modules.json"), [], "{path}");
        assert_eq!(found(index(path).as_bytes(), "pytorch_model.bin.index.json"), [], "{path}");
    }
}

/// Zope's page templates, prose in Portuguese and Pascal have the names of pickles, too.
#[test]
fn a_text_named_like_a_pickle_is_a_text() {
    let prose = "=====\n=  O tutor  =\n=====\n\nVamos l\u{e1}.\n";
    for text in
        [prose, "<html tal:content=\"a\">\n</html>\n", "program Hello;\nbegin\nend.\n", "Notes. See (2) below\n"]
    {
        for name in ["tutor.pt", "a.p", "a.pkl"] {
            assert_eq!(found(text.as_bytes(), name), [("format-mismatch", Severity::Low)], "{name} {text}");
        }
    }
    assert_eq!(found(b"Li\xE7\xE3o um\n", "tutor.pt"), [("format-mismatch", Severity::Low)], "Latin-1");
    // What acts is no mere text, wherever it begins; nor is a pickle that was cut in what is no text.
    assert_eq!(worst(b"=\ncos\nsystem\n(S'a'\ntR.", "a.pt"), Some(Severity::Critical));
    assert_eq!(worst(b"cmy\nf\n(S'a'\ntRx", "a.pkl"), Some(Severity::Medium));
    assert_eq!(worst(b"\x80\x02]q\x00(K\x01", "a.pkl"), Some(Severity::Medium));
    assert_eq!(worst(b"Y29zCnN5c3RlbQooUydhJwp0Ui4=", "a.pkl"), Some(Severity::High), "a pickle in base64");
}

#[test]
fn an_empty_file_that_is_named_like_a_model_is_told() {
    for name in ["model.pkl", "a/model.pt", "weights.joblib", "model.gguf"] {
        assert_eq!(found(b"", name), [("format-mismatch", Severity::Low)], "{name}");
    }
    for name in ["__init__.py", "data.bin", "notes.txt", ".gitkeep"] {
        assert_eq!(found(b"", name), [], "{name}");
    }
}
