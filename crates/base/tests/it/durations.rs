//! Time spans as people read them: cases in files, so that the case runner is used as others use it.

use tsumugi_base::testing::{case_dir, run_cases};
use tsumugi_base::units;

#[test]
fn duration_cases() {
    run_cases(case_dir!("duration"), |input| {
        input.lines().map(|seconds| units::duration(seconds.parse().unwrap()) + "\n").collect()
    });
}
