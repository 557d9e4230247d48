//! TensorFlow's SavedModel and frozen graphs: operators in the graph and in its library of functions
//! (`saved_model.proto`, `meta_graph.proto`, `graph.proto`, `function.proto`).

use tsumugi_files::protobuf::{Value, fields};

use super::{Format, keras};
use crate::context::{Expectation, Input, Scan};
use crate::finding::Severity::{self, Critical, High, Low};
use crate::rules;

/// SavedModels and graphs.
pub struct TensorFlow;

/// Operators that reach out of the graph. Saving and restoring belong to every SavedModel and are not here.
pub const OPERATORS: &[(&str, Severity, &str)] = &[
    ("PyFunc", Critical, "calls a Python function"),
    ("PyFuncStateless", Critical, "calls a Python function"),
    ("EagerPyFunc", Critical, "calls a Python function"),
    ("ReadFile", High, "reads any file"),
    ("WriteFile", High, "writes any file"),
    ("LoadAndRemapMatrix", High, "reads any file"),
    ("ReaderReadV2", Low, "reads files"),
    ("FixedLengthRecordReaderV2", Low, "reads files"),
    ("TextLineReaderV2", Low, "reads files"),
    ("WholeFileReaderV2", High, "reads any file"),
    ("MatchingFiles", High, "lists files"),
    ("DebugIdentity", High, "sends tensors to an address"),
    ("DebugIdentityV2", High, "sends tensors to an address"),
    ("PrintV2", Low, "may write to a file"),
    ("RpcCall", High, "calls another machine"),
    ("RpcServer", High, "listens to other machines"),
    ("DataServiceDatasetV4", High, "calls another machine"),
];

impl Format for TensorFlow {
    fn name(&self) -> &'static str {
        "TensorFlow"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        let looks_like = || {
            input.bytes.starts_with(&[0x08, 1])
                && fields(input.bytes)
                    .take(64)
                    .all(|field| matches!(field, Ok((_, 1, Value::Varint(_)) | (_, 2, Value::Bytes(_)))))
        };
        input.expectation == Expectation::File && (input.is_named(&["pb"]) || looks_like())
    }

    fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>) {
        if let Some(Err(error)) = fields(input.bytes).find(Result::is_err) {
            scan.find(&rules::BROKEN_FILE, None, "TensorFlow", format!("a message is broken: {error}"));
        }
        let is_saved_model = input.bytes.starts_with(&[0x08, 1]);
        if is_saved_model {
            for meta_graph in inner(input.bytes, 2) {
                inner(meta_graph, 2).for_each(|graph| graph_def(graph, scan));
            }
        } else {
            graph_def(input.bytes, scan);
        }
        keras::lint(input.bytes, scan);
    }
}

/// The messages in the fields of that number, up to an error.
fn inner(message: &[u8], wanted: u64) -> impl Iterator<Item = &[u8]> {
    fields(message)
        .map_while(Result::ok)
        .filter(move |(_, number, _)| *number == wanted)
        .filter_map(|(.., value)| value.bytes())
}

fn graph_def(graph: &[u8], scan: &mut Scan<'_>) {
    inner(graph, 1).for_each(|node| operator(node, scan));
    for library in inner(graph, 2) {
        for function in inner(library, 1) {
            inner(function, 3).for_each(|node| operator(node, scan));
        }
    }
}

fn operator(node: &[u8], scan: &mut Scan<'_>) {
    let text = |wanted| inner(node, wanted).next().map(String::from_utf8_lossy);
    let Some(name) = text(2) else { return };
    if let Some((operator, severity, does)) = OPERATORS.iter().find(|(operator, ..)| *operator == name) {
        let node = text(1).unwrap_or_default();
        let message = format!("operator {operator} (node `{}`) {does}", super::archive::shown(&node));
        scan.find_as(&rules::TENSORFLOW_OP, *severity, None, operator, message);
    }
}
