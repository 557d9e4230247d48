//! GGUF: bounds, and the chat templates in its metadata.

use std::path::Path;

use tsumugi_files::gguf::{Value, parse_header, parse_outline};

use super::{Format, safetensors, template};
use crate::context::{Input, Reach, Scan};
use crate::pickle;
use crate::rules;

/// GGUF files.
pub struct Gguf;

impl Format for Gguf {
    fn name(&self) -> &'static str {
        "GGUF"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        input.bytes.starts_with(b"GGUF")
    }

    fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>) {
        // A vocabulary of 49,152 tokens takes longer than all else, and the reader checks it.
        let parse = if scan.limits.reach == Reach::Load { parse_outline } else { parse_header };
        let header = match parse(input.bytes, Path::new(input.name)) {
            Ok(header) => header,
            Err(error) => return scan.find(&rules::BROKEN_FILE, Some(0), "GGUF", error.problem.to_string()),
        };
        for (key, value) in header.metadata.iter() {
            let Value::String(text) = value else { continue };
            if let Some((severity, what)) = pickle::hidden_in(text.as_bytes(), scan) {
                let message = format!("metadata `{key}` holds {what}");
                scan.find_as(&rules::NESTED_PICKLE, severity, None, key, message);
            }
            scan.within(key, |scan| template::lint(text, scan));
        }
        for tensor in &header.tensors {
            safetensors::payload_start(&tensor.name, input.bytes, tensor.bytes.clone(), scan);
        }
    }
}
