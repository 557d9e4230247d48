//! Each mechanism by which a file does harm or hides it, and the rule that finds it.

use tsumugi_scan::{Limits, Reach, Severity, scan_bytes};

use crate::samples::{Zip, call, call_4, field, gzip, npy, tar, zlib};

/// The rules that find something in `bytes`, the worst first.
fn rules(bytes: &[u8], name: &str) -> Vec<&'static str> {
    scan_bytes(bytes, name, &Limits::default()).findings.iter().map(|finding| finding.rule.id).collect()
}

fn assert_found(bytes: &[u8], name: &str, rule: &str) {
    let found = rules(bytes, name);
    assert!(found.contains(&rule), "{name}: {rule} is not among {found:?}");
}

#[test]
fn names_that_other_scanners_miss() {
    for (module, name) in [
        ("cPickle", "loads"),
        ("thread", "start_new_thread"),
        ("urllib2", "urlopen"),
        ("commands", "getoutput"),
        ("numpy", "load"),
        ("pandas", "read_pickle"),
        ("joblib", "load"),
        ("torch", "load"),
        ("importlib", "import_module"),
        ("marshal", "loads"),
        ("pkgutil", "resolve_name"),
        ("multiprocessing.util", "spawnv_passfds"),
        ("mlflow.projects.backend.local", "_run_entry_point"),
        ("modelscan", "skip"),
    ] {
        assert_found(&call(module, name), "a.pkl", "pickle-dangerous-import");
        assert_found(&call_4(module, name), "a.pkl", "pickle-dangerous-import");
    }
    assert_found(&call_4("pathlib", "os.system"), "a.pkl", "pickle-dangerous-import");
}

#[test]
fn what_is_called_and_on_no_list() {
    assert_found(&call("mypackage", "make"), "a.pkl", "pickle-unknown-call");
    assert_eq!(rules(b"cmypackage\nThing\n.", "a.pkl"), ["pickle-unknown-import"]);
    assert_found(b"cfunctools\npartial\n(cmypackage\nmake\ntR.", "a.pkl", "pickle-unknown-call");
    assert_eq!(rules(b"cfunctools\npartial\n(cbuiltins\nlen\ntR.", "a.pkl"), [""; 0]);
    assert_found(b"\x80\x02\x82\x01(S'x'\ntR.", "a.pkl", "pickle-opaque-import");
    assert_found(b"cnumpy\ndtype\n(S'f8'\ntR(S'x'\ntR.", "a.pkl", "pickle-computed-call");
    assert_found(b"cbuiltins\nset\n}S'a'\nI1\nsb.", "a.pkl", "pickle-object-write");
    assert_found(b"Pmine\n.", "a.pkl", "pickle-persistent");
}

#[test]
fn looking_up_a_method_of_an_allowed_class_is_like_naming_it() {
    let lookup = "cbuiltins\ngetattr\np0\n(czoneinfo\nZoneInfo\nS'_unpickle'\ntR(S'UTC'\nI1\ntR";
    assert_eq!(rules(format!("{lookup}.").as_bytes(), "a.pkl"), [""; 0]);
    for other_use in [
        // Another attribute; the function itself in a call, in what a call is given, and in what is written.
        "cbuiltins\ngetattr\n(cnumpy\nndarray\nS'tofile'\ntR.".to_owned(),
        format!("{lookup}g0\n(cnumpy\nndarray\nS'tofile'\ntR."),
        format!("{lookup}cfunctools\npartial\n(g0\ntR."),
        format!("{lookup}ccollections\nCounter\n((lg0\natR."),
        format!("{lookup}ccollections\nCounter\n)R}}S'a'\ng0\nsb."),
    ] {
        assert_found(other_use.as_bytes(), "a.pkl", "pickle-dangerous-import");
    }
}

#[test]
fn an_allowed_package_is_not_all_that_is_in_it() {
    let called = |module: &str, name: &str| format!("c{module}\n{name}\n(S'a'\ntR.");
    for (module, name) in [
        ("pandas.core.frame", "DataFrame.query"),
        ("pandas.core.frame", "DataFrame.to_pickle"),
        ("gensim.models.word2vec", "Word2Vec.load"),
        ("transformers.models.auto.modeling_auto", "AutoModel.from_pretrained"),
        ("ultralytics.nn.tasks", "DetectionModel"),
        ("statsmodels.regression.linear_model", "OLS"),
        ("xgboost.core", "Booster"),
        ("torch.ao.quantization.fx.convert", "GraphModule"),
        ("argparse", "FileType"),
    ] {
        assert_found(called(module, name).as_bytes(), "a.pkl", "pickle-unknown-call");
        let mapped = format!("cbuiltins\nmap\n(c{module}\n{name}\n(S'a'\nltR.");
        assert_found(mapped.as_bytes(), "a.pkl", "pickle-unknown-call");
    }
    // What is allowed by its own name is, wherever it is.
    let weights = b"cfunctools\npartial\n(cgensim.models.tfidfmodel\nsmartirs_wglobal\ntR.";
    assert_eq!(rules(weights, "a.pkl"), [""; 0]);
    // As libraries write them: made without their constructors.
    for (module, name) in [("ultralytics.nn.tasks", "DetectionModel"), ("xgboost.core", "Booster")] {
        let named = format!("c{module}\n{name}\n)");
        let made = [b"\x80\x02", named.as_bytes(), b"\x81}S'a'\nI1\nsb."].concat();
        assert_eq!(rules(&made, "a.pkl"), [""; 0], "{module}");
        let copied = format!("ccopy_reg\n_reconstructor\n(c{module}\n{name}\nc__builtin__\nobject\nNtR}}S'a'\nI1\nsb.");
        assert_eq!(rules(copied.as_bytes(), "a.pkl"), [""; 0], "{module}");
    }
}

#[test]
fn many_lookups_hide_no_other_use() {
    let lookup = "(czoneinfo\nZoneInfo\nS'_unpickle'\ntR(S'UTC'\nI1\ntR0";
    for count in [1, 9_999, 10_000, 10_001] {
        let harmless = format!("cbuiltins\ngetattr\np0\n0{}", format!("g0\n{lookup}").repeat(count));
        let many = count <= 10_000;
        let found = rules(format!("{harmless}N.").as_bytes(), "a.pkl");
        assert_eq!(found.contains(&"pickle-dangerous-import"), !many, "{count}");
        let harm = format!("{harmless}cfunctools\npartial\n(g0\nctorch.nn.modules.linear\nLinear\nS'__init__'\ntR.");
        assert_found(harm.as_bytes(), "a.pkl", "pickle-dangerous-import");
    }
    // What was looked up is no container of the pickle's own.
    let written = "cbuiltins\ngetattr\n(czoneinfo\nZoneInfo\nS'_unpickle'\ntRS'a'\nI1\ns.";
    assert_found(written.as_bytes(), "a.pkl", "pickle-object-write");
}

#[test]
fn classes_saved_with_their_source_are_judged_as_classes() {
    let bytes = |class: &str| {
        let id = format!("(S'module'\nc{class}\nS'a.py'\nS'source'\nt");
        [b"\x80\x02".as_slice(), id.as_bytes(), b"Q)\x81."].concat()
    };
    assert_eq!(rules(&bytes("torch.nn.modules.linear\nLinear"), "a.pt"), [""; 0]);
    assert_found(&bytes("mypackage\nThing"), "a.pt", "pickle-unknown-call");
    assert_found(&bytes("subprocess\nPopen"), "a.pt", "pickle-dangerous-import");
}

#[test]
fn programs_behind_others_and_before_errors() {
    let evil = call("os", "system");
    let second = [b"N.".as_slice(), b"junk junk junk", &evil].concat();
    assert_found(&second, "a.pkl", "pickle-dangerous-import");
    let popped = b"(cos\nsystem\nS'x'\no0N.";
    assert_found(popped, "a.pkl", "pickle-dangerous-import");
    let broken = [&evil[..evil.len() - 1], b"\xFF"].concat();
    assert_eq!(rules(&broken, "a.pkl")[0], "pickle-dangerous-import");
    // A frame that ends inside of a text: readers of files go on behind the frame.
    let framed = [b"\x80\x04\x95\x04\0\0\0\0\0\0\0X\x20\0\0\0".as_slice(), &[b'a'; 31], b"\n.", &evil].concat();
    assert_found(&framed, "a.pkl", "pickle-frame");
}

#[test]
fn pickles_under_any_name_and_wrapping() {
    let evil = call("os", "system");
    for name in ["a.txt", "a.safetensors", "a.bin", "weights", "a.pt", "a.onnx"] {
        assert_found(&evil, name, "pickle-dangerous-import");
        assert_found(&call_4("os", "system"), name, "pickle-dangerous-import");
        assert_found(&gzip(&evil), name, "pickle-dangerous-import");
        assert_found(&zlib(&evil), name, "pickle-dangerous-import");
    }
    assert_found(&npy("|O", &evil), "a.npy", "pickle-dangerous-import");
    assert_found(&Zip::new("m/data.pkl", &gzip(&evil)).bytes(), "a.pt", "pickle-dangerous-import");
    assert_found(&tar("a/model.pkl", b'0', "", &evil), "a.nemo", "pickle-dangerous-import");
    let hidden = [b"\x80\x03C".as_slice(), &[evil.len() as u8], &evil, b"."].concat();
    assert_eq!(rules(&hidden, "a.pkl"), ["nested-pickle"]);
}

#[test]
fn joblib_arrays_do_not_hide_what_follows() {
    let array = b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)R}(S'dtype'\ncnumpy\ndtype\n(S'f8'\ntRS'shape'\n(I2\ntub\
        ................";
    let file = [b"(l".as_slice(), array, b"a", &call("os", "system")].concat();
    assert_found(&file, "a.dat", "pickle-dangerous-import");
    let harmless = [b"(l".as_slice(), array, b"a."].concat();
    assert_eq!(rules(&harmless, "a.joblib"), [""; 0]);
    assert_found(&zlib(&file), "a.pkl", "pickle-dangerous-import");
    // Protocols 0 and 1 make the wrapper in another way.
    let made =
        b"ccopy_reg\n_reconstructor\n(cjoblib.numpy_pickle\nNumpyArrayWrapper\nc__builtin__\nobject\nNtR(dS'dtype'\n\
        cnumpy\ndtype\n(S'f8'\ntRsS'shape'\n(I2\ntsb................";
    assert_eq!(rules(&[b"(l".as_slice(), made, b"a."].concat(), "a.joblib"), [""; 0]);
    let behind = [b"(l".as_slice(), made, b"a", &call("os", "system")].concat();
    assert_found(&behind, "a.joblib", "pickle-dangerous-import");
}

#[test]
fn tricks_of_archives_are_told_and_looked_through() {
    let evil = call("os", "system");
    let honest = Zip::new("data.pkl", &evil);
    let tricks = [
        Zip { local_name: "data.txt", ..Zip::new("data.pkl", &evil) },
        Zip { flags: 1, ..Zip::new("data.pkl", &evil) },
        Zip { flags: 0x40, ..Zip::new("data.pkl", &evil) },
        Zip { crc_off: 1, ..Zip::new("data.pkl", &evil) },
    ];
    assert_eq!(rules(&honest.bytes(), "a.zip"), ["pickle-dangerous-import"]);
    for trick in tricks {
        assert_found(&trick.bytes(), "a.zip", "pickle-dangerous-import");
        assert_found(&trick.bytes(), "a.zip", "archive-fault");
    }
    assert_found(&[b"#!/bin/sh\n", &*honest.bytes()].concat(), "a.zip", "pickle-dangerous-import");
    assert_found(&Zip::new("../a.txt", b"text").bytes(), "a.zip", "archive-path");
    assert_found(&tar("/etc/a", b'0', "", b"text"), "a.tar", "archive-path");
    assert_found(&tar("a/b", b'2', "../../c", b""), "a.tar", "archive-path");
    let harmless = Zip::new("a.txt", b"text").bytes();
    assert_eq!(
        rules(&Zip::new("a.zip", &harmless).bytes(), "a.zip"),
        [""; 0],
        "an archive in an archive is none behind it"
    );
    assert_found(&[&*harmless, &*harmless].concat(), "a.zip", "archive-fault");
    let deep = (0..12).fold(evil, |inner, _| Zip::new("a.zip", &inner).bytes());
    assert!(scan_bytes(&deep, "a.zip", &Limits::default()).unread.is_some());
}

#[test]
fn formats_beside_pickles() {
    let node = |operator: &[u8], domain: &[u8]| field(1, &[field(4, operator), field(7, domain)].concat());
    let external = field(13, &[field(1, b"location"), field(2, b"../../etc/passwd")].concat());
    let onnx = |graph: &[u8]| [b"\x08\x08".as_slice(), &field(7, graph)].concat();
    assert_found(&onnx(&field(5, &external)), "a.onnx", "onnx-external-data");
    assert_found(&onnx(&node(b"PyOp", b"mine")), "a", "onnx-custom-operator");
    assert_eq!(rules(&onnx(&node(b"Add", b"")), "a.onnx"), [""; 0]);
    let graph = field(1, &[field(1, b"n"), field(2, b"PyFunc")].concat());
    let saved_model = [b"\x08\x01".as_slice(), &field(2, &field(2, &graph))].concat();
    assert_found(&saved_model, "saved_model.pb", "tensorflow-op");
    let keras =
        br#"{"class_name": "Functional", "config": {"layers": [{"module": "keras.layers", "class_name": "Lambda"}]}}"#;
    assert_found(keras, "config.json", "keras-code");
    let module = br#"{"class_name": "run", "config": {}, "module": "os"}"#;
    assert_found(&Zip::new("config.json", module).bytes(), "a.keras", "keras-code");
    assert_found(&[b"\x89HDF\r\n\x1A\n", &keras[..]].concat(), "a.h5", "keras-code");
    assert_found(br#"{"a": {"_target_": "os.system"}}"#, "config.json", "config-target");
    assert_found(b"a:\n  _target_: subprocess.run\n", "a.yaml", "config-target");
    assert_found(
        br#"{"__loader__": "ObjectNode", "__module__": "os", "__class__": "system"}"#,
        "schema.json",
        "config-target",
    );
    assert_found(br#"{"auto_map": {"AutoModel": "m.M"}}"#, "config.json", "remote-code");
    assert_found(b"a: !!python/object/apply:os.system [x]\n", "a.yaml", "unsafe-yaml");
    assert_found(b"\x7FELF\x02\x01\x01", "model.bin", "executable");
    assert_found(b"\x89PNG\r\n", "model.pt", "unknown-format");
    assert_found(b"\x08\0\0\0\0\0\0\0{\"a\":1} more", "a.safetensors", "broken-file");
    assert_found(b"GGUF\x03\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", "a.gguf", "broken-file");
}

#[test]
fn limits_are_told() {
    let limits = Limits { opcodes: 3, member_bytes: 100, ..Limits::default() };
    let report = scan_bytes(b"\x80\x02NNNNN.", "a.pkl", &limits);
    assert_eq!((report.unread.is_some(), report.worst()), (true, Some(Severity::Medium)));
    assert!(scan_bytes(&gzip(&[0; 1000]), "a.gz", &limits).unread.is_some());
}

#[test]
fn limits_within_pickles_are_told() {
    let bytes =
        |content: &[u8]| [b"\x80\x04B".as_slice(), &(content.len() as u32).to_le_bytes(), content, b"."].concat();
    let unread = |file: &[u8], reach| scan_bytes(file, "weights", &Limits { reach, ..Limits::default() }).unread;
    let evil = call("os", "system");
    let deep = (0..6).fold(evil.clone(), |inner, _| bytes(&inner));
    assert!(unread(&deep, Reach::Headers).is_some_and(|why| why.contains("nested deeper")));
    let long = [b"\x80\x02".as_slice(), &b"N0".repeat(100_000), &evil].concat();
    assert!(unread(&bytes(&long), Reach::Headers).is_some_and(|why| why.contains("longer than")));
    // Among other bytes: more opcodes than are followed, and more bytes.
    let among = |pickle: &[u8]| unread(&[&[0xFF; 64], pickle].concat(), Reach::Everything);
    assert!(among(&long).is_some_and(|why| why.contains("longer than")));
    let large = [b"\x80\x04cmy\nf\n".as_slice(), &bytes(&vec![7; 2 << 20])[2..]].concat();
    assert!(among(&large).is_some_and(|why| why.contains("longer than")));
    assert_eq!(among(b"\x80\x04cmy\nf\n."), None);
    assert_eq!(among(&bytes(&vec![7; 2 << 20])), None, "bytes that may be weights");
}

#[test]
fn many_harmless_names_hide_no_harmful_one() {
    let names: String = (0..30_000).map(|number| format!("cmy.module\nName{number}\n0")).collect();
    for (harm, rule) in
        [(call("os", "system"), "pickle-dangerous-import"), (call("my.own", "f"), "pickle-unknown-call")]
    {
        let bytes = [names.as_bytes(), &harm].concat();
        let report = scan_bytes(&bytes, "a.pkl", &Limits::default());
        assert_eq!(report.findings[0].rule.id, rule);
    }
}
