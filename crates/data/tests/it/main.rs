//! The integration tests of `tsumugi-data`.
#![allow(clippy::unwrap_used, reason = "a panic in a test is a failed test")]

mod bad_input;
mod cleaning;
mod conversations;
mod corpus;
mod dedup;
mod dialogue;
mod evaluation;
mod pretrain;
mod shards;
mod sources;

use tsumugi_base::progress::Silent;
use tsumugi_tokenizer::Tokenizer;
use tsumugi_tokenizer::train::{TrainingConfig, train_bpe};

/// A short play in the form of tiny Shakespeare.
pub const PLAY: &str = "\
ROMEO:
Is the day so young?

BENVOLIO:
But new struck nine.

ROMEO:
Ay me! sad hours seem long.
Was that my father that went hence so fast?

BENVOLIO:
It was.

First Citizen:
Peace, ho!

ROMEO:
Out of her favour, where I am in love.
";

/// A tokenizer that has learned [`PLAY`].
pub fn tokenizer() -> Tokenizer {
    let config = TrainingConfig { vocabulary_size: 300, ..TrainingConfig::default() };
    train_bpe(&[PLAY], &config, &Silent).expect("it trains")
}

/// The text of the quickstart, which is in the repository.
pub fn shakespeare() -> String {
    let path = tsumugi_base::testing::repository_root().join("data/tinyshakespeare/input.txt");
    tsumugi_data::read_text(&path).expect("it is in the repository")
}
