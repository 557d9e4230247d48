//! `tsumugi bench`: the shape of what it says; its figures are nothing to test.

use tsumugi_base::testing::temporary_folder;

use crate::support::{tiny_model, tsumugi};

#[test]
fn the_machine_and_a_training_step() {
    let folder = temporary_folder();
    let machine = tsumugi(folder.path(), &["bench", "--machine", "--threads", "1", "--json"]).json();
    let available = machine["isa_available"].as_array().unwrap();
    assert!(available.contains(&machine["isa"]), "{machine}");
    let limits = &machine["limits"][0];
    assert_eq!(limits["threads"], 1);
    for limit in ["f32_flops_per_second", "bf16_flops_per_second", "memory_bytes_per_second"] {
        assert!(limits[limit].as_f64().unwrap() > 1e6, "{machine}");
    }
    let table = tsumugi(folder.path(), &["bench", "--machine", "--threads", "2"]).stdout;
    assert!(table.contains("bfloat16 GFLOP/s") && table.lines().count() >= 8, "{table}");

    let step = ["bench", "--train", "shakespeare-char", "--steps", "1", "--threads", "1", "--compute", "f32", "--json"];
    let measured = tsumugi(folder.path(), &step).json();
    assert_eq!((&measured["case"], &measured["compute"]), (&"shakespeare-char".into(), &"f32".into()));
    assert!(measured["tokens_per_second"].as_f64().unwrap() > 0.0, "{measured}");
    assert!(measured["step_seconds"].as_f64().unwrap() > 0.0, "{measured}");
}

#[test]
fn one_thing_is_measured_at_a_time() {
    let folder = temporary_folder();
    assert_eq!(tsumugi(folder.path(), &["bench"]).code, 2);
    assert_eq!(tsumugi(folder.path(), &["bench", "--machine", "--train", "gpt-512"]).code, 2);
    let unknown = tsumugi(folder.path(), &["bench", "--train", "gpt-513"]);
    assert!(
        unknown.code == 2 && unknown.stderr.contains("hint: a similar value exists: 'gpt-512'"),
        "{}",
        unknown.stderr
    );
}

#[test]
fn the_roofline_of_a_folder() {
    let folder = temporary_folder();
    tiny_model(&folder.path().join("model"), false);
    let command = ["bench", "model", "--batch", "2", "--steps", "1", "--threads", "1", "--compute", "bf16"];
    let measured = tsumugi(folder.path(), &[&command[..], &["--out", "page.html", "--json"]].concat()).json();
    let stages: Vec<_> = measured["stages"].as_array().unwrap().iter().map(|stage| &stage["stage"]).collect();
    assert_eq!(stages, ["training step", "prefill", "decode"]);
    assert_eq!((&measured["workload"]["context"], &measured["workload"]["prompt"]), (&64.into(), &32.into()));
    for stage in measured["stages"].as_array().unwrap() {
        let number = |key: &str| stage[key].as_f64().unwrap();
        let peak = if stage["compute"] == "bf16" { "bf16_flops_per_second" } else { "f32_flops_per_second" };
        let by_compute = number("flops") / measured["limits"][peak].as_f64().unwrap();
        let by_memory = number("bytes") / measured["limits"]["memory_bytes_per_second"].as_f64().unwrap();
        assert_eq!(number("limit_seconds"), by_compute.max(by_memory), "{stage}");
    }
    let page = std::fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(page.contains("Roofline of model") && page.contains("<svg"), "{page}");

    let text = tsumugi(folder.path(), &[&command[..], &["--prompt", "64"]].concat());
    assert!(text.stdout.contains("FLOP/byte") && text.stdout.contains("Not measured: decode"), "{}", text.stdout);
}

#[test]
fn what_belongs_to_a_model_needs_one() {
    let folder = temporary_folder();
    for flags in [["--batch", "2"], ["--context", "8"], ["--prompt", "8"], ["--out", "page.html"]] {
        assert_eq!(tsumugi(folder.path(), &[&["bench", "--machine"], &flags[..]].concat()).code, 2, "{flags:?}");
    }
    assert_eq!(tsumugi(folder.path(), &["bench", "gpt-512", "--batch", "257"]).code, 2);
    assert_eq!(tsumugi(folder.path(), &["bench", "gpt-512", "--profile"]).code, 2);
    for what in [&["--train", "gpt-512"][..], &["gpt-512"]] {
        let ran = tsumugi(folder.path(), &[&["bench"], what, &["--steps", "18446744073709551615"]].concat());
        assert!(ran.code == 2 && ran.stderr.contains("it must be at most 1000000"), "{}", ran.stderr);
    }
    // Before the model is even looked at.
    tsumugi(folder.path(), &["bench", "gpt-513", "--out", "missing/x.html"]).is("
        exit 2
        ---- stderr
        error: cannot create missing/x.html: no such file or folder

        hint: check the path; it is taken relative to the current folder
    ");
    let unknown = tsumugi(folder.path(), &["bench", "gpt-513"]);
    assert!(unknown.code == 2 && unknown.stderr.contains("`gpt-513` is no path that exists"), "{}", unknown.stderr);
}
