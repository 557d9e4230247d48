//! What is refused because nobody would read it, or because it cannot be.

use tsumugi_tune::methods::sft::SftRecipe;

#[track_caller]
fn refused(toml: &str) -> String {
    let recipe: SftRecipe = toml::from_str(&format!("model = \"base\"\n{toml}\n")).unwrap();
    recipe.resolve(64, 64).expect_err(toml).to_string()
}

#[test]
fn keys_and_values_are_checked() {
    let drama = "data = \"a.txt\"";
    let messages = "data = \"a.jsonl\"";
    for (data, toml, key) in [
        ("", "steps = 1", "`data`"),
        (messages, "exchanges-max = 2", "`exchanges-max`"),
        (messages, "named-share = 0.5", "`named-share`"),
        (drama, "epochs = 2.0\nsteps = 3", "`epochs`"),
        (drama, "context = 65", "`context`"),
        (drama, "epochs = 0.0", "`epochs`"),
        (drama, "named-share = 1.5", "`named-share`"),
        (drama, "decay-share = 0.1", "`decay-share`"),
        (drama, "schedule = \"constant\"\nleast-rate = 0.1", "`least-rate`"),
        (drama, "batch = 0", "`batch`"),
        (drama, "learning-rate = nan", "`learning-rate`"),
        (drama, "learning-rate = 1e39", "`learning-rate`"),
        (drama, "optimizer = \"muon\"\nlearning-rate = 1e39", "`learning-rate`"),
    ] {
        let error = refused(&format!("{data}\n{toml}"));
        assert!(error.starts_with(key), "{toml}: {error}");
    }
    let unknown = toml::from_str::<SftRecipe>("epoch = 3").unwrap_err().to_string();
    assert!(unknown.contains("unknown field `epoch`"), "{unknown}");
}

#[test]
fn steps_follow_from_the_rows_unless_they_are_said() {
    let steps = |toml: &str| {
        let recipe: SftRecipe = toml::from_str(&format!("model = \"base\"\ndata = \"a.txt\"\n{toml}")).unwrap();
        let mut resolved = recipe.resolve(64, 64).unwrap();
        recipe.set_steps(&mut resolved, 100).unwrap();
        resolved.train.steps
    };
    assert_eq!(steps("batch = 10"), 30);
    assert_eq!(steps("batch = 5\naccumulate = 4\nepochs = 1.0"), 5);
    assert_eq!(steps("steps = 7"), 7);
}
