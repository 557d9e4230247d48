//! Every byte of a file, whatever format it is of: what hides in the middle of weights. Only what does harm wherever it
//! lies is told; random bytes look like anything for a while.

use memchr::memmem::Finder;

use crate::context::Scan;
use crate::formats::{executable, secrets};
use crate::pickle;
use crate::rules;

/// Bytes that are searched at a time for everything, so that they come from memory once.
const BLOCK: usize = 256 << 10;

/// Bytes of a block that are searched with the next one, too: the longest sign, and the longest key.
const OVERLAP: usize = 512;

/// Bytes of a program that are looked at.
const LOOKED_AT: usize = 1 << 20;

/// What a pickle begins with: `PROTO` and the protocol; in older ones the import of what runs code.
const PICKLES: &[&[u8]] = &[
    b"\x80\x02",
    b"\x80\x03",
    b"\x80\x04",
    b"\x80\x05",
    b"cos\n",
    b"cposix\n",
    b"cnt\n",
    b"csubprocess\n",
    b"cbuiltins\n",
    b"c__builtin__\n",
];

/// What a program begins with.
const PROGRAMS: &[&[u8]] = &[b"\x7FELF", b"MZ", b"\xCF\xFA\xED\xFE", b"\xCE\xFA\xED\xFE", b"\xCA\xFE\xBA\xBE\0\0\0"];

/// Looks at every byte.
pub fn look(bytes: &[u8], scan: &mut Scan<'_>) {
    let (pickles, programs) = (PICKLES.iter().map(finder), PROGRAMS.iter().map(finder));
    let (pickles, programs): (Vec<_>, Vec<_>) = (pickles.collect(), programs.collect());
    for start in (0..bytes.len()).step_by(BLOCK) {
        let block = &bytes[start..bytes.len().min(start + BLOCK + OVERLAP)];
        let starts = |sign: &Finder<'_>| {
            let places: Vec<usize> = sign.find_iter(block).take_while(|at| *at < BLOCK).collect();
            places.into_iter().map(move |at| start + at)
        };
        // What a file begins with is judged by its format.
        for at in pickles.iter().flat_map(starts).filter(|at| *at > 0) {
            if pickle::may_begin(&bytes[at..]) {
                pickle::scan_embedded(bytes, at, scan);
            }
        }
        for at in programs.iter().flat_map(starts).filter(|at| *at > 0) {
            let kind = executable::kind(&bytes[at..bytes.len().min(at + LOOKED_AT)]);
            if let Some(kind) = kind.filter(|kind| !scan.has_found(&rules::EXECUTABLE, kind)) {
                scan.find(&rules::EXECUTABLE, Some(at), kind, format!("bytes within it are {kind}"));
            }
        }
        secrets::look_at(block, start, scan);
    }
}

fn finder<'n>(needle: &&'n [u8]) -> Finder<'n> {
    Finder::new(*needle)
}
