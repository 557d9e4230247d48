//! Secrets: what lets somebody in. Forms as the providers document them; each begins with a fixed prefix.

use std::ops::Range;

use super::begins_word;

/// A provider's key: a prefix, then so many signs.
struct Key {
    prefix: &'static str,
    signs_min: usize,
    signs_max: usize,
    is_sign: fn(u8) -> bool,
}

const fn key(prefix: &'static str, signs_min: usize, signs_max: usize, is_sign: fn(u8) -> bool) -> Key {
    Key { prefix, signs_min, signs_max, is_sign }
}

const KEYS: &[Key] = &[
    // Amazon Web Services: access keys, lasting and temporary.
    key("AKIA", 16, 16, is_upper),
    key("ASIA", 16, 16, is_upper),
    // Google Cloud: API keys, OAuth tokens.
    key("AIza", 35, 35, is_base64url),
    key("ya29.", 20, 2048, is_base64url),
    // GitHub and GitLab.
    key("ghp_", 36, 255, is_alphanumeric),
    key("gho_", 36, 255, is_alphanumeric),
    key("ghu_", 36, 255, is_alphanumeric),
    key("ghs_", 36, 255, is_alphanumeric),
    key("ghr_", 36, 255, is_alphanumeric),
    key("github_pat_", 22, 255, is_base64url),
    key("glpat-", 20, 255, is_base64url),
    // Slack.
    key("xoxb-", 20, 255, is_base64url),
    key("xoxp-", 20, 255, is_base64url),
    key("xoxa-", 20, 255, is_base64url),
    key("xoxr-", 20, 255, is_base64url),
    key("xoxs-", 20, 255, is_base64url),
    // Stripe.
    key("sk_live_", 24, 255, is_alphanumeric),
    key("rk_live_", 24, 255, is_alphanumeric),
    key("sk_test_", 24, 255, is_alphanumeric),
    // Model providers: OpenAI, Anthropic, Hugging Face.
    key("sk-", 40, 255, is_base64url),
    key("hf_", 30, 255, is_alphanumeric),
    // Registries, mail, hosting.
    key("npm_", 36, 36, is_alphanumeric),
    key("pypi-AgEI", 50, 255, is_base64url),
    key("SG.", 60, 255, |byte| is_base64url(byte) || byte == b'.'),
    key("dop_v1_", 64, 64, is_alphanumeric),
];

const KEY_BEGIN: &str = "-----BEGIN ";
const PRIVATE_KEY: &str = "PRIVATE KEY";

/// All secrets, in order.
pub fn secrets(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let bytes = text.as_bytes();
    let mut firsts = [false; 256];
    for first in KEYS.iter().map(|key| key.prefix.as_bytes()[0]).chain(*b"e-:") {
        firsts[usize::from(first)] = true;
    }
    let mut place = 0;
    std::iter::from_fn(move || {
        loop {
            place += bytes[place..].iter().position(|byte| firsts[usize::from(*byte)])?;
            if let Some(found) = secret_at(text, place) {
                place = found.end;
                return Some(found);
            }
            // A password begins behind the signs that announce it.
            place += 1;
        }
    })
}

fn secret_at(text: &str, start: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    match bytes[start] {
        b':' => password_in_address(text, start),
        b'-' => private_key(text, start),
        _ if !begins_word(bytes, start) => None,
        b'e' => web_token(bytes, start),
        _ => provider_key(bytes, start),
    }
}

fn provider_key(bytes: &[u8], start: usize) -> Option<Range<usize>> {
    let rest = &bytes[start..];
    KEYS.iter().find_map(|key| {
        let signs = rest.strip_prefix(key.prefix.as_bytes())?;
        let length = count(signs, key.signs_max + 1, key.is_sign);
        (key.signs_min..=key.signs_max).contains(&length).then(|| start..start + key.prefix.len() + length)
    })
}

/// A longer part is no token.
const TOKEN_PART_BYTES_MAX: usize = 4096;

/// A JSON web token (RFC 7519): three parts in base64, of which the first two are objects.
fn web_token(bytes: &[u8], start: usize) -> Option<Range<usize>> {
    // Where one could begin inside of another, none does: so each sign is looked at once.
    if start > 0 && (is_base64url(bytes[start - 1]) || bytes[start - 1] == b'.') {
        return None;
    }
    let mut place = start;
    for part in 0..3 {
        if part > 0 {
            place += usize::from(bytes.get(place) == Some(&b'.'));
        }
        let rest = &bytes[place..];
        if part < 2 && !rest.starts_with(b"eyJ") {
            return None;
        }
        let length = count(rest, TOKEN_PART_BYTES_MAX, is_base64url);
        if length < 8 {
            return None;
        }
        place += length;
    }
    Some(start..place)
}

/// A private key in PEM (RFC 7468) or OpenSSH's form, to its end or to where its base64 ends.
fn private_key(text: &str, start: usize) -> Option<Range<usize>> {
    let label = text[start..].strip_prefix(KEY_BEGIN)?;
    let (kind, rest) = label
        .as_bytes()
        .iter()
        .take(64)
        .position(|byte| *byte == b'-')
        .and_then(|end| Some((&label[..end], label[end..].strip_prefix("-----")?)))?;
    if !kind.contains(PRIVATE_KEY) {
        return None;
    }
    let body_start = text.len() - rest.len();
    // Lines of base64, and the headers of encrypted keys; `\n` may be written as two signs.
    let is_body = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=\r\n\\ :,".contains(&byte);
    let body_end = body_start + rest.bytes().take_while(|byte| is_body(*byte)).count();
    let end_line = text[body_end..].strip_prefix("-----END ").and_then(|label| {
        let after = label.strip_prefix(kind)?.strip_prefix("-----")?;
        Some(text.len() - after.len())
    });
    Some(start..end_line.unwrap_or(body_end))
}

/// Longer names and passwords are not looked for.
const PASSWORD_BYTES_MAX: usize = 256;

/// The password of `scheme://user:password@host`.
fn password_in_address(text: &str, start: usize) -> Option<Range<usize>> {
    let user = text[start..].strip_prefix("://")?.as_bytes();
    let user_length = count(user, PASSWORD_BYTES_MAX, |byte| is_address_sign(byte) && byte != b':');
    let password = user[user_length..].strip_prefix(b":")?;
    let length = count(password, PASSWORD_BYTES_MAX, is_address_sign);
    let is_followed = password.get(length) == Some(&b'@');
    let password_start = start + 3 + user_length + 1;
    (length > 0 && is_followed).then(|| password_start..password_start + length)
}

fn is_address_sign(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"@/?#<>\"'".contains(&byte)
}

/// How many signs stand in front, up to a limit.
fn count(bytes: &[u8], most: usize, is_sign: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take(most).take_while(|byte| is_sign(**byte)).count()
}

fn is_upper(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}
