//! FlatBuffers: tables, whose fields are found through a table of their places (`flatbuffers/docs`, binary format).

/// A table somewhere in a buffer.
#[derive(Debug, Clone, Copy)]
pub struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Table<'a> {
    /// The table that the first four bytes point to.
    pub fn root(bytes: &'a [u8]) -> Option<Self> {
        Self::behind(bytes, 0)
    }

    fn behind(bytes: &'a [u8], place: usize) -> Option<Self> {
        let table = Self { bytes, at: place.checked_add(u32_at(bytes, place)? as usize)? };
        table.places()?;
        Some(table)
    }

    /// The places of the fields, as offsets from the table.
    fn places(&self) -> Option<&'a [u8]> {
        let back = i64::from(u32_at(self.bytes, self.at)? as i32);
        let start = usize::try_from(i64::try_from(self.at).ok()? - back).ok()?;
        let size = usize::from(u16_at(self.bytes, start)?);
        self.bytes.get(start..start.checked_add(size)?)?.get(4..)
    }

    /// Where a field lies; none if the table does not have it.
    fn field(&self, number: usize) -> Option<usize> {
        match u16_at(self.places()?, 2 * number)? {
            0 => None,
            place => Some(self.at + usize::from(place)),
        }
    }

    /// A field of eight bytes.
    pub fn number(&self, number: usize) -> Option<u64> {
        Some(u64::from_le_bytes(*self.bytes.get(self.field(number)?..)?.first_chunk()?))
    }

    /// A text.
    pub fn text(&self, number: usize) -> Option<String> {
        let (start, count) = self.list(number)?;
        let bytes = self.bytes.get(start..start.checked_add(count)?)?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    /// The tables of a list. None where one of them lies outside of the buffer; an absent list is empty.
    pub fn tables(&self, number: usize) -> Option<Vec<Self>> {
        if self.field(number).is_none() {
            return Some(Vec::new());
        }
        let (start, count) = self.list(number)?;
        self.bytes.get(start..start.checked_add(count.checked_mul(4)?)?)?;
        (0..count).map(|index| Self::behind(self.bytes, start + 4 * index)).collect()
    }

    /// Where the elements of a list begin, and how many there are.
    fn list(&self, number: usize) -> Option<(usize, usize)> {
        let place = self.field(number)?;
        let at = place.checked_add(u32_at(self.bytes, place)? as usize)?;
        Some((at.checked_add(4)?, u32_at(self.bytes, at)? as usize))
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}
