//! Assets: found where they should be, recorded when they are missing, failing where they are required. Each runs in a
//! process of its own, because the environment decides.

use std::process::Command;

use tsumugi_base::testing::{asset, skipped_assets_folder, temporary_folder};

const ROLE: &str = "TSUMUGI_TEST_ASSET_CHILD";

/// Not a test by itself: what the other tests start.
#[test]
fn child() {
    if let Ok(name) = std::env::var(ROLE) {
        println!("found {:?}", asset(&name));
    }
}

fn run_child(name: &str, variables: &[(&str, &str)]) -> (bool, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "assets::child", "--nocapture"]).env(ROLE, name).env_remove("TSUMUGI_REQUIRE_ASSETS");
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), text)
}

#[test]
fn an_asset_is_found_recorded_or_required() {
    let folder = temporary_folder();
    std::fs::write(folder.path().join("there.txt"), "x").unwrap();
    let place = folder.path().to_str().unwrap();
    let (passed, text) = run_child("there.txt", &[("TSUMUGI_ASSETS", place), ("TSUMUGI_REQUIRE_ASSETS", "1")]);
    assert!(passed && text.contains(&format!("found Some(\"{place}/there.txt\")")), "{text}");

    let missing = "tests/of base/missing.txt";
    let record = skipped_assets_folder().join("tests_of_base_missing.txt");
    let (passed, text) = run_child(missing, &[]);
    assert!(passed && text.contains("found None"), "{text}");
    assert!(text.contains("skipped: the asset `tests/of base/missing.txt` is not here"), "{text}");
    assert_eq!(std::fs::read_to_string(&record).unwrap(), missing);
    std::fs::remove_file(record).unwrap(); // this one is no skipped test

    let (passed, text) = run_child(missing, &[("TSUMUGI_REQUIRE_ASSETS", "1")]);
    assert!(!passed && text.contains("TSUMUGI_REQUIRE_ASSETS=1"), "{text}");
}
