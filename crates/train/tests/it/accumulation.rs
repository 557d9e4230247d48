//! Accumulation is free of scale: one micro-batch of eight sequences is eight of one, for unequal numbers of trained
//! tokens too.

use tsumugi_base::progress::Silent;
use tsumugi_base::rng::{Key, Stream};
use tsumugi_base::testing::temporary_folder;
use tsumugi_data::{Batch, BatchSource, Segment};
use tsumugi_models::{Decoder, DecoderSpec, family};
use tsumugi_tensor::Cpu;
use tsumugi_tensor::threads::Pool;
use tsumugi_train::{Job, Recipe, TrainSettings, train};

const CONTEXT: usize = 16;
const SEQUENCES: usize = 8;

/// Random tokens; sequence `i` of a step trains `1 + 2 i` of its 16 tokens.
struct Uneven {
    micro_batches: usize,
    vocabulary: u64,
}

impl BatchSource for Uneven {
    fn batch(&self, step: u64, micro: usize) -> Batch {
        let per_micro = SEQUENCES / self.micro_batches;
        let mut batch = Batch { rows: per_micro * CONTEXT, ..Batch::default() };
        for sequence in micro * per_micro..(micro + 1) * per_micro {
            let mut random = Stream::new(Key::from_seed(step).derive(&[sequence as u64]));
            batch.segments.push(Segment { start: batch.tokens.len(), len: CONTEXT });
            for position in 0..CONTEXT {
                batch.tokens.push(random.below(self.vocabulary) as u32);
                batch.targets.push(random.below(self.vocabulary) as u32);
                batch.positions.push(position as u32);
                batch.weights.push(if position <= 2 * sequence { 1.0 } else { 0.0 });
            }
        }
        batch
    }

    fn context(&self) -> usize {
        CONTEXT
    }

    fn sequences(&self) -> u64 {
        SEQUENCES as u64
    }
}

fn settings(micro_batches: usize) -> TrainSettings {
    let recipe = Recipe {
        data: Some("random".into()),
        layers: Some(1),
        width: Some(64),
        accumulate: Some(micro_batches),
        steps: Some(1),
        warmup_steps: Some(0),
        ..Recipe::default()
    };
    recipe.resolve(1 << 20).unwrap().train
}

/// Loss and gradient norm of the first step, and the weights after it.
fn step(micro_batches: usize) -> (f64, f64, Vec<f32>) {
    let folder = temporary_folder();
    let spec = DecoderSpec { context: CONTEXT, ..family::find("llama").unwrap().tiny() };
    let source = Uneven { micro_batches, vocabulary: spec.vocabulary as u64 };
    let mut decoder = Decoder::new(spec);
    decoder.initialize(3, &Pool::new(1));
    let trained = train(Job {
        cpu: &Cpu::detect(Some(2)).unwrap(),
        decoder,
        source: &source,
        held_out: None,
        settings: &settings(micro_batches),
        folder: folder.path(),
        identity: "test",
        stage: "test",
        peak_flops_per_second: None,
        profile: false,
        observer: &Silent,
        on_evaluation: &mut |_, _| {},
    })
    .unwrap();
    let rows: Vec<serde_json::Value> = tsumugi_base::jsonl::read(&folder.path().join("log.jsonl")).unwrap();
    let number = |key: &str| rows[0][key].as_f64().unwrap();
    (number("loss"), number("gradient_norm"), trained.decoder.parameters.buffer().to_vec())
}

#[test]
fn one_micro_batch_of_eight_is_eight_of_one() {
    let (loss, norm, weights) = step(1);
    assert!(loss > 1.0 && norm > 0.01, "{loss} {norm}");
    for micro_batches in [2, 4, 8] {
        let (other_loss, other_norm, other_weights) = step(micro_batches);
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-6 * a.abs();
        assert!(close(loss, other_loss), "{micro_batches}: loss {loss} or {other_loss}");
        assert!(close(norm, other_norm), "{micro_batches}: norm {norm} or {other_norm}");
        // AdamW's first step is the sign of the gradient, so a gradient near zero may turn: the mean says enough.
        let apart: f64 = weights.iter().zip(&other_weights).map(|(&a, &b)| f64::from((a - b).abs())).sum();
        assert!(apart / (weights.len() as f64) < 1e-6, "{micro_batches}: weights {apart} apart");
    }
}
