//! What archives have in common: paths that lead out, and members that unpack to very much.

use crate::context::Scan;
use crate::rules;

/// Tells a name that leads out of the folder in which an archive is unpacked.
pub fn check_path(name: &str, offset: usize, scan: &mut Scan<'_>) {
    if leads_out(name) {
        let message = format!("member `{}` leads out of the folder", shown(name));
        scan.find(&rules::ARCHIVE_PATH, Some(offset), name, message);
    }
}

/// Tells a symbolic link whose target, which counts from the link's own folder, leads out.
pub fn check_link(name: &str, target: &str, offset: usize, scan: &mut Scan<'_>) {
    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
    let from_root = if target.starts_with('/') || folder.is_empty() { target } else { &format!("{folder}/{target}") };
    if leads_out(from_root) {
        let message = format!("link `{}` leads to `{}`", shown(name), shown(target));
        scan.find(&rules::ARCHIVE_PATH, Some(offset), name, message);
    }
}

/// Whether a path is absolute or climbs above its beginning.
pub fn leads_out(path: &str) -> bool {
    let has_drive = path.as_bytes().get(1) == Some(&b':') && path.as_bytes()[0].is_ascii_alphabetic();
    if has_drive || path.starts_with(['/', '\\']) {
        return true;
    }
    let mut depth = 0i64;
    path.split(['/', '\\']).any(|part| {
        depth += match part {
            ".." => -1,
            "" | "." => 0,
            _ => 1,
        };
        depth < 0
    })
}

/// Tells a member that unpacks to very much more than it is.
pub fn check_ratio(name: &str, packed: usize, unpacked: usize, scan: &mut Scan<'_>) {
    const UNPACKED_BYTES: usize = 64 << 20;
    const RATIO: usize = 200;
    if unpacked > UNPACKED_BYTES && unpacked / RATIO > packed {
        let message = format!("`{}` unpacks from {packed} to {unpacked} bytes", shown(name));
        scan.find(&rules::ARCHIVE_BOMB, None, name, message);
    }
}

/// A name for a message.
pub fn shown(name: &str) -> String {
    const SHOWN: usize = 120;
    name.chars().take(SHOWN).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_out() {
        for path in ["/etc/passwd", "../a", "a/../../b", "C:\\a", "\\a", "a\\..\\..\\b"] {
            assert!(leads_out(path), "{path}");
        }
        for path in ["a/b", "a/../b", "./a", "..a", "a..b/c"] {
            assert!(!leads_out(path), "{path}");
        }
    }
}
