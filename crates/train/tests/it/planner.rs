//! The planner's sizes against the decoders and plans that are really made.

use tsumugi_models::plans::LossPlan;
use tsumugi_models::{Decoder, DecoderSpec, family};
use tsumugi_tensor::memory::Buffer;
use tsumugi_tensor::{Compute, Cpu};
use tsumugi_train::{Recipe, planner};

#[test]
fn the_sizes_are_those_of_what_is_made() {
    for family in tsumugi_models::ALL {
        let spec = family.tiny();
        let decoder = Decoder::new(spec.clone());
        let memory = planner::memory(&spec, 24, Compute::F32, 2).unwrap();
        let held = |numbers: usize| Buffer::bytes(numbers).unwrap() as u64;
        assert_eq!(memory.weights, held(decoder.parameters.buffer_len()), "{}", family.name());
        assert_eq!((memory.gradients, memory.moments), (memory.weights, 2 * memory.weights));
        assert_eq!(memory.activations, held(LossPlan::training(&decoder, 24).unwrap().plan.arena_bytes() / 4));
        assert_eq!(memory.evaluation, held(LossPlan::scoring(&decoder, 24).plan.arena_bytes() / 4));
        assert_eq!(memory.total(true) - memory.total(false), memory.evaluation);
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

/// The table of rotary positions of such a context would take 64 TiB.
#[test]
fn a_context_of_any_length_is_planned() {
    let llama = family::find("llama").unwrap().tiny();
    let memory =
        |context: usize| planner::memory(&DecoderSpec { context, ..llama.clone() }, 24, Compute::F32, 1).unwrap();
    assert_eq!(memory(1 << 40), memory(64));
}
