//! Keys and tokens by the shapes that their issuers gave them, so that they can be found.

use memchr::memmem;

use crate::context::{Reach, Scan};
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

/// Texts that are searched as a whole.
const BYTES_MAX: usize = 16 << 20;

/// Tells the keys in a text. They are not repeated in the report.
pub fn look(text: &[u8], scan: &mut Scan<'_>) {
    if text.len() <= BYTES_MAX && scan.limits.reach != Reach::Load {
        look_at(text, 0, scan);
    }
}

/// Tells the keys in a part of a file that begins at `start`; those of a kind once.
pub fn look_at(text: &[u8], start: usize, scan: &mut Scan<'_>) {
    for (head, letters, what) in SHAPES {
        let is_key = |at: &usize| {
            let before = at.checked_sub(1).map(|before| text[before]);
            let rest = &text[at + head.len()..];
            let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(byte)).count();
            // A word of one letter again and again is a place to fill in.
            let is_varied = rest[..length].iter().any(|byte| *byte != rest[0]);
            length >= *letters && is_varied && !before.is_some_and(|byte| byte.is_ascii_alphanumeric())
        };
        let found = memmem::find_iter(text, head.as_bytes()).find(is_key);
        tell(found, start, what, scan);
    }
    const PRIVATE_KEYS: [&str; 4] = ["", "RSA ", "EC ", "OPENSSH "];
    let found = memmem::find_iter(text, b"-----BEGIN ").find(|at| {
        let rest = &text[at + "-----BEGIN ".len()..];
        PRIVATE_KEYS.iter().any(|kind| rest.starts_with(format!("{kind}PRIVATE KEY-----").as_bytes()))
    });
    tell(found, start, "a private key", scan);
}

fn tell(found: Option<usize>, start: usize, what: &str, scan: &mut Scan<'_>) {
    if let Some(at) = found.filter(|_| !scan.has_found(&rules::SECRET, what)) {
        scan.find(&rules::SECRET, Some(start + at), what, format!("it holds what looks like {what}"));
    }
}
