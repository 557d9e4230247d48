//! Protocol buffers' wire format, as far as data files use it: a message is fields, each a number and a value.
//! Specification: protobuf.dev, "Encoding".

/// One value as it stands; what it means is in the message's schema.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Integers, truth values, enumerations.
    Varint(u64),
    /// Eight bytes: `double`, `fixed64`.
    Fixed64([u8; 8]),
    /// Bytes: texts, messages, packed lists.
    Bytes(&'a [u8]),
    /// Four bytes: `float`, `fixed32`.
    Fixed32([u8; 4]),
}

impl<'a> Value<'a> {
    /// The bytes of a text or a message.
    pub fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// UTF-8 text.
    pub fn text(self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// A `float`.
    pub fn float(self) -> Option<f32> {
        match self {
            Self::Fixed32(bytes) => Some(f32::from_le_bytes(bytes)),
            _ => None,
        }
    }

    /// An `int32` or `int64`; negative ones are stored as 64 bits in two's complement.
    pub fn integer(self) -> Option<i64> {
        match self {
            Self::Varint(bits) => Some(bits as i64),
            _ => None,
        }
    }

    /// A `bool`.
    pub fn truth(self) -> Option<bool> {
        self.integer().map(|number| number != 0)
    }
}

/// Bytes that are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}")]
pub struct ProtobufError {
    /// What is wrong.
    pub what: &'static str,
    /// Where, in the message.
    pub offset: usize,
}

/// The fields of a message, in its order: each with the byte where it begins and its number. Ends after an error.
///
/// ```
/// use tsumugi_files::protobuf::{Value, fields};
/// let message = [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i'];
/// let read: Vec<_> = fields(&message).map(|field| field.unwrap()).collect();
/// assert_eq!(read, [(0, 1, Value::Varint(150)), (3, 2, Value::Bytes(b"hi"))]);
/// ```
pub fn fields(message: &[u8]) -> impl Iterator<Item = Result<(usize, u64, Value<'_>), ProtobufError>> {
    let mut reader = Reader { bytes: message, at: 0 };
    std::iter::from_fn(move || {
        if reader.at >= reader.bytes.len() {
            return None;
        }
        let field = reader.field();
        if field.is_err() {
            reader.at = reader.bytes.len();
        }
        Some(field)
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn field(&mut self) -> Result<(usize, u64, Value<'a>), ProtobufError> {
        let offset = self.at;
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.fixed()?),
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(usize::try_from(length).unwrap_or(usize::MAX))?)
            }
            5 => Value::Fixed32(self.fixed()?),
            _ => return Err(ProtobufError { what: "a value of an unknown kind", offset }),
        };
        match key >> 3 {
            0 => Err(ProtobufError { what: "a field with the number 0", offset }),
            number => Ok((offset, number, value)),
        }
    }

    /// At most ten bytes, seven bits each, lowest first.
    fn varint(&mut self) -> Result<u64, ProtobufError> {
        let offset = self.at;
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.fixed()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(ProtobufError { what: "a number of more than 64 bits", offset })
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], ProtobufError> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], ProtobufError> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or(ProtobufError { what: "a value that goes beyond the end", offset: self.at })?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &[u8]) -> Result<Vec<(usize, u64, Value<'_>)>, ProtobufError> {
        fields(message).collect()
    }

    #[test]
    fn all_kinds() {
        let message = [0x08, 1, 0x11, 1, 2, 3, 4, 5, 6, 7, 8, 0x1A, 1, b'x', 0x25, 0, 0, 0x80, 0x3F];
        let values: Vec<Value> = read(&message).unwrap().into_iter().map(|(_, _, value)| value).collect();
        assert_eq!(values[0].truth(), Some(true));
        assert_eq!(values[1], Value::Fixed64([1, 2, 3, 4, 5, 6, 7, 8]));
        assert_eq!(values[2].text(), Some("x"));
        assert_eq!(values[3].float(), Some(1.0));
        assert_eq!((values[3].integer(), values[0].float(), values[0].text()), (None, None, None));
        let minus_one = [0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
        assert_eq!(read(&minus_one).unwrap()[0].2.integer(), Some(-1));
    }

    #[test]
    fn damage_is_told_with_its_place() {
        for (message, told) in [
            (&[0x08][..], "a value that goes beyond the end at byte 1"),
            (&[0x08, 1, 0x12, 5, 1], "a value that goes beyond the end at byte 4"),
            (
                &[0x12, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1],
                "a value that goes beyond the end at byte 11",
            ),
            (&[0x0B], "a value of an unknown kind at byte 0"),
            (&[0x00, 0x01], "a field with the number 0 at byte 0"),
            (&[0xFF; 11], "a number of more than 64 bits at byte 0"),
        ] {
            assert_eq!(read(message).unwrap_err().to_string(), told);
        }
    }
}
