//! The planner's sizes against the decoders and plans that are really made.

use tsumugi_models::plans::LossPlan;
use tsumugi_models::{Decoder, family};
use tsumugi_tensor::{Compute, Cpu, Muon};
use tsumugi_train::{Optimizer, OptimizerKind, Recipe, planner};

#[test]
fn the_sizes_are_those_of_what_is_made() {
    for family in tsumugi_models::ALL {
        let spec = family.tiny();
        let decoder = Decoder::new(spec.clone());
        let memory = planner::memory(&spec, 24, OptimizerKind::AdamW, Compute::F32, 2).unwrap();
        assert_eq!(memory.weights, 4 * decoder.parameters.buffer_len() as u64, "{}", family.name());
        assert_eq!((memory.gradients, memory.moments), (memory.weights, 2 * memory.weights));
        assert_eq!(memory.activations, LossPlan::training(&decoder, 24).unwrap().plan.arena_bytes() as u64);
        assert_eq!(memory.evaluation, LossPlan::scoring(&decoder, 24).plan.arena_bytes() as u64);
        assert_eq!(memory.total(true) - memory.total(false), memory.evaluation);
        let muon = planner::memory(&spec, 24, OptimizerKind::Muon, Compute::F32, 2).unwrap();
        let [first, second] = Optimizer::new(OptimizerKind::Muon, &decoder.parameters).moments().map(|m| 4 * m.len());
        assert_eq!(muon.moments, (first + second) as u64);
        let hidden: usize =
            decoder.parameters.iter().filter(|(_, p)| !p.matrix_rows.is_empty()).map(|(_, p)| p.len()).sum();
        assert!(hidden > 0 && muon.moments <= memory.moments - 4 * hidden as u64, "{}", family.name());
        assert_eq!(muon.scratch - memory.scratch, 2 * 4 * Muon::scratch_len(&decoder.parameters) as u64);
    }
    let spec = family::find("gpt2").unwrap().tiny();
    assert_eq!(Decoder::described(spec.clone()).parameters.count(), Decoder::new(spec).parameters.count());
}

/// A model that no machine could hold is planned without being made.
#[test]
fn a_model_of_any_size_is_planned() {
    let recipe = Recipe { data: Some("none".into()), layers: Some(96), width: Some(12_288), ..Recipe::default() };
    let resolved = recipe.resolve(1 << 30).unwrap();
    let plan = planner::plan(&resolved, 50_257, 1 << 30, &Cpu::detect(Some(1)).unwrap()).unwrap();
    // GPT-3's shape (Brown et al. 2020, table 2.1) with SwiGLU of the same size: 175 billion.
    assert!((1.6e11..1.9e11).contains(&(plan.parameters as f64)), "{}", plan.parameters);
    assert!(!plan.is_timed && plan.memory_bytes > 16 * plan.parameters);
    assert!((plan.flops_per_token / (6.0 * plan.product_parameters as f64) - 1.0).abs() < 0.05);
}
