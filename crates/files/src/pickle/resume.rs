//! Where the next pickle of a file begins, after one that ended or broke.
//!
//! What a pickle did before it broke was done, and a reader may go on behind it: what lies there is looked at, too.

use super::heap::argument_bytes;
use super::{PROTOCOL_MAX, opcode};

/// Longest module or name that is believed to be one when it stands among other bytes.
const NAME_BYTES_MAX: usize = 256;

/// How many opcodes are looked at to believe in a pickle of protocol 0 or 1, which has no mark at its beginning.
const PROBED_OPCODES: usize = 8;

/// The first place from `from` on, at most `skip_max` bytes away, at which a pickle may begin. `stopped`: the bytes
/// before are a pickle that ended well, so that the next one most likely begins right here.
pub(super) fn next_stream(bytes: &[u8], from: usize, stopped: bool, skip_max: usize) -> Option<usize> {
    if stopped && (has_protocol(&bytes[from..]) || reads_as_opcodes(&bytes[from..])) {
        return Some(from);
    }
    let end = from.saturating_add(skip_max).min(bytes.len());
    let mut at = from;
    while at < end {
        at += bytes[at..end].iter().position(|&byte| matches!(byte, opcode::PROTO | opcode::GLOBAL | opcode::INST))?;
        let rest = &bytes[at..];
        if has_protocol(rest) || names_global(rest) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// `PROTO` and a version, then an opcode.
fn has_protocol(bytes: &[u8]) -> bool {
    matches!(bytes, [opcode::PROTO, 0..=PROTOCOL_MAX, next, ..] if opcode::argument(*next).is_some())
}

/// `GLOBAL` or `INST` and two lines that look like a module and a name.
fn names_global(bytes: &[u8]) -> bool {
    let mut lines = bytes[1..bytes.len().min(2 * NAME_BYTES_MAX)].split(|&byte| byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (module, name) = (line(), line());
    let like_name = |name: &[u8]| {
        let first = name.first().is_some_and(|&byte| byte.is_ascii_alphabetic() || byte == b'_');
        first && name.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.')
    };
    like_name(module) && like_name(name) && bytes.get(module.len() + name.len() + 2) == Some(&b'\n')
}

/// Whether the first opcodes are opcodes with whole arguments, and not all a `STOP`.
fn reads_as_opcodes(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    for count in 0..PROBED_OPCODES {
        let Some((&byte, after)) = rest.split_first() else { return false };
        let Some(argument) = opcode::argument(byte).and_then(|argument| argument_bytes(argument, after).ok()) else {
            return false;
        };
        if byte == opcode::STOP {
            return count > 0;
        }
        rest = &after[argument.taken..];
    }
    true
}
