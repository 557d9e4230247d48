//! The gradients of two transformer blocks against finite differences: everything else rests on them.

use tsumugi_tensor::{Plan, Tape};

use crate::support::{check_gradients, every_cpu, train_once};
use crate::transformer::{ROWS, parameters, record, row_weights, set};

#[test]
fn every_gradient_agrees_with_finite_differences() {
    for cpu in every_cpu(1) {
        let mut parameters = parameters();
        let mut tape = Tape::new();
        let model = record(&mut tape, &parameters, ROWS, 0.0);
        let kept = [model.nats];
        let (mut plan, gradients) = train_once(&cpu, tape, model.loss, &kept, &parameters, |plan| set(plan, &model));
        let weighted = |plan: &Plan| -> f64 {
            let nats = plan.value(model.nats).iter().zip(row_weights());
            0.5 * nats.map(|(&n, w)| f64::from(n) * f64::from(w)).sum::<f64>()
        };
        let trained = plan.value(model.loss)[0];
        assert!((f64::from(trained) - weighted(&plan)).abs() < 1e-5 && trained > 1.0, "loss {trained}");
        plan.evaluate(&cpu, &parameters);
        assert_eq!(plan.value(model.loss)[0], trained, "evaluation gives the loss of training");
        check_gradients(&cpu, &mut plan, &mut parameters, &gradients, &weighted, 3e-4);
    }
}
