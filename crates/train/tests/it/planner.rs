//! The planner's sizes against the decoders and plans that are really made.

use tsumugi_base::Hint;
use tsumugi_models::plans::LossPlan;
use tsumugi_models::{Decoder, DecoderSpec, family};
use tsumugi_tensor::memory::Buffer;
use tsumugi_tensor::{Activations, Compute, Cpu, Muon};
use tsumugi_train::{Optimizer, OptimizerKind, Recipe, StepOptions, planner};

fn with(activations: Activations) -> StepOptions {
    StepOptions { activations, ..StepOptions::default() }
}

#[test]
fn the_sizes_are_those_of_what_is_made() {
    for family in tsumugi_models::ALL {
        let spec = family.tiny();
        let decoder = Decoder::new(spec.clone());
        let cpu = Cpu::detect(Some(2)).unwrap().computing(Compute::F32);
        let memory = planner::memory(&spec, 24, StepOptions::default(), &cpu).unwrap();
        let held = |numbers: usize| Buffer::bytes(numbers).unwrap() as u64;
        assert_eq!(memory.weights, held(decoder.parameters.buffer_len()), "{}", family.name());
        assert_eq!((memory.gradients, memory.moments), (memory.weights, 2 * memory.weights));
        for activations in [Activations::Kept, Activations::Recomputed] {
            let memory = planner::memory(&spec, 24, with(activations), &cpu).unwrap();
            let plan = LossPlan::training(&decoder, 24, activations).unwrap().plan;
            assert_eq!(memory.activations, held(plan.arena_bytes() / 4));
        }
        assert_eq!(memory.evaluation, held(LossPlan::scoring(&decoder, 24).plan.arena_bytes() / 4));
        assert_eq!(memory.total(true) - memory.total(false), memory.evaluation);
        let muon = StepOptions { optimizer: OptimizerKind::Muon, ..StepOptions::default() };
        let muon = planner::memory(&spec, 24, muon, &cpu).unwrap();
        let moments = Optimizer::new(OptimizerKind::Muon, &decoder.parameters).moments().map(|moments| moments.len());
        assert_eq!(muon.moments, moments.into_iter().map(held).sum::<u64>());
        let hidden: usize =
            decoder.parameters.iter().filter(|(_, p)| !p.matrix_rows.is_empty()).map(|(_, p)| p.len()).sum();
        assert!(hidden > 0 && muon.moments <= memory.moments - 4 * hidden as u64, "{}", family.name());
        assert_eq!(muon.scratch - memory.scratch, 2 * (held(Muon::scratch_len(&decoder.parameters)) - held(0)));
    }
    let spec = family::find("gpt2").unwrap().tiny();
    assert_eq!(Decoder::described(spec.clone()).parameters.count(), Decoder::new(spec).parameters.count());
}

#[test]
fn memory_that_recomputation_would_save_is_told() {
    let Some(available) = tsumugi_base::machine::available_memory_bytes() else { return };
    let cpu = Cpu::detect(Some(1)).unwrap();
    let spec = DecoderSpec { layers: 32, ..family::find("llama").unwrap().tiny() };
    let least = |rows| spec.training_bytes_at_least(rows, Activations::Kept);
    let rows = (2 * u128::from(available) / (least(1) - least(0))) as usize;
    let error = planner::check_memory(&spec, rows, with(Activations::Kept), &cpu).unwrap_err();
    assert!(error.to_string().contains("; with --recompute "), "{error}");
    assert!(error.hint().unwrap().starts_with("--recompute, or a smaller"), "{:?}", error.hint());
    planner::check_memory(&spec, rows, with(Activations::Recomputed), &cpu).unwrap();
    let error = planner::check_memory(&spec, 20 * rows, with(Activations::Recomputed), &cpu).unwrap_err();
    assert!(!error.to_string().contains("--recompute") && !error.hint().unwrap().contains("--recompute"), "{error}");
}

/// A model that no machine could hold is planned without being made.
#[test]
fn a_model_of_any_size_is_planned() {
    let recipe = Recipe { data: Some("none".into()), layers: Some(96), width: Some(12_288), ..Recipe::default() };
    let resolved = recipe.resolve(1 << 30).unwrap();
    let cpu = Cpu::detect(Some(1)).unwrap();
    let plan = planner::plan(&resolved, 50_257, 1 << 30, &cpu).unwrap();
    // GPT-3's shape (Brown et al. 2020, table 2.1) with SwiGLU of the same size: 175 billion.
    assert!((1.6e11..1.9e11).contains(&(plan.parameters as f64)), "{}", plan.parameters);
    let recipe = Recipe { recompute: Some(true), ..recipe };
    let recomputed = planner::plan(&recipe.resolve(1 << 30).unwrap(), 50_257, 1 << 30, &cpu).unwrap();
    assert_eq!(plan.recompute_memory_bytes, Some(recomputed.memory_bytes));
    assert!(recomputed.recompute_memory_bytes.is_none() && recomputed.tokens_per_second < plan.tokens_per_second);
    assert!(recomputed.memory.activations < plan.memory.activations / 5);
    assert!(!plan.is_timed && plan.memory_bytes > 16 * plan.parameters);
    let update = OptimizerKind::Muon.flops(&Decoder::described(resolved.spec(50_257)).parameters);
    for accumulate in [1, 4] {
        let planned = |optimizer| {
            let recipe = Recipe { accumulate: Some(accumulate), steps: Some(10), optimizer, ..recipe.clone() };
            planner::plan(&recipe.resolve(1 << 30).unwrap(), 50_257, 1 << 30, &cpu).unwrap()
        };
        let (adamw, muon) = (planned(None), planned(Some(OptimizerKind::Muon)));
        assert!((muon.flops / (adamw.flops + 10.0 * update) - 1.0).abs() < 1e-9, "once per step");
        assert!(muon.tokens_per_second < adamw.tokens_per_second);
    }
    assert!((plan.flops_per_token / (6.0 * plan.product_parameters as f64) - 1.0).abs() < 0.05);
}

/// The table of rotary positions of such a context would take 64 TiB.
#[test]
fn a_context_of_any_length_is_planned() {
    let llama = family::find("llama").unwrap().tiny();
    let cpu = Cpu::detect(Some(1)).unwrap();
    let memory = |context: usize| {
        planner::memory(&DecoderSpec { context, ..llama.clone() }, 24, StepOptions::default(), &cpu).unwrap()
    };
    assert_eq!(memory(1 << 40), memory(64));
}
