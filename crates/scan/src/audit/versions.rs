//! Versions of a Python package, as requirements (PEP 440, PEP 508), environments of conda, Poetry, lock files and tags of
//! images name them: which versions such a text allows at all.

use std::fmt;

/// A version. A pre-release (`2.9.2rc1`, `2.9.2.dev0`) comes before its release; one of `.post1` or `+local` is it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    numbers: [u64; 3],
    is_release: bool,
}

impl Version {
    /// A release.
    pub const fn new(major: u64, minor: u64, patch: u64) -> Self {
        Self { numbers: [major, minor, patch], is_release: true }
    }

    /// The version of a text's beginning, and how many numbers it has: at least one.
    fn read(text: &str) -> Option<(Self, usize, &str)> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let mut numbers = Vec::new();
        let mut rest = text;
        loop {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            numbers.push(rest[..end].parse().ok()?);
            rest = &rest[end..];
            match rest.strip_prefix('.') {
                Some(more) if more.starts_with(|c: char| c.is_ascii_digit()) => rest = more,
                _ => break,
            }
        }
        let place = |at: usize| numbers.get(at).copied().unwrap_or_default();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '-' | '_' | '+' | '*'));
        let (suffix, rest) = rest.split_at(end.unwrap_or(rest.len()));
        let suffix_bare = suffix.trim_start_matches(['.', '-', '_']).to_ascii_lowercase();
        let is_early = ["a", "b", "c", "rc", "dev", "pre"].iter().any(|mark| {
            let number = suffix_bare.strip_prefix(mark);
            number.is_some_and(|number| !number.starts_with(|c: char| c.is_ascii_alphabetic()))
        }) || ["alpha", "beta", "preview"].iter().any(|mark| suffix_bare.starts_with(mark));
        let version = Self { numbers: [place(0), place(1), place(2)], is_release: !is_early };
        // What is no suffix of a version (`=py39_0`, `.*`) is the caller's.
        let rest = if suffix == ".*" { &text[text.len() - rest.len() - 2..] } else { rest };
        Some((version, numbers.len(), rest))
    }

    /// The first version that does not begin with this one's first `count` numbers.
    fn after(self, count: usize) -> Self {
        let mut numbers = [0; 3];
        numbers[..count].copy_from_slice(&self.numbers[..count]);
        numbers[count - 1] = numbers[count - 1].saturating_add(1);
        Self { numbers, is_release: true }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}{}", if self.is_release { "" } else { " (a pre-release)" })
    }
}

/// The highest version that is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Highest {
    /// This one.
    Is(Version),
    /// All before it.
    Before(Version),
}

/// What a text says of a package's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requirement<'t> {
    /// The text of it: `mlflow>=2,<3`.
    pub text: &'t str,
    /// Where it stands.
    pub offset: usize,
    /// No version before it is allowed; the first of all if nothing is said.
    pub lowest: Version,
    /// None if any later one is allowed.
    pub highest: Option<Highest>,
}

impl Requirement<'_> {
    /// The version, if there is but one.
    pub fn exact(&self) -> Option<Version> {
        matches!(self.highest, Some(Highest::Is(highest)) if highest == self.lowest).then_some(self.lowest)
    }

    /// Whether every version that is allowed is before that one.
    pub fn is_before(&self, fixed: Version) -> bool {
        match self.highest {
            Some(Highest::Is(highest)) => highest < fixed,
            Some(Highest::Before(bound)) => bound <= fixed,
            None => false,
        }
    }

    fn narrow(&mut self, lowest: Option<Version>, highest: Option<Highest>) {
        self.lowest = self.lowest.max(lowest.unwrap_or(self.lowest));
        // `Is` comes after all that is `Before` the same version.
        let key = |highest: Highest| match highest {
            Highest::Before(version) => (version, false),
            Highest::Is(version) => (version, true),
        };
        self.highest = match (self.highest, highest) {
            (Some(old), Some(new)) => Some(if key(new) < key(old) { new } else { old }),
            (old, new) => old.or(new),
        };
    }
}

/// Every place where the package, or its `-skinny`, is named with a version; comments are left out.
pub fn requirements<'t>(text: &'t str, package: &str) -> Vec<Requirement<'t>> {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let places = text.match_indices(package).filter(|(at, _)| {
        let line = &text[text[..*at].rfind('\n').map_or(0, |end| end + 1)..*at];
        let is_comment = line.trim_start().starts_with(['#', ';']) || line.contains(" #") || line.contains("\t#");
        !is_comment && !line.ends_with(is_name)
    });
    places.filter_map(|(at, _)| requirement(text, at, package.len())).collect()
}

fn requirement(text: &str, at: usize, name_len: usize) -> Option<Requirement<'_>> {
    let mut rest = &text[at + name_len..];
    rest = rest.strip_prefix("-skinny").unwrap_or(rest);
    if let Some(extras) = rest.strip_prefix('[') {
        rest = extras.split_once(']')?.1;
    }
    let none = Requirement { text: "", offset: at, lowest: Version::new(0, 0, 0), highest: None };
    let done = |found: Requirement<'static>, rest: &str| Requirement {
        text: text[at..text.len() - rest.len()].trim_end(),
        ..found
    };
    let only = |number: &str| {
        let (version, count, left) = Version::read(number)?;
        let found = Requirement { lowest: version, highest: Some(Highest::Is(version)), ..none };
        (count > 1).then(|| (found, text.len() - left.len()))
    };
    // The next line of a lock file; a tag of an image, where one number is a port.
    if let Some(number) = locked(rest).or_else(|| rest.strip_prefix(':')) {
        let (found, end) = only(number)?;
        return Some(done(found, &text[end..]));
    }
    // Poetry's and Pipfile's `mlflow = "…"`, where a version without a sign is that one; the same in a table.
    if let Some(value) = in_braces(rest).or_else(|| assigned(rest)) {
        if let Some((found, end)) = only(value) {
            return Some(done(found, &text[end..]));
        }
        if let Some(left) = value.strip_prefix('*') {
            return Some(done(none, left));
        }
        rest = value;
    }
    let (mut found, mut is_there) = (none, false);
    while let Some(left) = clause(rest, &mut found) {
        is_there = true;
        rest = left;
        match left.trim_start_matches([' ', '\t']).strip_prefix(',') {
            Some(more) => rest = more,
            None => break,
        }
    }
    is_there.then(|| done(found, rest))
}

/// The number of `"` line end `version = "2.9.0"`.
fn locked(rest: &str) -> Option<&str> {
    let line = rest.strip_prefix('"')?.trim_start();
    line.strip_prefix("version")?.trim_start().strip_prefix('=')?.trim_start().strip_prefix('"')
}

/// What stands in the quotes of ` = "…"`.
fn assigned(rest: &str) -> Option<&str> {
    let value = rest.trim_start_matches([' ', '\t']).strip_prefix('=')?.trim_start_matches([' ', '\t']);
    value.strip_prefix(['"', '\''])
}

/// What stands in the quotes of the version in ` = {version = "…"}` (Poetry, Pipfile) and `": {"version": "…"}`
/// (`Pipfile.lock`).
fn in_braces(rest: &str) -> Option<&str> {
    let table = rest.strip_prefix('"').unwrap_or(rest).trim_start().strip_prefix([':', '='])?.trim_start();
    let table = table.strip_prefix('{')?;
    let end = table.find('}')?;
    table[..end].match_indices("version").find_map(|(at, key)| {
        let is_whole = !table[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
        let after = table[at + key.len()..].trim_start_matches('"').trim_start();
        let value = after.strip_prefix([':', '='])?.trim_start().strip_prefix(['"', '\''])?;
        is_whole.then_some(value)
    })
}

/// Takes one clause (`>=2.0`) into account; what stands behind it.
fn clause<'t>(text: &'t str, found: &mut Requirement<'_>) -> Option<&'t str> {
    let text = text.trim_start_matches([' ', '\t', '(']);
    let signs = ["===", "==", "~=", "!=", "<=", ">=", "<", ">", "=", "^", "~"];
    let sign = signs.into_iter().find(|sign| text.starts_with(sign))?;
    let (version, count, rest) = Version::read(text[sign.len()..].trim_start_matches([' ', '\t']))?;
    let wild = rest.strip_prefix(".*");
    let rest = wild.unwrap_or(rest);
    let count = count.min(3);
    let before = |count: usize| Some(Highest::Before(version.after(count)));
    let (lowest, highest) = match sign {
        "!=" => (None, None),
        "==" | "===" if wild.is_none() => (Some(version), Some(Highest::Is(version))),
        // Of conda's `=2.9` or `=2.9.0` every version begins so.
        "==" | "===" => (Some(version), before(count)),
        "=" if count == 3 => (Some(version), Some(Highest::Is(version))),
        "=" => (Some(version), before(count)),
        "~=" if count > 1 => (Some(version), before(count - 1)),
        "~" => (Some(version), before(count.min(2))),
        "^" if version.numbers[0] > 0 => (Some(version), before(1)),
        ">=" | ">" | "~=" | "^" => (Some(version), None),
        "<=" => (None, Some(Highest::Is(version))),
        _ => (None, Some(Highest::Before(version))),
    };
    found.narrow(lowest, highest);
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<(String, Option<String>)> {
        let found = requirements(text, "mlflow");
        assert!(found.len() < 2, "{text}: {found:?}");
        let shown = |highest: Highest| match highest {
            Highest::Is(version) => version.to_string(),
            Highest::Before(version) => format!("<{version}"),
        };
        found.first().map(|found| (found.lowest.to_string(), found.highest.map(shown)))
    }

    #[test]
    fn every_sign_says_what_it_allows() {
        for (text, lowest, highest) in [
            ("mlflow==2.9.2", "2.9.2", "2.9.2"),
            ("mlflow === 2.9.2", "2.9.2", "2.9.2"),
            ("mlflow[auth]==2.9 # x", "2.9.0", "2.9.0"),
            ("mlflow==2.9.*", "2.9.0", "<2.10.0"),
            ("mlflow==2.9.2rc1", "2.9.2 (a pre-release)", "2.9.2 (a pre-release)"),
            ("mlflow==2.9.2.dev0", "2.9.2 (a pre-release)", "2.9.2 (a pre-release)"),
            ("mlflow==2.9.2.post1+cuda", "2.9.2", "2.9.2"),
            ("  - mlflow=2.9.2=py39_0", "2.9.2", "2.9.2"),
            ("  - conda-forge::mlflow=2.9", "2.9.0", "<2.10.0"),
            ("mlflow~=2.9.2", "2.9.2", "<2.10.0"),
            ("mlflow ~= 2.9", "2.9.0", "<3.0.0"),
            ("mlflow = \"^2.9.2\"", "2.9.2", "<3.0.0"),
            ("mlflow = \"~2.9.2\"", "2.9.2", "<2.10.0"),
            ("mlflow = \"2.9.2\"", "2.9.2", "2.9.2"),
            ("mlflow = '==2.9.2'", "2.9.2", "2.9.2"),
            ("mlflow<=2.9.2", "0.0.0", "2.9.2"),
            ("mlflow<3", "0.0.0", "<3.0.0"),
            ("\"mlflow>=2.0, <3,<2.5,!=2.3\"", "2.0.0", "<2.5.0"),
            ("mlflow (>=2.0,<=2.5)", "2.0.0", "2.5.0"),
            ("image: ghcr.io/mlflow/mlflow:v2.9.2-full", "2.9.2", "2.9.2"),
            ("name = \"mlflow\"\nversion = \"2.9.2\"\n", "2.9.2", "2.9.2"),
            ("name = \"mlflow\"\r\nversion = \"2.9.2\"\r\n", "2.9.2", "2.9.2"),
            ("mlflow-skinny==2.9.2\r\n", "2.9.2", "2.9.2"),
            ("mlflow = {version = \"2.9.2\", extras = [\"auth\"]}", "2.9.2", "2.9.2"),
            ("mlflow = { python_version = '3', version = '~=2.9.2' }", "2.9.2", "<2.10.0"),
            ("\"mlflow\": {\n  \"hashes\": [\"sha256:ab\"],\n  \"version\": \"==2.9.2\"\n}", "2.9.2", "2.9.2"),
        ] {
            assert_eq!(of(text), Some((lowest.to_owned(), Some(highest.to_owned()))), "{text}");
        }
        for (text, lowest) in [("mlflow>=2.9.2", "2.9.2"), ("mlflow!=2.9.2", "0.0.0"), ("mlflow = \"*\"", "0.0.0")] {
            assert_eq!(of(text), Some((lowest.to_owned(), None)), "{text}");
        }
    }

    #[test]
    fn what_is_no_version_of_the_package_is_left_alone() {
        for text in [
            "azureml-mlflow==1.48.0",
            "kedro_mlflow==0.11.0",
            "my.mlflow==1.0",
            "mlflow-export-import==1.2.0",
            "mlflow2==1.0",
            "# mlflow==2.0.0",
            "boto3==1.0 # mlflow==2.0.0",
            "; mlflow==2.0.0",
            "http://mlflow:5000/",
            "mlflow = true",
            "mlflow = {git = 'x', python_version = '2.9.2'}",
            "mlflow = {path = 'x'}\nversion = '2.9.2'",
            "mlflow server",
            "mlflow==",
            "mlflow[auth",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
        let found = requirements("x\nmlflow>=2.0,<3 ; python_version > '3'", "mlflow");
        assert_eq!((found[0].text, found[0].offset), ("mlflow>=2.0,<3", 2));
    }

    #[test]
    fn pre_releases_come_before_their_release() {
        let version = |text: &str| Version::read(text).unwrap().0;
        for early in ["2.9.2rc1", "2.9.2a1", "2.9.2b2", "2.9.2.dev0", "2.9.2-rc1", "2.9.2.alpha"] {
            assert!(version("2.9.1") < version(early) && version(early) < version("2.9.2"), "{early}");
        }
        assert_eq!(version("2.9.2.post1"), version("2.9.2"));
        assert_eq!(version("2.9.2-full"), version("2.9.2"));
        assert!(version("2.9.2") < version("2.10.0"));
    }
}
