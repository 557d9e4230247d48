//! `tsumugi bench`: the shape of what it says; its figures are nothing to test.

use tsumugi_base::testing::temporary_folder;

use crate::support::tsumugi;

#[test]
fn the_machine_and_a_training_step() {
    let folder = temporary_folder();
    let machine = tsumugi(folder.path(), &["bench", "--machine", "--threads", "1", "--json"]).json();
    let available = machine["isa_available"].as_array().unwrap();
    assert!(available.contains(&machine["isa"]), "{machine}");
    assert!(machine["peak_flops_per_second"].as_f64().unwrap() > 1e6, "{machine}");
    assert_eq!(machine["threads"], 1);

    let step = ["bench", "--train", "shakespeare-char", "--steps", "1", "--threads", "1", "--json"];
    let measured = tsumugi(folder.path(), &step).json();
    assert_eq!(measured["case"], "shakespeare-char");
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
