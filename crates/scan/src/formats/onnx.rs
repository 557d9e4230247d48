//! ONNX: paths of external data, and operators that are not ONNX's (`onnx.proto`).

use tsumugi_files::protobuf::{Value, fields};

use super::{Format, archive};
use crate::context::{Expectation, Input, Scan};
use crate::finding::Severity;
use crate::rules;

/// ONNX models.
pub struct Onnx;

/// Numbers of the fields that are read.
mod field {
    pub const MODEL_GRAPH: u64 = 7;
    pub const MODEL_FUNCTIONS: u64 = 25;
    pub const GRAPH_NODE: u64 = 1;
    pub const GRAPH_INITIALIZER: u64 = 5;
    pub const GRAPH_SPARSE: u64 = 15;
    pub const FUNCTION_NODE: u64 = 7;
    pub const NODE_OPERATOR: u64 = 4;
    pub const NODE_ATTRIBUTE: u64 = 5;
    pub const NODE_DOMAIN: u64 = 7;
    pub const ATTRIBUTE_TENSOR: u64 = 5;
    pub const ATTRIBUTE_GRAPH: u64 = 6;
    pub const ATTRIBUTE_TENSORS: u64 = 10;
    pub const ATTRIBUTE_GRAPHS: u64 = 11;
    pub const TENSOR_EXTERNAL: u64 = 13;
}

/// Domains of operators that runtimes bring themselves.
const DOMAINS: &[&str] = &[
    "",
    "ai.onnx",
    "ai.onnx.ml",
    "ai.onnx.training",
    "ai.onnx.preview.training",
    "com.microsoft",
    "com.microsoft.nchwc",
    "com.ms.internal.nhwc",
    "org.pytorch.aten",
    "pkg.onnxscript.torch_lib",
    "pkg.torch",
];

/// Graphs in attributes of nodes of graphs.
const DEPTH_MAX: usize = 32;

impl Format for Onnx {
    fn name(&self) -> &'static str {
        "ONNX"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        const FIELDS_MAX: usize = 10_000;
        const NEWEST_VERSION: u8 = 64;
        let looks_like = || {
            matches!(input.bytes, [0x08, 1..=NEWEST_VERSION, ..])
                && fields(input.bytes).take(FIELDS_MAX).all(|field| field.is_ok())
                && fields(input.bytes).take(FIELDS_MAX).flatten().any(|(_, number, _)| number == field::MODEL_GRAPH)
        };
        input.expectation == Expectation::File && (input.is_named(&["onnx"]) || looks_like())
    }

    fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>) {
        message(input.bytes, scan, &mut |number, value, scan| match number {
            field::MODEL_GRAPH => graph(value, DEPTH_MAX, scan),
            field::MODEL_FUNCTIONS => message(value, scan, &mut |number, value, scan| {
                if number == field::FUNCTION_NODE {
                    node(value, DEPTH_MAX, scan);
                }
            }),
            _ => {}
        });
    }
}

/// Visits the fields of a message that are bytes; a broken message is a finding.
fn message(bytes: &[u8], scan: &mut Scan<'_>, visit: &mut dyn FnMut(u64, &[u8], &mut Scan<'_>)) {
    for field in fields(bytes) {
        match field {
            Ok((_, number, Value::Bytes(value))) => visit(number, value, scan),
            Ok(_) => {}
            Err(error) => return scan.find(&rules::BROKEN_FILE, None, "ONNX", format!("a message is broken: {error}")),
        }
    }
}

fn graph(bytes: &[u8], depth: usize, scan: &mut Scan<'_>) {
    if depth == 0 {
        return scan.unread(None, "graphs are nested deeper than the scanner goes");
    }
    message(bytes, scan, &mut |number, value, scan| match number {
        field::GRAPH_NODE => node(value, depth, scan),
        field::GRAPH_INITIALIZER => tensor(value, scan),
        // A sparse tensor is a tensor of values (1) and one of indices (2).
        field::GRAPH_SPARSE => message(value, scan, &mut |number, value, scan| {
            if number <= 2 {
                tensor(value, scan);
            }
        }),
        _ => {}
    });
}

fn node(bytes: &[u8], depth: usize, scan: &mut Scan<'_>) {
    let text = |wanted| text(bytes, wanted).unwrap_or_default();
    let (domain, operator) = (text(field::NODE_DOMAIN), text(field::NODE_OPERATOR));
    if operator.starts_with("PyOp") || operator == "PyFunc" || domain == "ai.onnx.contrib" && operator.starts_with("Py")
    {
        let message = format!("operator `{operator}` calls Python");
        scan.find_as(&rules::ONNX_CUSTOM, Severity::High, None, operator, message);
    } else if !DOMAINS.contains(&domain) {
        let message = format!("operators of `{}`", archive::shown(domain));
        scan.find(&rules::ONNX_CUSTOM, None, domain, message);
    }
    message(bytes, scan, &mut |number, value, scan| {
        if number == field::NODE_ATTRIBUTE {
            message(value, scan, &mut |number, value, scan| match number {
                field::ATTRIBUTE_TENSOR | field::ATTRIBUTE_TENSORS => tensor(value, scan),
                field::ATTRIBUTE_GRAPH | field::ATTRIBUTE_GRAPHS => graph(value, depth - 1, scan),
                _ => {}
            });
        }
    });
}

fn tensor(bytes: &[u8], scan: &mut Scan<'_>) {
    let entries = fields(bytes).flatten().filter(|(_, number, _)| *number == field::TENSOR_EXTERNAL);
    for (.., entry) in entries {
        let Some(entry) = entry.bytes() else { continue };
        let (Some("location"), Some(path)) = (text(entry, 1), text(entry, 2)) else { continue };
        // Some readers take an address.
        let is_address = path.contains("://") || path.to_ascii_lowercase().starts_with("file:");
        if archive::leads_out(path) || is_address {
            let message = format!("data of a tensor is at `{}`", archive::shown(path));
            scan.find(&rules::ONNX_EXTERNAL, None, path, message);
        }
    }
}

/// The text of a field. Of one that is there twice the last counts, as protobuf has it.
fn text(message: &[u8], wanted: u64) -> Option<&str> {
    fields(message).flatten().filter(|(_, number, _)| *number == wanted).last().and_then(|(.., value)| value.text())
}
