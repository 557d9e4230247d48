//! Plain texts: YAML, templates, code, notes.

use super::{Format, json, secrets, template};
use crate::context::{Expectation, Input, Scan};
use crate::pickle;
use crate::rules;

/// Texts.
pub struct Text;

/// Larger ones are corpora, not configurations.
const BYTES_MAX: usize = 64 << 20;

impl Format for Text {
    fn name(&self) -> &'static str {
        "text"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        const HEAD: usize = 1024;
        let head = &input.bytes[..input.bytes.len().min(HEAD)];
        let is_control = |byte: &u8| *byte < 0x20 && !matches!(byte, b'\n' | b'\r' | b'\t' | 0x0C);
        let is_utf8 = match std::str::from_utf8(head) {
            Ok(_) => true,
            Err(error) => error.error_len().is_none(),
        };
        input.expectation == Expectation::File
            && !head.is_empty()
            && is_utf8
            && !head.iter().any(is_control)
            && (!input.has_extension(super::names::MODELS) || is_python_path(input))
            && !json::Json.claims(input)
    }

    fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>) {
        if input.bytes.len() > BYTES_MAX {
            return;
        }
        secrets::look(input.bytes, scan);
        if let Some((severity, what)) = pickle::hidden(input.bytes, &mut pickle::Budget::default())
            && !pickle::may_begin(input.bytes)
        {
            scan.find_as(&rules::NESTED_PICKLE, severity, Some(0), &what, format!("the text is {what}"));
        }
        if is_python_path(input) && String::from_utf8_lossy(input.bytes).lines().any(|line| line.starts_with("import"))
        {
            let message = "Python runs its lines of `import` where it lies among installed packages";
            scan.find(&rules::PYTHON_FILE, Some(0), "pth", message);
        }
        let is_yaml = input.has_extension(&["yaml", "yml"]);
        if is_yaml || input.has_extension(&["jinja", "jinja2", "j2", "template", "tmpl"]) {
            let text = String::from_utf8_lossy(input.bytes);
            if is_yaml {
                yaml(&text, scan);
            }
            template::lint(&text, scan);
        }
    }
}

/// Whether it is a `.pth` file of a Python environment: lines of paths, comments, and imports that Python runs when it starts.
/// No pickle begins so.
pub fn is_python_path(input: &Input<'_>) -> bool {
    const BYTES_MAX: usize = 64 << 10;
    if !input.has_extension(&["pth"]) || input.bytes.len() > BYTES_MAX {
        return false;
    }
    let Ok(text) = std::str::from_utf8(input.bytes) else { return false };
    let is_one = |line: &str| {
        let begins = ["#", "import ", "import\t", "/", "./", "../"].iter().any(|start| line.starts_with(start));
        begins && !line.contains(|c: char| c.is_control() && c != '\t')
    };
    !text.trim().is_empty() && text.lines().all(|line| line.trim().is_empty() || is_one(line))
}

fn yaml(text: &str, scan: &mut Scan<'_>) {
    for tag in ["!!python/", "tag:yaml.org,2002:python/"] {
        if let Some(at) = text.find(tag) {
            scan.find(&rules::UNSAFE_YAML, Some(at), tag, format!("it has the tag `{tag}…`"));
        }
    }
    for line in text.lines() {
        let Some((_, target)) = line.split_once("_target_:").or(line.split_once("_target_\":")) else { continue };
        json::check_target(target.trim().trim_matches(['"', '\'', ',', '}', ' ']), scan);
    }
}

#[cfg(test)]
mod tests {
    use crate::{Limits, Severity, scan_bytes};

    #[test]
    fn paths_of_python_are_no_pickles() {
        let worst = |bytes: &[u8]| scan_bytes(bytes, "a.pth", &Limits::default()).worst();
        let setuptools = "import os; var = 'SETUPTOOLS_USE_DISTUTILS'; enabled = os.environ.get(var, 'local') == 'local'; \
            enabled and __import__('_distutils_hack').add_shim(); ";
        assert_eq!(worst(setuptools.as_bytes()), Some(Severity::Low));
        assert_eq!(worst(b"# ours\n\n/usr/lib/python3/dist-packages\n../src\n"), None);
        assert_eq!(worst(b"cos\nsystem\n(S'true'\ntR."), Some(Severity::Critical));
        assert_eq!(worst(b"cmine\nmake\n(S'true'\ntR."), Some(Severity::Medium));
        assert_eq!(worst(b"version https://git-lfs.github.com/spec/v1\n"), Some(Severity::Medium));
    }
}
