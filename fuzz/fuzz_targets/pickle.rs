//! Any bytes as pickles: never a panic, every byte executed once at most, and every symbol can be shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tsumugi_files::pickle::joblib::{Inline, inline_array};
use tsumugi_files::pickle::{Event, Limits, Machine};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { opcodes: 100_000, stack: 1_000, memo: 10_000, kept: 2_000, skip: 100_000, told_bytes: 16 };
    let mut machine = Machine::new(bytes, limits);
    while let Some(event) = machine.next() {
        if let Some(Inline::Bytes(len)) = inline_array(machine.heap(), &event, bytes, machine.offset()) {
            machine.pass_over(len);
        }
        let shown = match event {
            Event::Import { global, .. } => global,
            Event::Call { result, .. } => result,
            Event::Write { target, .. } => target,
            Event::Persistent { value, .. } | Event::Stop { value, .. } => value,
            _ => continue,
        };
        assert!(machine.heap().expression(shown, 100).len() < 2_000);
    }
    assert!(machine.opcodes() <= bytes.len() as u64 + 1);
});
