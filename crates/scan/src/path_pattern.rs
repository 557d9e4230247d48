//! Paths with wildcards, in time that grows with pattern times path: a policy cannot make a scan stand still.

use std::path::Path;

/// A path with wildcards: `*` and `?` for letters of a name, `**` for any folders; whole if it begins with `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    is_whole: bool,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// `**`.
    Folders,
    Name(Vec<char>),
}

impl PathPattern {
    /// The pattern that a text states, or what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let names = text.split('/').filter(|name| !matches!(*name, "" | "."));
        let parts = names.map(|name| match name {
            "**" => Ok(Part::Folders),
            _ if name.contains("**") => {
                Err(format!("the path `{text}`: `**` stands for folders, alone between two `/`"))
            }
            _ => Ok(Part::Name(name.chars().collect())),
        });
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        if parts.is_empty() {
            return Err(format!("`{text}` names no path"));
        }
        Ok(Self { is_whole: text.starts_with('/'), parts })
    }

    /// Whether it names the path or a folder that it is in, at any depth unless it is whole.
    pub fn covers(&self, whole: &Path) -> bool {
        let end = self.parts.len();
        // Which beginnings of the pattern what was read of the path can be.
        let mut reached = vec![false; end + 1];
        reached[0] = true;
        self.pass_folders(&mut reached);
        for name in whole.components().filter(|part| !matches!(part, std::path::Component::RootDir)) {
            let name: Vec<char> = name.as_os_str().to_string_lossy().chars().collect();
            let mut next = vec![false; end + 1];
            next[0] = !self.is_whole;
            for (at, part) in self.parts.iter().enumerate().filter(|(at, _)| reached[*at]) {
                match part {
                    Part::Folders => next[at] = true,
                    Part::Name(pattern) => next[at + 1] |= matches_name(pattern, &name),
                }
            }
            reached = next;
            self.pass_folders(&mut reached);
            if reached[end] {
                return true;
            }
        }
        false
    }

    /// `**` may stand for no folder.
    fn pass_folders(&self, reached: &mut [bool]) {
        for (at, part) in self.parts.iter().enumerate() {
            reached[at + 1] |= reached[at] && *part == Part::Folders;
        }
    }
}

/// Whether a name is one of the pattern's: where letters do not fit, the last `*` takes one more.
fn matches_name(pattern: &[char], name: &[char]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while read < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at + 1, read));
                at += 1;
            }
            Some(&letter) if letter == '?' || letter == name[read] => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((after, taken)) = star else { return false };
                star = Some((after, taken + 1));
                (at, read) = (after, taken + 1);
            }
        }
    }
    pattern[at..].iter().all(|&letter| letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, path: &str) -> bool {
        PathPattern::parse(pattern).expect("it is one").covers(Path::new(path))
    }

    /// The same by trying everything.
    fn covers_plainly(pattern: &str, path: &str) -> bool {
        fn names(pattern: &[u8], name: &[u8]) -> bool {
            match (pattern.first(), name.first()) {
                (None, _) => name.is_empty(),
                (Some(b'*'), _) => names(&pattern[1..], name) || !name.is_empty() && names(pattern, &name[1..]),
                (Some(letter), Some(other)) => (letter == other || *letter == b'?') && names(&pattern[1..], &name[1..]),
                (Some(_), None) => false,
            }
        }
        fn begins(pattern: &[&str], path: &[&str]) -> bool {
            match (pattern.first(), path.first()) {
                (None, _) => true,
                (Some(&"**"), None) => begins(&pattern[1..], path),
                (Some(&"**"), Some(_)) => begins(&pattern[1..], path) || begins(pattern, &path[1..]),
                (Some(part), Some(name)) => {
                    names(part.as_bytes(), name.as_bytes()) && begins(&pattern[1..], &path[1..])
                }
                (Some(_), None) => false,
            }
        }
        let wanted: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
        let whole: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let starts = if pattern.starts_with('/') { 0..1 } else { 0..whole.len() };
        starts.into_iter().any(|start| begins(&wanted, &whole[start..]))
    }

    #[test]
    fn it_is_what_trying_everything_says() {
        let names = ["a", "b", "ab", "*", "a*", "*b", "?", "a?", "**"];
        let paths = ["/a", "/b/a", "/ab/a/b", "/a/b/ab", "/b/b/b/a", "/abab/ab"];
        let mut patterns: Vec<String> = names.map(str::to_owned).to_vec();
        for first in names {
            patterns.extend(names.map(|second| format!("{first}/{second}")));
            patterns.extend(names.map(|second| format!("/{first}/**/{second}")));
        }
        for pattern in &patterns {
            for path in paths {
                assert_eq!(covers(pattern, path), covers_plainly(pattern, path), "{pattern} {path}");
            }
        }
    }

    /// Trying everything would take longer than the world is old.
    #[test]
    fn many_wildcards_take_no_time() {
        let path = format!("/{}", "a/".repeat(200));
        assert!(!covers(&format!("{}b", "**/a/".repeat(60)), &path));
        assert!(!covers(&format!("{}b", "*a".repeat(100)), &format!("/{}", "a".repeat(250))));
        assert!(covers(&format!("{}*", "*a".repeat(100)), &format!("/{}", "a".repeat(250))));
    }

    #[test]
    fn what_is_no_pattern_is_said() {
        for (text, problem) in [("a**b", "`**` stands for folders"), ("/", "names no path"), ("", "names no path")] {
            assert!(PathPattern::parse(text).expect_err(text).contains(problem), "{text}");
        }
    }
}
