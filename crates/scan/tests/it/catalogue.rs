//! Published cases, id by id: a sample of each mechanism, made here with a payload that would do nothing, and the rule
//! that finds it. The samples of the advisories themselves are in the published sets (`recall`).

use tsumugi_scan::{Limits, Severity, scan_bytes};

use crate::samples::{Zip, call, call_4, field, gguf_tensor, gzip, npy, tar, zlib};

/// Id of an advisory or an issue, rule, name of the file, its bytes.
type Case = (&'static str, &'static str, &'static str, Vec<u8>);

/// Advisories about names that a list did not have: id, module, name.
#[rustfmt::skip] // a table
const NAMES: &[(&str, &str, &str)] = &[
    ("CVE-2025-1716", "pip", "main"), ("CVE-2025-1716", "pip._internal.cli.main", "main"),
    ("CVE-2025-10157", "asyncio.unix_events", "_UnixSubprocessTransport"),
    ("GHSA-955r-x9j8-7rhh", "operator", "methodcaller"), ("GHSA-955r-x9j8-7rhh", "_operator", "methodcaller"),
    ("GHSA-46h3-79wf-xr6c", "operator", "attrgetter"),
    ("GHSA-m273-6v24-x4m4", "distutils.file_util", "write_file"),
    ("GHSA-r8g5-cgf2-4m4m", "numpy.f2py.crackfortran", "getlincoef"),
    ("GHSA-84r2-jw7c-4r5q", "pydoc", "locate"),
    ("GHSA-4675-36f9-wf6r", "ctypes", "CDLL"), ("GHSA-4675-36f9-wf6r", "ctypes", "WinDLL"),
    ("GHSA-vqmv-47xg-9wpr", "pty", "spawn"),
    ("GHSA-f7qq-56ww-84cr", "asyncio", "run"),
    ("GHSA-vvpj-8cmc-gx39", "pkgutil", "resolve_name"),
    ("GHSA-g38g-8gr9-h9xp", "uuid", "_get_command_stdout"), ("GHSA-g38g-8gr9-h9xp", "imaplib", "IMAP4_stream"),
    ("CVE-2026-56315", "_osx_support", "_read_output"), ("CVE-2026-56315", "_aix_support", "_read_cmd_output"),
    ("CVE-2026-56315", "_pyrepl.pager", "pipe_pager"), ("CVE-2026-56315", "test.support.script_helper", "assert_python_ok"),
    ("GHSA-7wx9-6375-f5wh", "profile", "run"), ("GHSA-7wx9-6375-f5wh", "profile", "Profile.run"),
    ("picklescan#66", "importlib", "import_module"), ("picklescan#66", "importlib.util", "spec_from_file_location"),
    ("fickling r7v6", "pty", "spawn"),
    ("fickling 565g", "marshal", "loads"), ("fickling 565g", "types", "FunctionType"),
    ("fickling wfq2", "runpy", "run_path"), ("fickling wfq2", "code", "InteractiveInterpreter"),
    ("fickling q5qq", "runpy", "run_module"), ("fickling q5qq", "multiprocessing.util", "spawnv_passfds"),
    ("fickling p523", "cProfile", "run"),
    ("fickling 5hvc", "pydoc", "pipepager"), ("fickling 5hvc", "ctypes", "PyDLL"),
    ("fickling h4rm", "builtins", "exec"), ("fickling h4rm", "__builtin__", "execfile"), ("fickling h4rm", "builtins", "breakpoint"),
    ("fickling 5hwf", "uuid", "_popen"), ("fickling 5hwf", "_osx_support", "_find_build_tool"),
    ("fickling 6ggj", "_interpreters", "run_string"), ("fickling 6ggj", "_xxsubinterpreters", "run_string"), ("fickling 6ggj", "_posixsubprocess", "fork_exec"),
    ("fickling fphw", "_pyio", "open"), ("fickling fphw", "_pickle", "loads"),
    ("fickling wccx", "pickle", "_Unpickler"), ("fickling wccx", "_pickle", "Unpickler"),
    ("fickling mhc9", "smtplib", "SMTP"), ("fickling mhc9", "sqlite3", "connect"),
    ("fickling m6fh", "shelve", "open"), ("fickling m6fh", "dill", "loads"),
    ("fickling pc6j", "signal", "signal"), ("fickling pc6j", "threading", "Thread"),
    ("fickling r48f", "linecache", "getlines"), ("fickling r48f", "zipimport", "zipimporter"),
    ("fickling 5cxw", "compileall", "compile_file"), ("fickling 5cxw", "tarfile", "open"),
    ("modelscan#263", "functools", "partial.__reduce__"),
    ("modelscan#267", "pickle", "loads"), ("modelscan#267", "_pickle", "load"),
    ("modelscan#311", "numpy.testing._private.utils", "runstring"), ("modelscan#313", "torch.utils.bottleneck.__main__", "run_cprofile"),
    ("modelscan#331", "importlib", "import_module"), ("modelscan#331", "builtins", "getattr"),
    ("modelscan#338", "numpy", "load"), ("modelscan#338", "joblib", "load"), ("modelscan#338", "pandas", "read_pickle"), ("modelscan#338", "torch", "load"),
    ("CVE-2022-45907", "torch.jit.annotations", "parse_type_line"),
    ("CVE-2024-5480", "torch.distributed.rpc.internal", "_run_function"),
    ("CVE-2024-48063", "torch.distributed.nn.api.remote_module", "RemoteModule"),
    ("research: trampolines", "mlflow.projects.backend.local", "_run_entry_point"), ("research: trampolines", "torch.hub", "load"),
    ("research: trampolines", "tensorflow.keras.models", "load_model"), ("research: deactivation", "picklescan.scanner", "scan_bytes"),
];

fn evil() -> Vec<u8> {
    call("os", "system")
}

/// How a program hides in a pickle.
fn pickles() -> Vec<Case> {
    let memo_of_two = b"S'os'\np0\n0S'system'\np1\n0Vharmless\np2\n0g0\ng1\n\x93(S'x'\ntR.".to_vec();
    // `PUT 9` makes the memo one longer: the next MEMOIZE writes to 1, which BINGET 1 reads.
    let memo_of_key = b"\x80\x04\x8c\x02osq\x090\x8c\x06system\x940h\x09h\x01\x93\x8c\x01x\x85R.".to_vec();
    let popped = b"(cos\nsystem\nS'x'\no0N.".to_vec();
    let in_frame = [b"\x80\x04\x95\x04\0\0\0\0\0\0\0X\x20\0\0\0".as_slice(), &[b'a'; 31], b"\n.", &evil()].concat();
    let tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(tRI0\nI1\ns.".to_vec();
    let builtins = b"cnumpy\nsize\n}S'__builtins__'\n}sb.".to_vec();
    let joined = b"cbuiltins\ngetattr\n(cimportlib\nimport_module\n(S'os'\ntRS'system'\ntR(S'x'\ntR.".to_vec();
    let objects = b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)R}(S'dtype'\ncnumpy\ndtype\n(S'O8'\ntRS'shape'\n(I2\ntub";
    let behind_array =
        b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)R}(S'dtype'\ncnumpy\ndtype\n(S'f8'\ntRS'shape'\n(I2\ntub\
        ................";
    let after_array = [b"(l".as_slice(), behind_array, b"a", &evil()].concat();
    let exception = [&evil()[..evil().len() - 1], b"I1\nI2\nR."].concat();
    let dangerous = "pickle-dangerous-import";
    vec![
        ("picklescan#14", dangerous, "a.pkl", memo_of_two),
        ("picklescan#22", dangerous, "a.pkl", memo_of_key),
        ("GHSA-9gvj-pp9x-gcfr", dangerous, "a.pkl", [&evil()[..evil().len() - 1], b"\xFF"].concat()),
        ("GHSA-9gvj-pp9x-gcfr", "pickle-opaque-import", "a.pkl", b"\x80\x04K\x01K\x02\x93\x8c\x01x\x85R.".to_vec()),
        ("GHSA-mxhj-88fx-4pcv", dangerous, "a.pkl", popped),
        ("GHSA-5j3x-jp52-966f", dangerous, "a.pkl", call_4("pathlib", "os.system")),
        ("fickling cffv", dangerous, "a.pkl", call_4("sklearn.base", "os.system")),
        ("fickling cffv", "pickle-unknown-call", "a.pkl", call("numpyx.core", "dtype")),
        ("cpython#154848", "pickle-frame", "a.pkl", in_frame.clone()),
        ("modelscan#330", "pickle-object-write", "a.pkl", builtins),
        ("modelscan#331", dangerous, "a.pkl", joined.clone()),
        ("modelscan#331", "pickle-computed-call", "a.pkl", joined),
        ("CVE-2026-24747", "pickle-object-write", "a.pt", tensor),
        ("CVE-2025-32434", dangerous, "a.pt", tar("pickle", b'0', "", &evil())),
        ("CVE-2025-32434", dangerous, "a.pt", Zip::new("a/data.pkl", &evil()).bytes()),
        ("CVE-2024-34997", dangerous, "a.joblib", [objects.as_slice(), &evil(), b"."].concat()),
        ("CVE-2020-13092", dangerous, "a.joblib", evil()),
        ("ours: behind an array", dangerous, "a.pkl", after_array.clone()),
        ("ours: behind an array", dangerous, "weights", after_array.clone()),
        ("ours: compressed joblib", dangerous, "a.pkl", zlib(&after_array)),
        ("ours: compressed joblib", dangerous, "a.joblib", gzip(&after_array)),
        ("ours: frames", dangerous, "a.pkl", in_frame),
        ("ours: second stream", dangerous, "a.pkl", [b"N.".as_slice(), b"junk junk", &evil()].concat()),
        ("ours: extension", "pickle-opaque-import", "a.pkl", b"\x80\x02\x82\x01(S'x'\ntR.".to_vec()),
        ("ours: extension", "pickle-opaque-import", "a.pkl", b"\x80\x02\x84\x01\0\0\0(S'x'\ntR.".to_vec()),
        ("ours: legacy names", dangerous, "a.pkl", [b"\x80\x02".as_slice(), &call("cPickle", "loads")].concat()),
        (
            "ours: legacy names",
            dangerous,
            "a.pkl",
            [b"\x80\x02".as_slice(), &call("thread", "start_new_thread")].concat(),
        ),
        ("ours: legacy names", dangerous, "a.pkl", [b"\x80\x02".as_slice(), &call("urllib2", "urlopen")].concat()),
        ("ours: any name", dangerous, "a.safetensors", evil()),
        ("ours: any name", dangerous, "a.txt", call_4("os", "system")),
        ("ours: any name", dangerous, "weights", call_4("os", "system")),
        ("ours: before an exception", dangerous, "a.pkl", exception),
        ("CVE-2025-1889", dangerous, "a.p", evil()),
        ("CVE-2025-1889", dangerous, "a.zip", Zip::new("a/model.config", &call_4("os", "system")).bytes()),
        ("CVE-2025-10155", dangerous, "a.bin", evil()),
        ("CVE-2025-10155", dangerous, "a.pt", evil()),
        ("CVE-2019-6446", dangerous, "a.npy", npy("|O", &evil())),
        ("CVE-2019-6446", dangerous, "a.npz", Zip::new("a.npy", &npy("|O", &evil())).bytes()),
    ]
}

/// Archives that scanners and loaders read in two ways.
fn archives() -> Vec<Case> {
    let evil = evil();
    let honest = Zip::new("data.pkl", &evil);
    let renamed = Zip { local_name: "data.txt", ..Zip::new("data.pkl", &evil) }.bytes();
    let flagged = Zip { flags: 1, ..Zip::new("data.pkl", &evil) }.bytes();
    let summed = Zip { crc_off: 1, ..Zip::new("data.pkl", &evil) }.bytes();
    let mut cases = Vec::new();
    for (id, bytes) in [("CVE-2025-1944", renamed), ("CVE-2025-1945", flagged), ("CVE-2025-10156", summed)] {
        cases.push((id, "archive-fault", "a.pt", bytes.clone()));
        cases.push((id, "pickle-dangerous-import", "a.pt", bytes));
    }
    let prefixed = [b"#!/bin/sh\n", &*honest.bytes()].concat();
    cases.extend([
        ("ours: prefixed zip", "pickle-dangerous-import", "a.zip", prefixed),
        (
            "ours: a link in a zip",
            "archive-path",
            "a.zip",
            Zip { mode: 0o120_777, ..Zip::new("a/b", b"../../c") }.bytes(),
        ),
        (
            "ours: a link that is a pickle",
            "pickle-dangerous-import",
            "a.zip",
            Zip { mode: 0o120_777, ..honest }.bytes(),
        ),
        ("CVE-2025-51480", "archive-path", "a.zip", Zip::new("../a.onnx", b"text").bytes()),
        ("CVE-2025-23304", "config-target", "a.nemo", tar("model_config.yaml", b'0', "", b"_target_: os.system\n")),
    ]);
    cases
}

/// Keras, TensorFlow, ONNX, skops, GGUF, templates.
fn formats() -> Vec<Case> {
    let keras = |config: &str| {
        let text = format!("{{\"class_name\": \"Functional\", \"config\": {{\"layers\": [{config}]}}}}");
        Zip::new("config.json", text.as_bytes()).bytes()
    };
    let lambda = r#"{"module": "keras.layers", "class_name": "Lambda", "config": {}}"#;
    let h5 = |config: &str| [b"\x89HDF\r\n\x1A\n", config.as_bytes()].concat();
    let external = |path: &[u8]| {
        let tensor = field(13, &[field(1, b"location"), field(2, path)].concat());
        field(5, &tensor)
    };
    let onnx = |graph: &[u8]| [b"\x08\x08".as_slice(), &field(7, graph)].concat();
    let nested = field(1, &field(5, &field(6, &external(b"../../a"))));
    let skops = |loader: &str| {
        let node = format!("{{\"__loader__\": \"{loader}\", \"__module__\": \"builtins\", \"__class__\": \"len\"}}");
        Zip::new("schema.json", node.as_bytes()).bytes()
    };
    let template = |text: &str| format!("{{\"chat_template\": \"{text}\"}}").into_bytes();
    let globals = "{{ cycler.__init__.__globals__.os.popen('x').read() }}";
    vec![
        ("CVE-2024-3660", "keras-code", "a.keras", keras(lambda)),
        ("CVE-2025-1550", "keras-code", "a.keras", keras(r#"{"module": "os", "class_name": "system"}"#)),
        ("CVE-2025-1550", "keras-code", "a.keras", keras(r#"{"class_name": "x", "fn_module": "subprocess"}"#)),
        (
            "CVE-2025-8747",
            "keras-code",
            "a.keras",
            keras(r#"{"class_name": "function", "config": "get_file", "module": "keras.utils"}"#),
        ),
        ("CVE-2025-9905", "keras-code", "a.h5", h5(lambda)),
        (
            "CVE-2025-9906",
            "keras-code",
            "a.keras",
            keras(r#"{"class_name": "function", "config": "enable_unsafe_deserialization"}"#),
        ),
        ("CVE-2025-49655", "keras-code", "a.keras", keras(r#"{"class_name": "TorchModuleWrapper"}"#)),
        ("ours: spelled letters", "keras-code", "a.keras", keras(r#"{"class_name": "\u004cambda"}"#)),
        ("ours: spelled letters", "config-target", "a.json", br#"{"_t\u0061rget_": "os.system"}"#.to_vec()),
        ("CVE-2022-25882", "onnx-external-data", "a.onnx", onnx(&external(b"../../etc/passwd"))),
        ("CVE-2024-27318", "onnx-external-data", "a.onnx", onnx(&nested)),
        ("CVE-2025-51480", "onnx-external-data", "a.onnx", onnx(&external(b"/etc/cron.d/a"))),
        ("CVE-2025-54412", "config-target", "a.skops", skops("OperatorFuncNode")),
        ("CVE-2025-54413", "config-target", "a.skops", skops("MethodNode")),
        ("CVE-2025-54886", "config-target", "a.skops", skops("JoblibNode")),
        (
            "CVE-2024-21802",
            "broken-file",
            "a.gguf",
            b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF".to_vec(),
        ),
        ("CVE-2025-53630", "broken-file", "a.gguf", gguf_tensor(&[1 << 62, 4])),
        ("CVE-2026-27940", "broken-file", "a.gguf", gguf_tensor(&[i64::MAX as u64])),
        ("CVE-2026-7482", "broken-file", "a.gguf", gguf_tensor(&[1 << 20])),
        ("CVE-2024-34359", "template-escape", "tokenizer_config.json", template(globals)),
        ("CVE-2026-5760", "template-escape", "a.jinja", globals.as_bytes().to_vec()),
        (
            "CVE-2026-5760",
            "template-escape",
            "tokenizer_config.json",
            template("{{ ''.__class__.__mro__[1].__subclasses__() }}"),
        ),
    ]
}

/// Every sample but those of names, with the name of its file.
pub fn samples() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    pickles().into_iter().chain(archives()).chain(formats()).map(|(_, _, name, bytes)| (name, bytes))
}

fn check(cases: &[Case]) {
    for (id, rule, name, bytes) in cases {
        let report = scan_bytes(bytes, name, &Limits::default());
        let found: Vec<&str> = report.findings.iter().map(|finding| finding.rule.id).collect();
        assert!(found.contains(rule), "{id}: {rule} is not among {found:?} in {name}");
        assert!(report.worst() >= Some(Severity::Medium), "{id} passes");
    }
}

#[test]
fn advisories_about_names() {
    for &(id, module, name) in NAMES {
        for bytes in [call(module, name), call_4(module, name)] {
            check(&[(id, "pickle-dangerous-import", "a.pkl", bytes)]);
        }
    }
}

#[test]
fn advisories_about_pickles() {
    check(&pickles());
}

#[test]
fn advisories_about_archives() {
    check(&archives());
}

#[test]
fn advisories_about_formats() {
    check(&formats());
}
