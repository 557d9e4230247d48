//! One stored tensor: as a place in a file, as a view of its bytes, and as what is to be written.

use std::io::{self, Write};
use std::ops::Range;

use crate::element_type::ElementType;
use crate::strided::Strided;

/// One tensor of a checked header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorEntry {
    /// Its name.
    pub name: String,
    /// What one element is.
    pub element_type: ElementType,
    /// Length of each axis, slowest first.
    pub shape: Vec<usize>,
    /// Its bytes, from the start of the file.
    pub bytes: Range<usize>,
}

impl TensorEntry {
    /// Bytes of its elements in row-major order.
    pub fn stored_bytes(&self) -> u64 {
        self.element_type.tensor_bytes(&self.shape).unwrap_or(u64::MAX)
    }
}

/// One tensor in a file.
#[derive(Debug, Clone)]
pub struct PlacedTensor {
    /// Its bytes are those from its first to its last element.
    pub entry: TensorEntry,
    /// Where its elements are, if they are not in row-major order.
    pub(crate) strided: Option<Strided>,
}

impl PlacedTensor {
    /// Its elements in row-major order: those of the `file`, or a copy of them, made once.
    ///
    /// # Panics
    /// If the file is another than the one that it was read from.
    pub fn bytes<'a>(&'a self, file: &'a [u8]) -> &'a [u8] {
        let bytes = &file[self.entry.bytes.clone()];
        self.strided.as_ref().map_or(bytes, |strided| strided.copy(bytes))
    }
}

/// One stored tensor: its bytes are little-endian, row-major, and of any alignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorView<'a> {
    /// Its name in the file.
    pub name: &'a str,
    /// What one element is.
    pub element_type: ElementType,
    /// Length of each axis, slowest first; empty for a single number.
    pub shape: &'a [usize],
    /// The elements.
    pub bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// The number of elements.
    pub fn element_count(&self) -> usize {
        self.shape.iter().fold(1, |product: usize, &axis| product.saturating_mul(axis))
    }

    /// Everything but the bytes.
    pub fn spec(&self) -> TensorSpec<'a> {
        TensorSpec { name: self.name, element_type: self.element_type, shape: self.shape }
    }
}

/// A tensor to be written, without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorSpec<'a> {
    /// Its name.
    pub name: &'a str,
    /// How it is stored.
    pub element_type: ElementType,
    /// Length of each axis, slowest first.
    pub shape: &'a [usize],
}

/// Counts what goes through to `inner`: a tensor must have exactly the bytes that its header promised.
pub(crate) struct CountingWriter<'a, W> {
    pub inner: &'a mut W,
    pub written: u64,
}

impl<W: Write> Write for CountingWriter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
