//! `tsumugi quickstart`: what is refused at once. The run itself is tested in its crate.

use tsumugi_base::testing::temporary_folder;

use crate::support::tsumugi;

#[test]
fn a_budget_that_cannot_be_kept_is_refused() {
    let folder = temporary_folder();
    tsumugi(folder.path(), &["quickstart", "--minutes", "0", "--no-serve"]).is("
        exit 2
        ---- stderr
        error: `minutes` is 0, but it must be from 0.2 to 1440

        hint: a first look takes 1 minute, a good model some 10
    ");
    assert!(!folder.path().join("runs").exists(), "nothing half-written");
}

#[test]
fn a_folder_with_something_else_in_it_is_left_alone() {
    let folder = temporary_folder();
    std::fs::create_dir(folder.path().join("out")).unwrap();
    std::fs::write(folder.path().join("out/thesis.tex"), "precious").unwrap();
    tsumugi(folder.path(), &["quickstart", "--no-serve", "--out", "out"]).is("
        exit 2
        ---- stderr
        error: out is not empty and holds no run of ours

        hint: choose an empty or new folder with --out
    ");
}
