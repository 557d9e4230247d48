//! E-mail and IP addresses.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::{begins_word, ends_word};

/// RFC 5321, section 4.5.3.1: an octet more in any of the three is no address.
const LOCAL_BYTES_MAX: usize = 64;
const DOMAIN_BYTES_MAX: usize = 255;
/// The longest IPv6 address in letters.
const IPV6_BYTES_MAX: usize = 45;

/// Addresses of the form that people write: a local part of RFC 5322's atoms, a domain with a dot.
pub fn emails(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let bytes = text.as_bytes();
    memchr::memchr_iter(b'@', bytes).filter_map(move |at| {
        let before = bytes[..at].iter().rev().take(LOCAL_BYTES_MAX + 1);
        let local = before.take_while(|byte| is_local(**byte)).count();
        let start = at - local + bytes[at - local..at].iter().take_while(|byte| !byte.is_ascii_alphanumeric()).count();
        if start == at || local > LOCAL_BYTES_MAX || bytes[at - 1] == b'.' {
            return None;
        }
        let after = bytes[at + 1..].iter().take(DOMAIN_BYTES_MAX + 1);
        let length = after.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')).count();
        let domain = &text[at + 1..at + 1 + length];
        let domain = domain.trim_end_matches(['.', '-']);
        (length <= DOMAIN_BYTES_MAX && is_domain(domain)).then(|| start..at + 1 + domain.len())
    })
}

fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&byte)
}

fn is_domain(domain: &str) -> bool {
    let is_label =
        |label: &str| !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-');
    let top = domain.rsplit_once('.').map(|(_, top)| top);
    top.is_some_and(|top| top.len() >= 2 && top.bytes().all(|byte| byte.is_ascii_alphabetic()))
        && domain.split('.').all(is_label)
}

/// Public IPv4 and IPv6 addresses.
pub fn addresses(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let bytes = text.as_bytes();
    let mut place = 0;
    std::iter::from_fn(move || {
        while place < bytes.len() {
            let start = place;
            let length = bytes[start..].iter().take_while(|byte| is_address(**byte)).count();
            place = start + length.max(1);
            if length < 3 || !begins_word(bytes, start) || !ends_word(bytes, place) {
                continue;
            }
            let whole = &text[start..place];
            let trimmed = whole.trim_end_matches(['.', ':']);
            // An IPv4 address may have a port behind it.
            let host = trimmed.split(':').next().unwrap_or(trimmed);
            if host.parse().is_ok_and(is_public_v4) {
                return Some(start..start + host.len());
            }
            let trimmed = if whole.ends_with("::") { &whole[..trimmed.len() + 2] } else { trimmed };
            let is_v6 = trimmed.len() <= IPV6_BYTES_MAX && trimmed.bytes().filter(|byte| *byte == b':').count() >= 2;
            if is_v6 && trimmed.parse().is_ok_and(is_public_v6) {
                return Some(start..start + trimmed.len());
            }
        }
        None
    })
}

fn is_address(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':')
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    let is_shared = first == 100 && (64..128).contains(&second);
    let is_protocol = (first, second, third) == (192, 0, 0) || first == 198 && matches!(second, 18 | 19);
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        || matches!(first, 0 | 240..)
        || is_shared
        || is_protocol)
}

/// Of the global unicast range 2000::/3, but for documentation.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    (0x2000..0x4000).contains(&first) && (first, second) != (0x2001, 0xdb8)
}
