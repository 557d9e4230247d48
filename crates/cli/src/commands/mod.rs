//! The commands. To add one: write `<name>.rs`, then its two lines below; the help, the "did you mean", the reference
//! page and its golden test come from the list.

pub mod audit;
pub mod bench;
pub mod bom;
pub mod chat;
pub mod convert;
pub mod data;
pub mod embed;
pub mod generate;
pub mod keygen;
pub mod models;
pub mod ngram;
pub mod perplexity;
pub mod plan;
pub mod pull;
pub mod quantize;
pub mod quickstart;
pub mod rerank;
pub mod scan;
pub mod serve;
pub mod sign;
pub mod tokenizer;
pub mod train;
pub mod tune;
pub mod verify;

use clap::{ArgMatches, Args};

use crate::output::{Answer, Failure};

/// One command: its fields are its flags, its doc comment is its help.
pub trait Command: Args {
    /// The word a user types.
    const NAME: &'static str;
    /// Lines that a user could type, shown below the help.
    const EXAMPLES: &'static str;
    /// Does it.
    fn run(self) -> Result<Answer, Failure>;
}

/// A place in the tree of commands.
pub enum Entry {
    /// A command.
    Command {
        /// The word a user types.
        name: &'static str,
        /// Its help and flags.
        build: fn() -> clap::Command,
        /// Does it.
        run: fn(&ArgMatches) -> Result<Answer, Failure>,
    },
    /// A subject with several verbs.
    Group {
        /// The word a user types.
        name: &'static str,
        /// One line.
        about: &'static str,
        /// Its verbs.
        entries: &'static [Entry],
    },
}

/// Every command, in the order of the help: what people do first comes first.
pub const ALL: &[Entry] = &[
    command::<quickstart::Quickstart>(),
    command::<pull::Pull>(),
    command::<train::Train>(),
    Entry::Group { name: "tune", about: "Teach a trained model more", entries: tune::ALL },
    command::<generate::Generate>(),
    command::<chat::Chat>(),
    command::<serve::Serve>(),
    command::<embed::Embed>(),
    command::<rerank::Rerank>(),
    command::<perplexity::Perplexity>(),
    Entry::Group {
        name: "tokenizer",
        about: "Learn a vocabulary, and see what it does to text",
        entries: tokenizer::ALL,
    },
    Entry::Group { name: "ngram", about: "Models that count words: estimate, look up, measure", entries: ngram::ALL },
    Entry::Group { name: "data", about: "Look at training data and prepare it", entries: data::ALL },
    command::<quantize::Quantize>(),
    command::<convert::Convert>(),
    command::<scan::Scan>(),
    command::<keygen::Keygen>(),
    command::<sign::Sign>(),
    command::<verify::Verify>(),
    command::<bom::Bom>(),
    command::<audit::Audit>(),
    command::<models::Models>(),
    command::<plan::Plan>(),
    command::<bench::Bench>(),
];

/// An entry of a list.
pub(crate) const fn command<C: Command>() -> Entry {
    Entry::Command { name: C::NAME, build: build::<C>, run: run_matched::<C> }
}

fn build<C: Command>() -> clap::Command {
    C::augment_args(clap::Command::new(C::NAME)).after_help(format!("Examples:\n{}", indented(C::EXAMPLES)))
}

fn indented(lines: &str) -> String {
    lines.trim().lines().map(|line| format!("  {}", line.trim_start())).collect::<Vec<_>>().join("\n")
}

fn run_matched<C: Command>(matches: &ArgMatches) -> Result<Answer, Failure> {
    C::from_arg_matches(matches).map_err(Failure::from_usage)?.run()
}

/// The whole command line.
pub fn tree() -> clap::Command {
    let root = clap::Command::new("tsumugi")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A large-language-model system for your own machine: text in, a model that you chat with out")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help(
            "Start with `tsumugi quickstart`. `tsumugi COMMAND --help` has the flags and examples of a command.\n\
             Exit codes: 0 done, 1 the answer is no, 2 it could not be done.",
        );
    with_entries(root, ALL)
}

fn with_entries(parent: clap::Command, entries: &[Entry]) -> clap::Command {
    entries.iter().fold(parent, |parent, entry| {
        parent.subcommand(match entry {
            Entry::Command { build, .. } => build(),
            Entry::Group { name, about, entries } => with_entries(
                clap::Command::new(*name)
                    .about(*about)
                    .subcommand_required(true)
                    .arg_required_else_help(true)
                    .disable_help_subcommand(true),
                entries,
            ),
        })
    })
}

/// Runs what was asked for.
pub fn run(matches: &ArgMatches) -> Result<Answer, Failure> {
    run_in(ALL, matches)
}

fn run_in(list: &[Entry], matches: &ArgMatches) -> Result<Answer, Failure> {
    let (asked, matches) = matches.subcommand().expect("clap requires a subcommand");
    for entry in list {
        match entry {
            Entry::Command { name, run, .. } if *name == asked => return run(matches),
            Entry::Group { name, entries, .. } if *name == asked => return run_in(entries, matches),
            _ => {}
        }
    }
    unreachable!("clap knows `{asked}` only from the list")
}
