//! Formats: what each looks like, and what can be wrong with it. To add one: write `<name>.rs`, then its two lines below.

mod archive;
mod compressed;
pub(crate) mod executable;
mod flatbuffer;
mod foreign;
mod gguf;
mod hdf5;
mod json;
mod keras;
mod names;
mod numpy;
mod onnx;
mod pickles;
mod pointer;
mod safetensors;
pub(crate) mod secrets;
mod seven_zip;
mod tar;
mod template;
mod tensorflow;
mod text;
mod tflite;
mod trees;
mod ubjson;
mod zip;

pub(crate) use pointer::is_pointer;
pub(crate) use text::is_text;

use crate::context::{Input, Scan};
use crate::finding::{FileReport, Finding};
use crate::rules;

/// A format. One piece of data may be of several: each looks at it.
pub trait Format: Sync {
    /// Its name in reports.
    fn name(&self) -> &'static str;
    /// Whether the data is, or may be, of this format. Looks at content, at names only where content says nothing.
    fn claims(&self, input: &Input<'_>) -> bool;
    /// Tells what is wrong.
    fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>);
}

/// Every format.
pub const ALL: &[&dyn Format] = &[
    &safetensors::Safetensors,
    &gguf::Gguf,
    &zip::Zip,
    &tar::Tar,
    &compressed::Gzip,
    &compressed::Zlib,
    &compressed::Bzip2,
    &compressed::Xz,
    &compressed::Lzma,
    &compressed::Zstandard,
    &compressed::Lz4,
    &seven_zip::SevenZip,
    &numpy::Numpy,
    &hdf5::Hdf5,
    &tflite::Tflite,
    &onnx::Onnx,
    &tensorflow::TensorFlow,
    &trees::XgBoost,
    &trees::LightGbm,
    &trees::CatBoost,
    &foreign::Torch7,
    &foreign::RObject,
    &foreign::Pmml,
    &json::Json,
    &text::Text,
    &text::Utf16,
    &pointer::Pointer,
    &executable::Executable,
    &pickles::Pickle,
];

/// Formats that hold weights.
pub const WEIGHTS: &[&str] =
    &["safetensors", "GGUF", "pickle", "HDF5", "ONNX", "TensorFlow", "TensorFlow Lite", "NumPy"];

/// What no format recognizes: a finding where the name promises one.
pub fn unknown(input: &Input<'_>, scan: &mut Scan<'_>) {
    if !input.has_extension(names::MODELS) {
        return;
    }
    if input.bytes.is_empty() {
        let message = format!("`{}` is named like a model, but is empty", input.name);
        scan.find(&rules::FORMAT_MISMATCH, Some(0), "empty", message);
    } else {
        let message = format!("`{}` is named like a model, but is of no format that is known", input.name);
        scan.find(&rules::UNKNOWN_FORMAT, Some(0), "unknown", message);
    }
}

/// Tells that a Python file lies beside weights.
pub fn tell_python(report: &mut FileReport) {
    report.findings.push(Finding {
        rule: &rules::PYTHON_FILE,
        severity: rules::PYTHON_FILE.severity,
        message: "Python code beside weights".into(),
        member: String::new(),
        offset: None,
        subject: "python".into(),
    });
}
