//! Which index: what `pip config list` says, from pip's files and variables. Later ones win: the machine's files, the
//! user's, the virtual environment's, `PIP_CONFIG_FILE`, then `PIP_INDEX_URL` and its like.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tsumugi_base::io::read_limited;
use tsumugi_base::limits::PIP_CONFIGURATION_BYTES_MAX;

use crate::error::HubError;
use crate::settings::{IndexSettings, Variables, is_true, parse_url};

const DEFAULT_INDEX: &str = "https://pypi.org/simple";
/// Options that matter here, with where each was set.
const KEYS: [&str; 3] = ["index-url", "extra-index-url", "no-index"];
/// Sections of a file, the stronger one last.
const SECTIONS: [&str; 2] = ["global", "download"];

/// Reads them all.
pub(crate) fn read(variables: Variables<'_>, home: Option<&Path>) -> Result<IndexSettings, HubError> {
    let mut options: BTreeMap<&str, (String, String)> = BTreeMap::new();
    let files = files(variables, home);
    for section in SECTIONS {
        for file in &files {
            // Like pip: a file that is not there, or that this user may not read, sets nothing.
            let Ok(bytes) = read_limited(file, PIP_CONFIGURATION_BYTES_MAX) else { continue };
            for (key, value) in options_of(&String::from_utf8_lossy(&bytes), section) {
                options.insert(key, (format!("{} in {}", key, file.display()), value));
            }
        }
    }
    for key in KEYS {
        let variable = format!("PIP_{}", key.to_ascii_uppercase().replace('-', "_"));
        if let Some(value) = variables(&variable) {
            options.insert(key, (variable, value));
        }
    }
    let mut urls = Vec::new();
    let default = (String::from("the default index"), String::from(DEFAULT_INDEX));
    let first = options.get("index-url").unwrap_or(&default);
    for (place, value) in [Some(first), options.get("extra-index-url")].into_iter().flatten() {
        for word in value.split_whitespace() {
            urls.push(parse_url(place, word)?);
        }
    }
    let is_forbidden = options.get("no-index").is_some_and(|(_, value)| is_true(value));
    Ok(IndexSettings { urls, is_forbidden })
}

/// Pip's files, the stronger ones later.
fn files(variables: Variables<'_>, home: Option<&Path>) -> Vec<PathBuf> {
    let named = variables("PIP_CONFIG_FILE").map(PathBuf::from);
    if named.as_deref() == Some(Path::new("/dev/null")) {
        return Vec::new(); // pip's way to say: no files
    }
    let machine = variables("XDG_CONFIG_DIRS").unwrap_or_else(|| "/etc/xdg".into());
    let mut files: Vec<PathBuf> =
        machine.split(':').rev().map(|folder| Path::new(folder).join("pip/pip.conf")).collect();
    files.push("/etc/pip.conf".into());
    let at_home = |path: &str| home.map(|home| home.join(path));
    files.extend(variables("APPDATA").map(|folder| Path::new(&folder).join("pip/pip.ini")));
    files.extend(at_home(".pip/pip.conf"));
    files.extend(at_home("Library/Application Support/pip/pip.conf"));
    let configuration = variables("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| at_home(".config"));
    files.extend(configuration.map(|folder| folder.join("pip/pip.conf")));
    files.extend(variables("VIRTUAL_ENV").map(|folder| Path::new(&folder).join("pip.conf")));
    files.extend(named);
    files
}

/// The options of one section that matter here: `key = value` or `key: value`, where indented lines go on with a value.
fn options_of(text: &str, section: &str) -> Vec<(&'static str, String)> {
    let mut options: Vec<(&'static str, String)> = Vec::new();
    let (mut is_inside, mut is_open) = (false, false);
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if line.starts_with([' ', '\t']) && is_open {
            if let Some((_, value)) = options.last_mut() {
                value.push(' ');
                value.push_str(trimmed);
            }
            continue;
        }
        is_open = false;
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            is_inside = name == section;
            continue;
        }
        let Some(separator) = trimmed.find(['=', ':']).filter(|_| is_inside) else { continue };
        let key = trimmed[..separator].trim().to_ascii_lowercase().replace('_', "-");
        if let Some(known) = KEYS.iter().find(|known| **known == key) {
            options.push((known, trimmed[separator + 1..].trim().to_owned()));
            is_open = true;
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use tsumugi_base::testing::temporary_folder;

    use super::*;

    #[test]
    fn options_are_those_of_the_section() {
        let text = "[global]\n# index-url = no\nindex_url: https://a/simple/\nextra-index-url =\n  https://b\n\thttps://c\n\
                    timeout = 3\n  0\n[install]\nindex-url=https://d\n[download]\nno-index = true\n";
        let global = options_of(text, "global");
        assert_eq!(
            global,
            [("index-url", "https://a/simple/".into()), ("extra-index-url", " https://b https://c".into())]
        );
        assert_eq!(options_of(text, "download"), [("no-index", "true".into())]);
    }

    fn urls(home: &Path, variables: &[(&str, &str)]) -> Vec<String> {
        let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
        let look_up = |name: &str| variables.get(name).map(|&value| value.to_owned());
        read(&look_up, Some(home)).unwrap().urls.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn variables_are_stronger_than_files_and_files_than_the_default() {
        let folder = temporary_folder();
        let home = folder.path();
        let none = ("PIP_CONFIG_FILE", "/dev/null");
        assert_eq!(urls(home, &[none]), ["https://pypi.org/simple"]);
        std::fs::create_dir_all(home.join(".config/pip")).unwrap();
        std::fs::write(home.join(".config/pip/pip.conf"), "[global]\nindex-url = https://user/simple\n").unwrap();
        assert_eq!(urls(home, &[]), ["https://user/simple"]);
        assert_eq!(urls(home, &[none]), ["https://pypi.org/simple"]);
        let named = home.join("named.conf");
        std::fs::write(&named, "[download]\nindex-url = https://named/simple\nextra-index-url = https://x\n").unwrap();
        let file = ("PIP_CONFIG_FILE", named.to_str().unwrap());
        assert_eq!(urls(home, &[file]), ["https://named/simple", "https://x/"]);
        assert_eq!(urls(home, &[file, ("PIP_INDEX_URL", "https://given")]), ["https://given/", "https://x/"]);
        let wrong = read(&|name| (name == "PIP_INDEX_URL").then(|| "nothing".into()), None).unwrap_err();
        assert!(wrong.to_string().starts_with("PIP_INDEX_URL cannot be used: "), "{wrong}");
    }
}
