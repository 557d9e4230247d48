//! The records of a zip file: local headers, directory entries, end records. Numbers are little-endian.

pub(super) const LOCAL: [u8; 4] = *b"PK\x03\x04";
pub(super) const END: [u8; 4] = *b"PK\x05\x06";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const END64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR64: [u8; 4] = *b"PK\x06\x07";
const DESCRIPTOR: [u8; 4] = *b"PK\x07\x08";

const LOCAL_BYTES: usize = 30;
const CENTRAL_BYTES: usize = 46;
pub(super) const END_BYTES: usize = 22;
const END64_BYTES: usize = 56;
const LOCATOR64_BYTES: usize = 20;

/// The id of the extra field that holds sizes beyond 32 bits.
const ZIP64_EXTRA: u16 = 1;

/// Of Unix's mode: what kind of file it is, and a symbolic link.
const FILE_TYPE: u16 = 0o170_000;
const SYMBOLIC_LINK: u16 = 0o120_000;

/// Fields of an extra part that are looked at; writers make two or three. Each of a million directory entries may name
/// the same header, so that this is also a matter of time.
const EXTRA_FIELDS_MAX: usize = 32;

/// What header and directory both say about an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub name: &'a [u8],
    pub flags: u16,
    pub method: u16,
    pub crc32: u32,
    pub packed: u64,
    pub size: u64,
}

/// A local header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Local<'a> {
    pub facts: Facts<'a>,
    /// Where the packed bytes begin.
    pub data: usize,
}

/// An entry of the directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Central<'a> {
    pub facts: Facts<'a>,
    /// Where its header should be, by the archive's own count.
    pub header: u64,
    /// Whether it is a symbolic link: the mode that Unix keeps in the upper half of the external attributes.
    pub is_link: bool,
    /// After it.
    pub end: usize,
}

/// The end of an archive, with the numbers of the 64-bit record where there is one.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub entries: u64,
    pub directory_bytes: u64,
    pub directory: u64,
    pub is_split: bool,
    /// Where the directory should end: at the first of the end records.
    pub begin: usize,
    /// After its comment.
    pub end: usize,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}

fn has(bytes: &[u8], at: usize, signature: [u8; 4]) -> bool {
    bytes.get(at..).is_some_and(|rest| rest.starts_with(&signature))
}

pub(super) fn local(bytes: &[u8], at: usize) -> Option<Local<'_>> {
    if !has(bytes, at, LOCAL) {
        return None;
    }
    let record = bytes.get(at..at + LOCAL_BYTES)?;
    let name_end = LOCAL_BYTES + usize::from(u16_at(record, 26)?);
    let data = name_end + usize::from(u16_at(record, 28)?);
    let rest = &bytes[at..];
    let facts = Facts {
        flags: u16_at(record, 6)?,
        method: u16_at(record, 8)?,
        crc32: u32_at(record, 14)?,
        packed: u32_at(record, 18)?.into(),
        size: u32_at(record, 22)?.into(),
        name: rest.get(LOCAL_BYTES..name_end)?,
    };
    let (facts, _) = widened(facts, 0, rest.get(name_end..data)?);
    Some(Local { facts, data: at + data })
}

pub(super) fn central(bytes: &[u8], at: usize) -> Option<Central<'_>> {
    if !has(bytes, at, CENTRAL) {
        return None;
    }
    let record = bytes.get(at..at + CENTRAL_BYTES)?;
    let name_end = CENTRAL_BYTES + usize::from(u16_at(record, 28)?);
    let extra_end = name_end + usize::from(u16_at(record, 30)?);
    let rest = &bytes[at..];
    let facts = Facts {
        flags: u16_at(record, 8)?,
        method: u16_at(record, 10)?,
        crc32: u32_at(record, 16)?,
        packed: u32_at(record, 20)?.into(),
        size: u32_at(record, 24)?.into(),
        name: rest.get(CENTRAL_BYTES..name_end)?,
    };
    let (facts, header) = widened(facts, u32_at(record, 42)?.into(), rest.get(name_end..extra_end)?);
    let end = at + extra_end + usize::from(u16_at(record, 32)?);
    let is_link = u16_at(record, 40)? & FILE_TYPE == SYMBOLIC_LINK;
    (end <= bytes.len()).then_some(Central { facts, header, is_link, end })
}

/// Sizes and header place with those of the 64-bit extra field, which has only those that do not fit, in this order.
fn widened<'a>(mut facts: Facts<'a>, mut header: u64, extra: &[u8]) -> (Facts<'a>, u64) {
    let mut at = 0;
    for _ in 0..EXTRA_FIELDS_MAX {
        let (Some(id), Some(len)) = (u16_at(extra, at), u16_at(extra, at + 2)) else { break };
        let field = extra.get(at + 4..at + 4 + usize::from(len)).unwrap_or_default();
        if id == ZIP64_EXTRA {
            let mut field_at = 0;
            for number in [&mut facts.size, &mut facts.packed, &mut header] {
                if *number == u64::from(u32::MAX)
                    && let Some(wide) = u64_at(field, field_at)
                {
                    *number = wide;
                    field_at += 8;
                }
            }
        }
        at += 4 + usize::from(len);
    }
    (facts, header)
}

/// The end record at `at`.
pub(super) fn end(bytes: &[u8], at: usize) -> Option<End> {
    if !has(bytes, at, END) {
        return None;
    }
    let record = bytes.get(at..at + END_BYTES)?;
    let comment = usize::from(u16_at(record, 20)?);
    let narrow = End {
        entries: u16_at(record, 10)?.into(),
        directory_bytes: u32_at(record, 12)?.into(),
        directory: u32_at(record, 16)?.into(),
        is_split: (u16_at(record, 4)?, u16_at(record, 6)?) != (0, 0) || record[8..10] != record[10..12],
        begin: at,
        end: at + END_BYTES + comment,
    };
    Some(end64(bytes, narrow).unwrap_or(narrow))
}

/// The end by the 64-bit record before it.
fn end64(bytes: &[u8], narrow: End) -> Option<End> {
    let locator = narrow.begin.checked_sub(LOCATOR64_BYTES).filter(|&at| has(bytes, at, LOCATOR64))?;
    // Where bytes stand before the archive, the locator is off by their number; the record lies right before it anyway.
    let said = usize::try_from(u64_at(bytes, locator + 8)?).ok().filter(|&at| has(bytes, at, END64));
    let at = said.or_else(|| locator.checked_sub(END64_BYTES)).filter(|&at| has(bytes, at, END64))?;
    Some(End {
        entries: u64_at(bytes, at + 32)?,
        directory_bytes: u64_at(bytes, at + 40)?,
        directory: u64_at(bytes, at + 48)?,
        is_split: narrow.is_split && (u32_at(bytes, at + 16)?, u32_at(bytes, at + 20)?) != (0, 0),
        begin: at,
        end: narrow.end,
    })
}

/// Bytes of the descriptor at `at` that repeats these numbers behind the data; none if there is none. Its signature and
/// the width of its sizes are the writer's choice.
pub(super) fn descriptor_bytes(bytes: &[u8], at: usize, facts: Facts<'_>) -> Option<usize> {
    let start = if has(bytes, at, DESCRIPTOR) { 4 } else { 0 };
    let crc32 = u32_at(bytes, at + start)?;
    let wide =
        (u64_at(bytes, at + start + 4), u64_at(bytes, at + start + 12)) == (Some(facts.packed), Some(facts.size));
    let [packed, size] = [4, 8].map(|field| u32_at(bytes, at + start + field).map(u64::from));
    let narrow = (packed, size) == (Some(facts.packed), Some(facts.size));
    match (crc32 == facts.crc32, wide, narrow) {
        (true, true, _) => Some(start + 20),
        (true, _, true) => Some(start + 12),
        _ => None,
    }
}
