//! Keys and tokens by the shapes that their issuers gave them, so that they can be found.

use memchr::memmem;

use crate::context::Scan;
use crate::rules;

/// What it begins with, how many letters and digits follow at least, what it is.
const SHAPES: &[(&str, usize, &str)] = &[
    ("AKIA", 16, "an AWS access key"),
    ("ghp_", 36, "a GitHub token"),
    ("github_pat_", 40, "a GitHub token"),
    ("hf_", 34, "a Hugging Face token"),
    ("xoxb-", 24, "a Slack token"),
    ("sk-proj-", 40, "an OpenAI key"),
    ("sk-ant-", 40, "an Anthropic key"),
    ("AIza", 35, "a Google key"),
];

/// Files that are searched; weights are not.
const BYTES_MAX: usize = 16 << 20;

/// Tells the keys in a text. They are not repeated in the report.
pub fn look(text: &[u8], scan: &mut Scan<'_>) {
    if text.len() > BYTES_MAX {
        return;
    }
    for (start, letters, what) in SHAPES {
        let is_key = |at: &usize| {
            let before = at.checked_sub(1).map(|before| text[before]);
            let rest = &text[at + start.len()..];
            let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(byte)).count();
            // A word of one letter again and again is a place to fill in.
            let is_varied = rest[..length].iter().any(|byte| *byte != rest[0]);
            length >= *letters && is_varied && !before.is_some_and(|byte| byte.is_ascii_alphanumeric())
        };
        if let Some(at) = memmem::find_iter(text, start.as_bytes()).find(is_key) {
            scan.find(&rules::SECRET, Some(at), what, format!("it holds what looks like {what}"));
        }
    }
    for kind in ["", "RSA ", "EC ", "OPENSSH "] {
        if let Some(at) = memmem::find(text, format!("-----BEGIN {kind}PRIVATE KEY-----").as_bytes()) {
            scan.find(&rules::SECRET, Some(at), "private key", "it holds a private key");
        }
    }
}
