//! Recipes: what is read, what follows from one dial, and what is refused because nobody would read it.

use tsumugi_base::testing::{repository_root, temporary_folder};
use tsumugi_train::{Recipe, TrainError};

fn parsed(toml: &str) -> Result<Recipe, TrainError> {
    let folder = temporary_folder();
    let file = folder.path().join("recipe.toml");
    std::fs::write(&file, toml).unwrap();
    Recipe::read(&file)
}

/// The error of a recipe that names its text.
#[track_caller]
fn refused(toml: &str) -> String {
    let recipe = parsed(&format!("data = \"a.txt\"\n{toml}\n")).unwrap();
    recipe.resolve(1 << 20).expect_err(toml).to_string()
}

#[test]
fn every_recipe_of_the_repository_resolves() {
    let folder = repository_root().join("recipes");
    let mut read = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        if file.file_name().unwrap().to_string_lossy().starts_with("corpus-") {
            continue; // of `data run`; the tests of tsumugi-data read it
        }
        let resolved = Recipe::read(&file).unwrap().resolve(1 << 20).unwrap();
        assert!(repository_root().join(&resolved.data).exists(), "{}", file.display());
        read += 1;
    }
    assert!(read > 0);
}

#[test]
fn one_dial_is_enough() {
    let resolve = |depth: usize| {
        let recipe = Recipe { depth: Some(depth), data: Some("a.txt".into()), ..Recipe::default() };
        recipe.resolve(1 << 30).unwrap()
    };
    let mut before: Option<tsumugi_train::Resolved> = None;
    for depth in [1, 2, 4, 6, 12] {
        let resolved = resolve(depth);
        assert_eq!((resolved.layers, resolved.width, resolved.heads), (depth, 64 * depth, depth));
        if let Some(before) = before {
            assert!(resolved.train.steps >= before.train.steps, "a larger model is trained longer");
            assert!(resolved.train.learning_rate < before.train.learning_rate, "and more gently");
        }
        before = Some(resolved);
    }
}

/// A run is resumed only if its settings are read back as they were written.
#[test]
fn settings_survive_their_record_to_the_last_bit() {
    for depth in 1..=64 {
        let recipe = Recipe { depth: Some(depth), data: Some("a.txt".into()), ..Recipe::default() };
        let value = serde_json::to_value(recipe.resolve(1 << 30).unwrap()).unwrap();
        let read: serde_json::Value = serde_json::from_str(&value.to_string()).unwrap();
        assert_eq!(tsumugi_base::run_record::differences(&value, &read), [], "depth {depth}");
    }
}

#[test]
fn unknown_keys_are_named_with_their_line() {
    let error = parsed("depth = 2\nlearning_rate = 1e-3\n").unwrap_err().to_string();
    assert!(error.contains("unknown field `learning_rate`") && error.contains("line 2"), "{error}");
    assert!(error.contains("learning-rate"), "the right name is among those offered: {error}");
}

#[test]
fn keys_that_nobody_would_read_are_refused() {
    for (toml, key) in [
        ("depth = 2\nlayers = 2", "`depth`"),
        ("depth = 2\ntokenizer = \"bytes\"\nvocabulary = 999", "`vocabulary`"),
        ("depth = 2\nfamily = \"gpt2\"\nkey-heads = 1", "`key-heads`"),
        ("depth = 2\ndecay-share = 0.1", "`decay-share`"),
        ("depth = 2\nschedule = \"constant\"\nleast-rate = 0.1", "`least-rate`"),
    ] {
        let error = refused(toml);
        assert!(error.starts_with(key), "{toml}: {error}");
    }
}

#[test]
fn values_that_cannot_be_are_refused() {
    for (toml, key) in [
        ("depth = 0", "`depth`"),
        ("width = 64", "`depth`"),
        ("depth = 2\nheads = 3", "`heads`"),
        ("depth = 2\nheads = 2\nkey-heads = 4", "`key-heads`"),
        ("depth = 2\nwidth = 15\nheads = 5", "`heads`"),
        ("depth = 2\ncontext = 99999999", "`context`"),
        ("depth = 2\ndropout = 1.0", "`dropout`"),
        ("depth = 2\nsteps = 0", "`steps`"),
        ("depth = 2\nsteps = 9223372036854775807", "`steps`"),
        ("depth = 2\nvocabulary = 100000000000000", "`vocabulary`"),
        ("depth = 1000000", "`depth`"),
        ("depth = 2\nsteps = 10\nwarmup-steps = 10", "`warmup-steps`"),
        ("depth = 2\nlearning-rate = -1", "`learning-rate`"),
        ("depth = 2\nlearning-rate = nan", "`learning-rate`"),
        ("depth = 2\nlearning-rate = 1e39", "`learning-rate` is 1e39, but it must be above 0 and a number in float32"),
        ("depth = 2\noptimizer = \"muon\"\nlearning-rate = 1e-60", "`learning-rate`"),
        ("depth = 2\nclip = 0", "`clip`"),
        ("depth = 2\nvocabulary = 1", "a vocabulary of 1 tokens is too small"),
        ("depth = 2\nbeta2 = 1.0", "`beta2`"),
        ("depth = 2\nweight-decay = inf", "`weight-decay`"),
    ] {
        let error = refused(toml);
        assert!(error.starts_with(key), "{toml}: {error}");
    }
}

#[test]
fn what_is_said_first_goes_before_what_is_said_second() {
    let flags = Recipe { steps: Some(5), ..Recipe::default() };
    let merged = flags.or(parsed("depth = 2\nsteps = 9\nclip = 0.5\n").unwrap());
    assert_eq!((merged.steps, merged.depth, merged.clip), (Some(5), Some(2), Some(0.5)));
}
