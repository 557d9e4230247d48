//! Where the next pickle of a file begins, after one that ended or broke.
//!
//! What a pickle did before it broke was done, and a reader may go on behind it: what lies there is looked at, too.

use super::heap::argument_bytes;
use super::{PROTOCOL_MAX, opcode};

/// How many opcodes are looked at to believe in a pickle of protocol 0 or 1, which has no mark at its beginning.
const PROBED_OPCODES: usize = 8;

/// And how many bytes: after each of a million pickles they are looked at again.
const PROBED_BYTES: usize = 1024;

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
        if bytes[at] == opcode::PROTO {
            if has_protocol(&bytes[at..]) {
                return Some(at);
            }
            at += 1;
            continue;
        }
        // Every later beginning in the same run of letters would fail for the same reason: time stays linear.
        let module = name_length(&bytes[at + 1..]);
        let behind = at + 1 + module;
        if module > 0 && ends_as_name(&bytes[behind..]) {
            return Some(at);
        }
        at = behind;
    }
    None
}

/// `PROTO` and a version, then an opcode.
fn has_protocol(bytes: &[u8]) -> bool {
    matches!(bytes, [opcode::PROTO, 0..=PROTOCOL_MAX, next, ..] if opcode::argument(*next).is_some())
}

/// A line feed, and a line that looks like a name: what stands behind the module of a `GLOBAL` or `INST`.
fn ends_as_name(bytes: &[u8]) -> bool {
    let Some(rest) = bytes.strip_prefix(b"\n") else { return false };
    let name = name_length(rest);
    name > 0 && rest.get(name) == Some(&b'\n')
}

/// How many bytes from the first on could be of a module or a name.
fn name_length(bytes: &[u8]) -> usize {
    let is_of_name = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    bytes.iter().take_while(is_of_name).count()
}

/// Whether the first opcodes are opcodes with whole arguments, and not all a `STOP`.
fn reads_as_opcodes(bytes: &[u8]) -> bool {
    let mut rest = &bytes[..bytes.len().min(PROBED_BYTES)];
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
