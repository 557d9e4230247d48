//! TensorFlow Lite: operators of TensorFlow that the flex delegate runs, operators of one's own, and buffers outside of
//! the file (`tensorflow/compiler/mlir/lite/schema/schema.fbs`).

use memchr::memmem;

use super::flatbuffer::Table;
use super::{Format, archive, tensorflow};
use crate::context::{Input, Scan};
use crate::rules;

/// TensorFlow Lite models.
pub struct Tflite;

/// Numbers of the fields that are read.
mod field {
    pub const MODEL_OPERATOR_CODES: usize = 1;
    pub const MODEL_SUBGRAPHS: usize = 2;
    pub const MODEL_BUFFERS: usize = 4;
    pub const OPERATOR_CUSTOM_CODE: usize = 1;
    pub const BUFFER_OFFSET: usize = 1;
    pub const BUFFER_SIZE: usize = 2;
}

/// Operators of their own that TensorFlow Lite's runtime or its makers' converters bring.
const KNOWN_CUSTOM: &[&str] = &[
    "TFLite_Detection_PostProcess",
    "NumericVerify",
    "Mfcc",
    "AudioSpectrogram",
    "MaxPoolingWithArgmax2D",
    "MaxUnpooling2D",
    "Convolution2DTransposeBias",
    "edgetpu-custom-op",
    "ethos-u",
];

impl Format for Tflite {
    fn name(&self) -> &'static str {
        "TensorFlow Lite"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        input.bytes.get(4..8) == Some(b"TFL3")
    }

    fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>) {
        if model(input.bytes, scan).is_none() {
            scan.find(&rules::BROKEN_FILE, Some(0), "tflite", "a table or a list lies outside of the file");
        }
        // By name as well, for files whose tables are broken.
        for (operator, severity, does) in tensorflow::OPERATORS {
            let name = format!("Flex{operator}\0");
            if let Some(at) = memmem::find(input.bytes, name.as_bytes()) {
                let message = format!("operator {operator} {does}");
                scan.find_as(&rules::TENSORFLOW_OP, *severity, Some(at), operator, message);
            }
        }
    }
}

/// None where something lies outside of the file.
fn model(bytes: &[u8], scan: &mut Scan<'_>) -> Option<()> {
    let model = Table::root(bytes)?;
    // Many operators may name one text; together they would be longer than the file.
    let mut left = 3 * bytes.len(); // what is no UTF-8 grows
    for operator in model.tables(field::MODEL_OPERATOR_CODES)? {
        let Some(name) = operator.text(field::OPERATOR_CUSTOM_CODE) else { continue };
        left = left.checked_sub(name.len())?;
        if !name.starts_with("Flex") && !KNOWN_CUSTOM.contains(&&*name) {
            let message = format!("operator `{}` is its own", archive::shown(&name));
            scan.find(&rules::TFLITE_CUSTOM, None, &name, message);
        }
    }
    model.tables(field::MODEL_SUBGRAPHS)?;
    for buffer in model.tables(field::MODEL_BUFFERS)? {
        let begin = buffer.number(field::BUFFER_OFFSET).unwrap_or_default();
        let size = buffer.number(field::BUFFER_SIZE).unwrap_or_default();
        begin.checked_add(size).filter(|&end| end <= bytes.len() as u64)?;
    }
    Some(())
}
