//! Licences as CycloneDX has them.

use serde_json::{Value, json};

/// The licences of the hub that SPDX names, by SPDX's spelling.
const SPDX: [&str; 24] = [
    "AFL-3.0",
    "AGPL-3.0",
    "Apache-2.0",
    "Artistic-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC-BY-2.0",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC-BY-NC-4.0",
    "CC-BY-NC-ND-4.0",
    "CC-BY-NC-SA-4.0",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "EUPL-1.2",
    "GPL-2.0",
    "GPL-3.0",
    "ISC",
    "LGPL-3.0",
    "MIT",
    "MPL-2.0",
    "Unlicense",
    "WTFPL",
];

/// A licence as CycloneDX has it: SPDX's identifier, else the name as it is written.
pub fn licence(name: &str) -> Value {
    match SPDX.iter().find(|id| id.eq_ignore_ascii_case(name)) {
        Some(id) => json!({"license": {"id": id}}),
        None => json!({"license": {"name": name}}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_that_spdx_names() {
        assert_eq!(licence("apache-2.0"), json!({"license": {"id": "Apache-2.0"}}));
        assert_eq!(licence("llama3.2"), json!({"license": {"name": "llama3.2"}}));
    }
}
