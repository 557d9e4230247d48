//! Noise, comparisons and central finite differences for the tests.

use tsumugi_tensor::{Activations, Cpu, Isa, ParameterId, Parameters, Plan, Tape, Var};

/// `n` numbers in [-1, 1), the same for the same seed.
pub fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1 << 23) as f32) - 1.0
        })
        .collect()
}

/// `n` ids below `limit`.
pub fn noise_ids(seed: u64, n: usize, limit: u32) -> Vec<u32> {
    noise(seed, n).iter().map(|x| ((x + 1.0) / 2.0 * limit as f32) as u32 % limit).collect()
}

/// Whether this panics.
pub fn panics(f: impl FnOnce()) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err()
}

/// A processor for each instruction set of the machine.
pub fn every_cpu(threads: usize) -> Vec<Cpu> {
    Isa::available().into_iter().map(|isa| Cpu::with_isa(isa, threads)).collect()
}

/// Every number of `got` within `relative * |want| + absolute` of `want`; NaN is never close.
#[track_caller]
pub fn assert_close(what: &str, got: &[f32], want: &[f32], relative: f32, absolute: f32) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= relative * w.abs() + absolute, "{what}: element {i}: want {w}, got {g}");
    }
}

/// The same bits.
#[track_caller]
pub fn assert_same_bits(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(g.to_bits() == w.to_bits(), "{what}: element {i}: want {w:e}, got {g:e}");
    }
}

/// Fills every parameter with noise of this scale; parameters whose name ends in `norm` get 1 added.
pub fn fill(parameters: &mut Parameters, scale: f32) {
    let ids: Vec<ParameterId> = parameters.iter().map(|(id, _)| id).collect();
    for id in ids {
        let shift = if parameters.get(id).name.ends_with("norm") { 1.0 } else { 0.0 };
        let len = parameters.get(id).len();
        let values: Vec<f32> = noise(id.0 as u64 + 100, len).iter().map(|x| x * scale + shift).collect();
        parameters.values_mut(id).copy_from_slice(&values);
    }
}

/// The loss in float64, summed from values that were kept.
pub type Loss<'a> = &'a dyn Fn(&Plan) -> f64;

/// Holds `gradients` against central differences of fourth order for every number of every trainable parameter.
#[track_caller]
pub fn check_gradients(
    cpu: &Cpu,
    plan: &mut Plan,
    parameters: &mut Parameters,
    gradients: &[f32],
    loss: Loss<'_>,
    tolerance: f64,
) {
    let ids: Vec<ParameterId> = parameters.iter().filter(|(_, p)| p.trainable).map(|(id, _)| id).collect();
    for id in ids {
        let gradient = &gradients[parameters.range(id)];
        let largest = gradient.iter().fold(0.0_f64, |m, &g| m.max(f64::from(g).abs()));
        assert!(largest > 0.0, "`{}` has no gradient", parameters.get(id).name);
        for (i, &got) in gradient.iter().enumerate() {
            let mut at = |shift: f32| {
                let old = parameters.values(id)[i];
                parameters.values_mut(id)[i] = old + shift;
                plan.evaluate(cpu, parameters);
                parameters.values_mut(id)[i] = old;
                loss(plan)
            };
            let h = 1.0 / 64.0;
            let want = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * f64::from(h));
            let error = (f64::from(got) - want).abs();
            assert!(
                error <= tolerance * (1.0 + largest),
                "`{}` element {i}: differences give {want}, backward {got} (largest {largest})",
                parameters.get(id).name
            );
        }
    }
}

/// Plans, runs once and returns the plan and the gradients.
pub fn train_once(
    cpu: &Cpu,
    tape: Tape,
    loss: Var,
    kept: &[Var],
    parameters: &Parameters,
    set: impl FnOnce(&mut Plan),
) -> (Plan, Vec<f32>) {
    let mut plan = Plan::training(tape, loss, kept, parameters, Activations::Kept).expect("the tape is complete");
    set(&mut plan);
    let mut gradients = vec![0.0; parameters.buffer_len()];
    plan.train(cpu, parameters, &mut gradients, false);
    (plan, gradients)
}
