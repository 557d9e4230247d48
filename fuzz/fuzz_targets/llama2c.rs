//! Any bytes as a checkpoint of llama2.c: never a panic, and every tensor of an accepted one lies in the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tsumugi_files::llama2c::Header;

fuzz_target!(|bytes: &[u8]| {
    let Some(header) = Header::of(bytes) else { return };
    assert!(header.head_width() * header.heads == header.dim && header.vocabulary > 0);
});
