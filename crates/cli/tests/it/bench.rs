//! `tsumugi bench`: the shape of what it says; its figures are nothing to test.

use tsumugi_base::testing::temporary_folder;

use crate::support::tsumugi;

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
