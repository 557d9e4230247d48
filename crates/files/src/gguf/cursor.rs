//! A place in the bytes of a header: takes numbers, texts and arrays, and never more than there is.

use tsumugi_base::limits::{GGUF_ARRAY_DEPTH_MAX, GGUF_HEADER_BYTES_MAX};

use super::Fault;
use super::metadata::{Array, Kind, Value};

pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    keeps_arrays: bool,
}

impl<'a> Cursor<'a> {
    /// At the start of a file.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, keeps_arrays: true }
    }

    /// At the start of a file whose arrays are passed over and come out empty: a vocabulary takes milliseconds.
    pub fn without_arrays(bytes: &'a [u8]) -> Self {
        Self { keeps_arrays: false, ..Self::new(bytes) }
    }

    /// Bytes from the start of the file.
    pub fn offset(&self) -> usize {
        self.at
    }

    fn left_bytes(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    /// The next `count` bytes.
    fn take(&mut self, count: u64) -> Result<&'a [u8], Fault> {
        let left_bytes = self.left_bytes();
        if count > left_bytes {
            return Err(Fault::Ended { needed_bytes: count, left_bytes });
        }
        if self.at as u64 + count > GGUF_HEADER_BYTES_MAX {
            return Err(Fault::HeaderTooLarge);
        }
        let taken = &self.bytes[self.at..][..count as usize];
        self.at += taken.len();
        Ok(taken)
    }

    /// One number of `N` bytes.
    pub fn number<const N: usize, T>(&mut self, from: impl Fn([u8; N]) -> T) -> Result<T, Fault> {
        let left_bytes = self.left_bytes();
        let ended = Fault::Ended { needed_bytes: N as u64, left_bytes };
        self.take(N as u64)?.first_chunk().map(|bytes| from(*bytes)).ok_or(ended)
    }

    /// A length, then that many bytes of UTF-8.
    fn text(&mut self) -> Result<&'a str, Fault> {
        std::str::from_utf8(self.sized()?).map_err(|_| Fault::NotText)
    }

    /// A length, then that many bytes.
    fn sized(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.number(u64::from_le_bytes)?;
        self.take(length)
    }

    /// A name: a text that is neither empty nor longer than `limit`.
    pub fn name(&mut self, limit: usize) -> Result<String, Fault> {
        let name = self.text()?;
        check_name(name, limit)?;
        Ok(name.to_owned())
    }

    /// A kind, then a value of it.
    pub fn value(&mut self) -> Result<Value, Fault> {
        Ok(match self.kind()? {
            Kind::U8 => Value::U8(self.number(u8::from_le_bytes)?),
            Kind::I8 => Value::I8(self.number(i8::from_le_bytes)?),
            Kind::U16 => Value::U16(self.number(u16::from_le_bytes)?),
            Kind::I16 => Value::I16(self.number(i16::from_le_bytes)?),
            Kind::U32 => Value::U32(self.number(u32::from_le_bytes)?),
            Kind::I32 => Value::I32(self.number(i32::from_le_bytes)?),
            Kind::F32 => Value::F32(self.number(f32::from_le_bytes)?),
            Kind::Bool => Value::Bool(truth(self.number(u8::from_le_bytes)?)?),
            Kind::String => Value::String(self.text()?.to_owned()),
            Kind::Array => Value::Array(self.array(1)?),
            Kind::U64 => Value::U64(self.number(u64::from_le_bytes)?),
            Kind::I64 => Value::I64(self.number(i64::from_le_bytes)?),
            Kind::F64 => Value::F64(self.number(f64::from_le_bytes)?),
        })
    }

    fn kind(&mut self) -> Result<Kind, Fault> {
        let found = self.number(u32::from_le_bytes)?;
        Kind::from_number(found).ok_or(Fault::UnknownKind { found })
    }

    /// A kind and a count, then that many values without their kinds. `depth` is 1 for an array in no other.
    fn array(&mut self, depth: usize) -> Result<Array, Fault> {
        if depth > GGUF_ARRAY_DEPTH_MAX {
            return Err(Fault::TooDeep);
        }
        let kind = self.kind()?;
        let count = self.number(u64::from_le_bytes)?;
        Ok(match kind {
            Kind::U8 => Array::U8(self.numbers(count, u8::from_le_bytes)?),
            Kind::I8 => Array::I8(self.numbers(count, i8::from_le_bytes)?),
            Kind::U16 => Array::U16(self.numbers(count, u16::from_le_bytes)?),
            Kind::I16 => Array::I16(self.numbers(count, i16::from_le_bytes)?),
            Kind::U32 => Array::U32(self.numbers(count, u32::from_le_bytes)?),
            Kind::I32 => Array::I32(self.numbers(count, i32::from_le_bytes)?),
            Kind::F32 => Array::F32(self.numbers(count, f32::from_le_bytes)?),
            Kind::Bool => Array::Bool(self.take(count)?.iter().map(|&byte| truth(byte)).collect::<Result<_, _>>()?),
            Kind::String => Array::String(self.each(count, |cursor| Ok(cursor.text()?.to_owned()), Self::sized)?),
            Kind::Array => {
                Array::Array(self.each(count, |cursor| cursor.array(depth + 1), |cursor| cursor.array(depth + 1))?)
            }
            Kind::U64 => Array::U64(self.numbers(count, u64::from_le_bytes)?),
            Kind::I64 => Array::I64(self.numbers(count, i64::from_le_bytes)?),
            Kind::F64 => Array::F64(self.numbers(count, f64::from_le_bytes)?),
        })
    }

    fn numbers<const N: usize, T>(&mut self, count: u64, from: impl Fn([u8; N]) -> T) -> Result<Vec<T>, Fault> {
        let bytes = self.take(count.saturating_mul(N as u64))?;
        let bytes = if self.keeps_arrays { bytes } else { &[] };
        Ok(bytes.as_chunks().0.iter().map(|bytes| from(*bytes)).collect())
    }

    /// `count` values that have a length each, read or passed over: the vector grows with what is read, not with what is
    /// claimed.
    fn each<T, P>(
        &mut self,
        count: u64,
        mut read: impl FnMut(&mut Self) -> Result<T, Fault>,
        mut pass: impl FnMut(&mut Self) -> Result<P, Fault>,
    ) -> Result<Vec<T>, Fault> {
        const LENGTH_BYTES: u64 = 8;
        let (needed_bytes, left_bytes) = (count.saturating_mul(LENGTH_BYTES), self.left_bytes());
        if needed_bytes > left_bytes {
            return Err(Fault::Ended { needed_bytes, left_bytes });
        }
        if self.keeps_arrays {
            return (0..count).map(|_| read(self)).collect();
        }
        (0..count).try_for_each(|_| pass(self).map(|_| ()))?;
        Ok(Vec::new())
    }
}

pub(super) fn check_name(name: &str, limit: usize) -> Result<(), Fault> {
    if name.is_empty() {
        return Err(Fault::Empty);
    }
    if name.len() > limit {
        return Err(Fault::NameTooLong { found: name.len() as u64, limit });
    }
    Ok(())
}

fn truth(found: u8) -> Result<bool, Fault> {
    match found {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Fault::NotBool { found }),
    }
}
