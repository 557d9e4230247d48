//! Universal Binary JSON, as XGBoost writes it (<https://ubjson.org>): every value is measured, and its texts are found.

/// Containers in one another: XGBoost's models have half a dozen.
const DEPTH_MAX: usize = 1000;

/// Calls `visit` with every text of the value that begins `bytes`, or says where that stops making sense. Steps are bounded by
/// the bytes: each reads at least one.
pub fn visit_texts<'a>(bytes: &'a [u8], visit: &mut dyn FnMut(&'a [u8])) -> Result<(), usize> {
    let mut reader = Reader { bytes, at: 0, visit };
    let mut open = Vec::new();
    reader.value(None, &mut open).ok_or(reader.at)?;
    while let Some(container) = open.pop() {
        let begin = reader.at;
        reader.step(container, &mut open).filter(|()| open.len() <= DEPTH_MAX).ok_or(begin)?;
    }
    Ok(())
}

/// A list or an object that is not at its end.
#[derive(Debug, Clone, Copy)]
struct Container {
    is_object: bool,
    /// The type of all its elements, where it was said once.
    element: Option<u8>,
    /// Elements that are left; none where a mark ends it.
    left: Option<u64>,
}

struct Reader<'a, 'v> {
    bytes: &'a [u8],
    at: usize,
    visit: &'v mut dyn FnMut(&'a [u8]),
}

impl<'a> Reader<'a, '_> {
    fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let end = self.at.checked_add(usize::try_from(count).ok()?)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// A length: an integer with its type before it.
    fn length(&mut self) -> Option<u64> {
        let kind = self.byte()?;
        let digits = self.take(fixed_bytes(kind).filter(|_| b"iUIlL".contains(&kind))?)?;
        let is_negative = digits.first()? & 0x80 != 0 && kind != b'U';
        (!is_negative).then(|| digits.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// One value; a list or an object is only opened.
    fn value(&mut self, kind: Option<u8>, open: &mut Vec<Container>) -> Option<()> {
        let kind = match kind {
            Some(kind) => kind,
            None => self.byte()?,
        };
        match kind {
            b'S' | b'H' => {
                let length = self.length()?;
                let text = self.take(length)?;
                (self.visit)(text);
            }
            b'[' | b'{' => {
                let container = self.open(kind == b'{')?;
                open.extend(container);
            }
            _ => {
                self.take(fixed_bytes(kind)?)?;
            }
        }
        Some(())
    }

    /// The head of a list or an object: maybe `$` and a type, maybe `#` and a count. Lists of plain values are passed over.
    fn open(&mut self, is_object: bool) -> Option<Option<Container>> {
        let mut element = None;
        if self.peek() == Some(b'$') {
            self.at += 1;
            element = Some(self.byte()?);
        }
        let mut left = None;
        if self.peek() == Some(b'#') {
            self.at += 1;
            left = Some(self.length()?);
        }
        if let (Some(bytes), Some(count), false) = (element.and_then(fixed_bytes), left, is_object) {
            self.take(bytes.checked_mul(count)?)?;
            return Some(None);
        }
        // A type needs a count, or nothing says where its values end.
        (element.is_none() || left.is_some()).then_some(Some(Container { is_object, element, left }))
    }

    /// The next element of an open container.
    fn step(&mut self, mut container: Container, open: &mut Vec<Container>) -> Option<()> {
        let end = if container.is_object { b'}' } else { b']' };
        match &mut container.left {
            Some(0) => return Some(()),
            Some(left) => *left -= 1,
            None if self.peek()? == end => {
                self.at += 1;
                return Some(());
            }
            None => {}
        }
        open.push(container);
        if container.is_object {
            let length = self.length()?;
            let key = self.take(length)?;
            (self.visit)(key);
        }
        let before = self.at;
        self.value(container.element, open)?;
        // A value of no bytes, counted by a number that the file makes up, would never end.
        (self.at > before || container.left.is_none()).then_some(())
    }
}

/// Bytes of the value of a type that is always as long.
fn fixed_bytes(kind: u8) -> Option<u64> {
    match kind {
        b'Z' | b'N' | b'T' | b'F' => Some(0),
        b'i' | b'U' | b'C' => Some(1),
        b'I' => Some(2),
        b'l' | b'd' => Some(4),
        b'L' | b'D' => Some(8),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(bytes: &[u8]) -> Result<Vec<&[u8]>, usize> {
        let mut texts = Vec::new();
        visit_texts(bytes, &mut |text| texts.push(text)).map(|()| texts)
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert_eq!(texts(&nested(DEPTH_MAX)), Ok(vec![]));
        assert_eq!(texts(&nested(DEPTH_MAX + 1)), Err(DEPTH_MAX));
    }

    #[test]
    fn values_are_measured() {
        let object = b"{L\0\0\0\0\0\0\0\x01a[$d#L\0\0\0\0\0\0\0\x02........i\x01bSi\x03xyz}";
        assert_eq!(texts(object), Ok(vec![b"a".as_slice(), b"b", b"xyz"]));
        assert_eq!(texts(b"[TFZi\x01]"), Ok(vec![]));
        assert_eq!(texts(b"[#i\x02[]{}"), Ok(vec![]));
    }

    #[test]
    fn lengths_that_lie_are_found() {
        for broken in [
            b"{L\0\0\0\0\0\0\0\x01a[$d#L\x0F\0\0\0\0\0\0\x02....".as_slice(),
            b"{i\xFFa",
            b"[$[#L\0\xFF\0\0\0\0\0\0",
            b"[[[[",
            b"{i\x01aSL\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
            b"[$S]",
            b"",
            b"?",
        ] {
            assert!(texts(broken).is_err(), "{broken:?}");
        }
    }
}
