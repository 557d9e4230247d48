//! Data in the repository: small, and each file listed with where it comes from. Every clone carries it for ever.

use super::tree::{File, Finding, Tree};

const FIXTURE_BYTES_MAX: u64 = 64 << 10;
/// For anything else; excepted are texts that a command ships (`data/` at the root, `assets/`) and pictures.
const FILE_BYTES_MAX: u64 = 512 << 10;

pub fn check(tree: &Tree) -> Vec<Finding> {
    tree.files.iter().filter_map(|file| check_file(tree, file)).collect()
}

fn check_file(tree: &Tree, file: &File) -> Option<Finding> {
    let inside = |folder: &str| file.folder().split('/').any(|part| part == folder);
    let size = file.size_bytes;
    if inside("fixtures") && size > FIXTURE_BYTES_MAX {
        return Some(file.finding(0, format!("a fixture of {size} bytes, at most {FIXTURE_BYTES_MAX}")));
    }
    let is_shipped = inside("assets") || file.path.starts_with("data/");
    if (inside("fixtures") || is_shipped) && !is_listed(tree, file) {
        return Some(file.finding(0, "not listed with an `Origin` in a README.md beside or above it"));
    }
    let may_be_large = is_shipped || inside("images") || file.name() == "Cargo.lock";
    (size > FILE_BYTES_MAX && !may_be_large)
        .then(|| file.finding(0, format!("{size} bytes, at most {FILE_BYTES_MAX} outside data/ and assets/")))
}

/// Whether a README.md in a folder above, up to the fixtures folder, says `Origin` and names the file or its folder.
fn is_listed(tree: &Tree, file: &File) -> bool {
    if matches!(file.name(), "README.md" | "LICENSE") {
        return true;
    }
    let mut folder = file.folder();
    let mut name = file.name();
    loop {
        let readme = tree.text(&format!("{folder}/README.md")).unwrap_or_default();
        if readme.contains("Origin") && readme.contains(name) {
            return true;
        }
        let (above, last) = folder.rsplit_once('/').unwrap_or(("", folder));
        if matches!(last, "fixtures" | "assets" | "data" | "") {
            return false;
        }
        (folder, name) = (above, last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_fixture_is_found() {
        let large = "x".repeat(65_537);
        let tree = Tree::of(&[("a/fixtures/README.md", "Origin: ours. big.txt"), ("a/fixtures/big.txt", &large)]);
        assert_eq!(check(&tree).len(), 1);
    }

    #[test]
    fn an_unlisted_fixture_is_found() {
        let readme = ("a/fixtures/gpt2/README.md", "Origin: ours. `config.json`");
        let tree = Tree::of(&[readme, ("a/fixtures/gpt2/config.json", "{}"), ("a/fixtures/gpt2/other.json", "{}")]);
        let found: Vec<_> = check(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            ["a/fixtures/gpt2/other.json: not listed with an `Origin` in a README.md beside or above it"]
        );
    }

    #[test]
    fn a_folder_may_be_listed_as_a_whole() {
        let tree =
            Tree::of(&[("a/fixtures/README.md", "Origin: ours. `gpt2/`"), ("a/fixtures/gpt2/config.json", "{}")]);
        assert_eq!(check(&tree), []);
    }

    #[test]
    fn a_large_file_belongs_into_assets_or_data() {
        let large = "x".repeat(600 << 10);
        assert_eq!(check(&Tree::of(&[("data/README.md", "Origin: `a/b.txt`"), ("data/a/b.txt", &large)])), []);
        assert_eq!(check(&Tree::of(&[("data/a/b.txt", &large)])).len(), 1);
        assert_eq!(check(&Tree::of(&[("a/src/big.txt", &large)])).len(), 1);
        assert_eq!(check(&Tree::of(&[("a/assets/README.md", "Origin: big.txt"), ("a/assets/big.txt", &large)])), []);
    }
}
