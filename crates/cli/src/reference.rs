//! `docs/reference/cli.md` from the code.

use clap::builder::{PossibleValue, StyledStr};
use clap::{Arg, Command};

use crate::commands;

/// The whole page.
pub fn markdown() -> String {
    let mut root = commands::tree();
    root.build();
    let mut page = String::from(
        "<!-- Made from the code; `UPDATE_GOLDEN=1 cargo test -p tsumugi-cli reference` rewrites it. -->\n\n\
         # The command line\n\n\
         Data goes to standard output, progress and errors to standard error. A long run's first Ctrl-C saves and exits, a \
         second kills. Exit codes: 0 done, 1 the answer is no, 2 it could not be done. `NO_COLOR` is respected. A `MODEL` \
         is the path of a Hugging Face style folder or of a `.gguf` file.\n",
    );
    for command in root.get_subcommands().filter(|command| command.get_name() != "help") {
        add_command(&mut page, command, "tsumugi");
    }
    page
}

fn add_command(page: &mut String, command: &Command, parent: &str) {
    let name = format!("{parent} {}", command.get_name());
    if command.has_subcommands() {
        page.push_str(&format!("\n## `{name}`\n\n{}\n", sentence(command.get_about())));
        for child in command.get_subcommands() {
            add_command(page, child, &name);
        }
        return;
    }
    page.push_str(&format!("\n## `{name}`\n\n{}\n", sentence(command.get_long_about().or(command.get_about()))));
    let usage = command.clone().render_usage().to_string();
    page.push_str(&format!("\n```text\n{}\n```\n\n", usage.trim_start_matches("Usage: ")));
    for arg in command.get_arguments().filter(|arg| !["help", "version"].contains(&arg.get_id().as_str())) {
        page.push_str(&argument(arg));
    }
    if let Some(examples) = command.get_after_help() {
        let lines: Vec<String> = examples.to_string().lines().skip(1).map(|line| line.trim().to_owned()).collect();
        page.push_str(&format!("\n```sh\n{}\n```\n", lines.join("\n")));
    }
}

/// The text ends with a full stop: clap takes it away from the first paragraph.
fn sentence(text: Option<&StyledStr>) -> String {
    let text = text.map(StyledStr::to_string).unwrap_or_default();
    let mut paragraphs: Vec<String> = text.split("\n\n").map(|paragraph| paragraph.trim().to_owned()).collect();
    for paragraph in paragraphs.iter_mut().filter(|paragraph| !paragraph.ends_with('.')) {
        paragraph.push('.');
    }
    paragraphs.join("\n\n")
}

fn argument(arg: &Arg) -> String {
    let value = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    let takes_value = arg.get_action().takes_values();
    let may_be_bare = arg.get_num_args().is_some_and(|count| takes_value && count.min_values() == 0);
    let name = match (arg.get_long(), value) {
        (Some(long), Some(value)) if may_be_bare => format!("--{long}[={value}]"),
        (Some(long), Some(value)) if takes_value => format!("--{long} {value}"),
        (Some(long), _) => format!("--{long}"),
        (None, value) => value.unwrap_or_else(|| arg.get_id().to_string().to_uppercase()),
    };
    let short = arg.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
    let mut line = format!("- {short}`{name}`: {}", arg.get_help().map(StyledStr::to_string).unwrap_or_default());
    let values: Vec<PossibleValue> = if takes_value { arg.get_possible_values() } else { Vec::new() };
    if !values.is_empty() {
        let list: Vec<String> = values
            .iter()
            .map(|value| match value.get_help() {
                Some(help) => format!("`{}` ({help})", value.get_name()),
                None => format!("`{}`", value.get_name()),
            })
            .collect();
        line.push_str(&format!("; one of {}", list.join(", ")));
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if takes_value && !defaults.is_empty() {
        line.push_str(&format!(" [default: {}]", defaults.join(" ")));
    }
    if let Some(variable) = arg.get_env() {
        line.push_str(&format!(" [environment: `{}`]", variable.to_string_lossy()));
    }
    line.push('\n');
    line
}
