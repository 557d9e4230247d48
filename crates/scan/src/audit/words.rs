//! Commands and settings, wherever they are written: scripts, units of systemd, Dockerfiles, compose files, environments.
//!
//! None of these grammars is parsed. A command is its name and what follows on the line, on lines that a backslash joins,
//! and on lines that begin with `-` (options, or items of a YAML list).

/// A word and where it begins.
pub type Word<'t> = (&'t str, usize);

/// What stands after a name in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command<'t> {
    /// Where the program is named.
    pub offset: usize,
    /// What follows the verb.
    arguments: Vec<Word<'t>>,
}

impl<'t> Command<'t> {
    /// The value of `--name VALUE` or `--name=VALUE`, of the first of these names that is there.
    pub fn option(&self, names: &[&str]) -> Option<Word<'t>> {
        names.iter().find_map(|name| {
            self.arguments.iter().enumerate().find_map(|(at, (word, offset))| {
                let rest = word.strip_prefix(name)?;
                match rest.strip_prefix('=') {
                    Some(value) => Some((value.trim_matches(['"', '\'']), offset + word.len() - value.len())),
                    None if rest.is_empty() => self.arguments.get(at + 1).copied(),
                    None => None,
                }
            })
        })
    }
}

/// Every call of `program` with one of the verbs.
pub fn commands<'t>(text: &'t str, program: &str, verbs: &[&str]) -> Vec<Command<'t>> {
    let lines = lines(text);
    let words: Vec<(Word<'t>, usize)> =
        lines.iter().enumerate().flat_map(|(at, line)| line.words.iter().map(move |word| (*word, at))).collect();
    let follows = |before: usize, line: usize| (before..line).all(|line| lines[line].joins || lines[line + 1].is_item);
    let mut commands = Vec::new();
    for (at, pair) in words.windows(2).enumerate() {
        let [((name, offset), line), ((verb, _), verb_line)] = pair else { continue };
        let is_program = name.rsplit('/').next().is_some_and(|name| name == program);
        if !is_program || !verbs.contains(verb) || !follows(*line, *verb_line) {
            continue;
        }
        let mut arguments = Vec::new();
        let mut last = *verb_line;
        for (word, line) in &words[at + 2..] {
            if !follows(last, *line) || matches!(word.0, "&&" | "||" | "|" | ";" | "&") {
                break;
            }
            arguments.push(*word);
            last = *line;
        }
        commands.push(Command { offset: *offset, arguments });
    }
    commands
}

struct Line<'t> {
    words: Vec<Word<'t>>,
    /// A backslash at its end joins the next line.
    joins: bool,
    /// It begins with a dash: an option, or an item of a list.
    is_item: bool,
}

/// The words of each line, without quotes, brackets and commas around them. Comments and lone dashes are no words.
fn lines(text: &str) -> Vec<Line<'_>> {
    let mut start = 0;
    let mut lines = Vec::new();
    for line in text.split_inclusive('\n') {
        let content = line.trim_end();
        let mut words = Vec::new();
        let mut begin = None;
        let is_comment = content.trim_start().starts_with('#');
        for (at, c) in content.char_indices().chain([(content.len(), ' ')]).filter(|_| !is_comment) {
            if !is_gap(content, at, c) {
                begin.get_or_insert(at);
            } else if let Some(from) = begin.take() {
                words.extend(bare(&content[from..at], start + from));
            }
        }
        lines.push(Line { words, joins: content.ends_with('\\'), is_item: content.trim_start().starts_with('-') });
        start += line.len();
    }
    lines
}

/// White space, or the comma between two words in quotes.
fn is_gap(line: &str, at: usize, c: char) -> bool {
    let is_quote = |c: Option<char>| c.is_some_and(|c| c == '"' || c == '\'');
    c.is_whitespace() || c == ',' && is_quote(line[..at].chars().next_back()) && is_quote(line[at + 1..].chars().next())
}

fn bare(word: &str, offset: usize) -> Option<Word<'_>> {
    let around = ['"', '\'', '[', ']', ',', '\\'];
    let inside = word.trim_start_matches(around);
    let offset = offset + word.len() - inside.len();
    let inside = inside.trim_end_matches(around);
    (!inside.is_empty() && inside != "-").then_some((inside, offset))
}

/// The value that `KEY=value`, `KEY: value` or `ENV KEY value` gives to a name; `name` is compared without regard to case.
pub fn setting<'t>(text: &'t str, name: &str) -> Option<Word<'t>> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let line_start = start;
        start += line.len();
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        let lower = line.to_ascii_lowercase();
        for (at, _) in lower.match_indices(&name.to_ascii_lowercase()) {
            let is_part = |c: char| c.is_alphanumeric() || c == '_';
            let rest = &line[at + name.len()..];
            if line[..at].ends_with(is_part) || rest.starts_with(is_part) {
                continue;
            }
            let value = rest.trim_start_matches(['"', '\'']).trim_start();
            let value = match value.strip_prefix(['=', ':']) {
                Some(value) => value,
                // A Dockerfile has no sign between the two; a sentence neither.
                None if line.trim_start().starts_with("ENV ") => value,
                None => continue,
            };
            let value = value.trim_start().trim_start_matches(['"', '\'']);
            let offset = line_start + line.len() - value.len();
            let end = value.find(|c: char| c.is_whitespace() || "\"',}".contains(c)).unwrap_or(value.len());
            if end > 0 {
                return Some((&value[..end], offset));
            }
        }
    }
    None
}

/// Whether a value is written out, and no place that is filled in later (`$KEY`, `{{ key }}`, `<key>`).
pub fn is_literal(value: &str) -> bool {
    !value.is_empty() && !value.starts_with(['$', '{', '<', '%', '!'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host<'t>(text: &'t str) -> Vec<Option<&'t str>> {
        let find = |command: &Command<'t>| command.option(&["--host", "-h"]).map(|(word, _)| word);
        commands(text, "mlflow", &["server", "ui"]).iter().map(find).collect()
    }

    #[test]
    fn commands_are_found_wherever_they_are_written() {
        for text in [
            "mlflow server --port 1 --host 0.0.0.0 && echo --host x",
            "exec /opt/bin/mlflow server \\\n  --port 1 \\\n  --host=0.0.0.0\n",
            "ExecStart=python -m mlflow ui -h 0.0.0.0\n",
            "CMD [\"mlflow\",\"server\",\"--host\",\"0.0.0.0\"]\n",
            "    command: mlflow server --host 0.0.0.0\n    ports:\n      - \"--host\"\n",
            "    command:\n      - mlflow\n      - server\n      - --host\n      - 0.0.0.0\n    ports: []\n",
            "    command: >\n      mlflow server\n      --port 1\n      --host 0.0.0.0\n",
            "    command:\n      - \"mlflow\"\n      - \"server\"\n      - \"--host\"\n      - \"0.0.0.0\"\n",
        ] {
            assert_eq!(host(text), [Some("0.0.0.0")], "{text}");
        }
        assert_eq!(host("mlflow server\nother --host 0.0.0.0"), [None]);
        assert_eq!(host("# mlflow server --host 0.0.0.0\nmlflow run x\nmlflow"), []);
    }

    #[test]
    fn settings_are_found_wherever_they_are_written() {
        for text in
            ["A_KEY=v w", "  a_key: \"v\"", "ENV A_KEY v", "- 'A_KEY=v'", "export A_KEY=\"v\"", "{\"A_KEY\": \"v\"}"]
        {
            assert_eq!(setting(text, "A_KEY").map(|(value, _)| value), Some("v"), "{text}");
        }
        assert_eq!(setting("A_KEY is a key\nMY_A_KEY=v\n# A_KEY=v\nA_KEY_FILE=f\nA_KEY=\n", "A_KEY"), None);
        let (value, offset) = setting("x\nA_KEY = v\n", "A_KEY").unwrap();
        assert_eq!((value, offset), ("v", 10));
    }
}
