//! HDF5 (HDF5 File Format Specification 3.0): groups, links, attributes and where datasets keep their bytes. The bytes
//! of datasets are not read.

mod cursor;
mod dense;
mod groups;

use std::collections::BTreeSet;

use cursor::Cursor;

/// Before the superblock, at byte 0, 512, 1024 and so on.
const MAGIC: &[u8] = b"\x89HDF\r\n\x1A\n";

/// Groups and datasets that are visited, or wait for it.
const OBJECTS_MAX: usize = 200_000;
/// Messages, links, records and elements that are read in all: parts of a file may point to the same bytes, or in circles.
const STEPS_MAX: usize = 1_000_000;
/// Objects of shared collections that are passed on the way to one, in all.
const PASSED_MAX: usize = 20_000_000;
/// Files of one dataset that are told, and items that are kept of one object.
const FILES_MAX: u64 = 1000;
const ITEMS_MAX: usize = 10_000;

/// Types of messages in an object's header.
mod message {
    pub const DATASPACE: u16 = 0x01;
    pub const LINK_INFO: u16 = 0x02;
    pub const DATATYPE: u16 = 0x03;
    pub const LINK: u16 = 0x06;
    pub const EXTERNAL_FILES: u16 = 0x07;
    pub const LAYOUT: u16 = 0x08;
    pub const ATTRIBUTE: u16 = 0x0C;
    pub const CONTINUATION: u16 = 0x10;
    pub const SYMBOL_TABLE: u16 = 0x11;
    pub const ATTRIBUTE_INFO: u16 = 0x15;
}

/// What a walk meets.
#[derive(Debug, PartialEq)]
pub enum Item<'a> {
    /// An attribute that holds texts or bytes: its elements.
    Attribute { name: String, elements: Vec<&'a [u8]> },
    /// A link, a dataset's bytes or a part of a virtual dataset in another file.
    Elsewhere { what: &'static str, file: String },
    /// A dataset's bytes, as its shape says.
    Declares { bytes: u64 },
}

/// Why a walk ended early, or left something out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("{what} at byte {at} goes beyond the file or is of no known form")]
    Broken { what: &'static str, at: u64 },
    #[error("{what} at byte {at} is of a form that is not read")]
    Unread { what: &'static str, at: u64 },
    #[error("it has more objects than the scanner visits")]
    TooMany,
}

/// Where a file begins: after a user block of 512 bytes or a power of two more.
pub fn start(bytes: &[u8]) -> Option<usize> {
    const USER_BLOCK_MAX: usize = 1 << 20;
    let places = std::iter::successors(Some(512), |at| Some(at * 2)).take_while(|at| *at <= USER_BLOCK_MAX);
    std::iter::once(0).chain(places).find(|&at| bytes.get(at..).is_some_and(|rest| rest.starts_with(MAGIC)))
}

/// Visits every object once, with its path. Problems are told to `visit` as well; what else there is goes on.
pub fn walk<'a>(bytes: &'a [u8], mut visit: impl FnMut(&str, Result<Item<'a>, Problem>)) {
    let Some((file, root)) = File::open(bytes) else {
        return visit(
            "/",
            Err(Problem::Broken { what: "the superblock", at: start(bytes).unwrap_or_default() as u64 }),
        );
    };
    let mut walk = Walk { file, steps: STEPS_MAX, passed: 0, left: vec![("/".to_owned(), root)], found: Vec::new() };
    let mut seen = BTreeSet::new();
    while let Some((path, address)) = walk.left.pop() {
        if !seen.insert(address) {
            continue;
        }
        let object = if seen.len() > OBJECTS_MAX { Err(Problem::TooMany) } else { walk.object(&path, address) };
        walk.found.drain(..).for_each(|item| visit(&path, Ok(item)));
        match object {
            Ok(()) => {}
            Err(problem @ Problem::TooMany) => return visit(&path, Err(problem)),
            Err(problem) => visit(&path, Err(problem)),
        }
    }
}

/// The bytes from the base address on, and how wide addresses and lengths are.
#[derive(Debug, Clone, Copy)]
struct File<'a> {
    bytes: &'a [u8],
    offset_bytes: usize,
    length_bytes: usize,
}

impl<'a> File<'a> {
    /// The file and the address of its root group.
    fn open(bytes: &'a [u8]) -> Option<(Self, u64)> {
        let superblock = start(bytes)?;
        let mut cursor = Cursor::new(bytes.get(superblock + MAGIC.len()..)?);
        let version = cursor.uint(1)?;
        if version < 2 {
            cursor.skip(4)?; // versions of parts
        }
        let (offset_bytes, length_bytes) = (cursor.uint(1)? as usize, cursor.uint(1)? as usize);
        let width = 2..=8;
        if version > 3 || !width.contains(&offset_bytes) || !width.contains(&length_bytes) {
            return None;
        }
        cursor.skip(match version {
            0 => 9,  // reserved, sizes of nodes, flags
            1 => 13, // and of chunks' nodes
            _ => 1,  // flags
        })?;
        let base = usize::try_from(cursor.uint(offset_bytes)?).ok()?;
        cursor.skip(2 * offset_bytes)?; // free space or extension, end of file
        if version < 2 {
            cursor.skip(2 * offset_bytes)?; // driver; the root's name
        }
        let root = cursor.uint(offset_bytes)?;
        Some((Self { bytes: bytes.get(base..)?, offset_bytes, length_bytes }, root))
    }

    fn at(&self, address: u64) -> Option<Cursor<'a>> {
        Some(Cursor::new(self.bytes.get(usize::try_from(address).ok()?..)?))
    }

    /// The bytes at an address that begin with a signature.
    fn signed(&self, address: u64, signature: &[u8]) -> Option<Cursor<'a>> {
        let mut cursor = self.at(address)?;
        (cursor.take(signature.len())? == signature).then_some(cursor)
    }

    /// An address; none if it is all ones, which means that there is nothing.
    fn address(&self, cursor: &mut Cursor<'a>) -> Option<Option<u64>> {
        let undefined = u64::MAX >> (64 - 8 * self.offset_bytes);
        cursor.uint(self.offset_bytes).map(|address| (address != undefined).then_some(address))
    }
}

struct Walk<'a> {
    file: File<'a>,
    steps: usize,
    passed: usize,
    /// Objects that are not visited yet.
    left: Vec<(String, u64)>,
    found: Vec<Item<'a>>,
}

impl<'a> Walk<'a> {
    fn step(&mut self) -> Result<(), Problem> {
        self.steps = self.steps.checked_sub(1).ok_or(Problem::TooMany)?;
        Ok(())
    }

    fn found(&mut self, item: Item<'a>) {
        if self.found.len() < ITEMS_MAX {
            self.found.push(item);
        } else {
            self.steps = 0;
        }
    }

    /// An object of a collection that objects share.
    fn global_object(&mut self, collection: u64, index: u64) -> Option<&'a [u8]> {
        let length_bytes = self.file.length_bytes;
        let mut cursor = self.file.signed(collection, b"GCOL")?;
        cursor.skip(4)?; // version, reserved
        let size = usize::try_from(cursor.uint(length_bytes)?).ok()?.checked_sub(8 + length_bytes)?;
        let mut objects = Cursor::new(cursor.take(size)?);
        while let Some(found) = objects.uint(2).filter(|_| self.passed < PASSED_MAX) {
            self.passed += 1;
            objects.skip(6)?; // references, reserved
            let bytes = usize::try_from(objects.uint(length_bytes)?).ok()?;
            let content = objects.take(bytes)?;
            if found == index {
                return Some(content);
            }
            if found == 0 {
                return None; // the free space at the end
            }
            objects.skip(bytes.checked_next_multiple_of(8)? - bytes)?;
        }
        None
    }

    fn object(&mut self, path: &str, address: u64) -> Result<(), Problem> {
        let broken = |what| move || Problem::Broken { what, at: address };
        let messages = self.messages(address)?;
        let of = |wanted| messages.iter().find(|(kind, _)| *kind == wanted).map(|(_, data)| *data);
        for &(kind, data) in &messages {
            self.step()?;
            match kind {
                message::LINK => self.link(path, data).ok_or_else(broken("a link"))?,
                message::SYMBOL_TABLE => self.symbol_table(path, data)?,
                message::LINK_INFO => self.dense_links(path, data)?,
                message::ATTRIBUTE => self.attribute(data).ok_or_else(broken("an attribute"))?,
                message::ATTRIBUTE_INFO => self.dense_attributes(data)?,
                message::EXTERNAL_FILES => self.external_files(data).ok_or_else(broken("a list of files"))?,
                message::LAYOUT => self.layout(data).ok_or_else(broken("a layout"))?,
                _ => {}
            }
        }
        if let (Some(space), Some(kind), Some(_)) = (of(message::DATASPACE), of(message::DATATYPE), of(message::LAYOUT))
        {
            let (elements, item) =
                elements(space, self.file.length_bytes).zip(type_size(kind)).ok_or_else(broken("a shape"))?;
            self.found(Item::Declares { bytes: elements.saturating_mul(item) });
        }
        self.step()
    }

    /// Types and contents of the messages of a header and of its continuations. Messages that are kept elsewhere (the
    /// second flag) are left out: they repeat types and shapes.
    fn messages(&mut self, address: u64) -> Result<Vec<(u16, &'a [u8])>, Problem> {
        const SHARED: u64 = 2;
        let broken = || Problem::Broken { what: "an object's header", at: address };
        let (mut blocks, shape) = self.header(address).ok_or_else(broken)?;
        let mut messages = Vec::new();
        let mut next = 0;
        while let Some(&block) = blocks.get(next) {
            next += 1;
            let mut cursor = Cursor::new(block);
            while let Some((kind, flags, data)) = shape.message(&mut cursor) {
                self.step()?;
                if kind == message::CONTINUATION {
                    blocks.push(self.continuation(data, shape).ok_or_else(broken)?);
                } else if flags & SHARED == 0 {
                    messages.push((kind, data));
                }
            }
        }
        Ok(messages)
    }

    /// The first block of messages, and how they are written.
    fn header(&self, address: u64) -> Option<(Vec<&'a [u8]>, HeaderShape)> {
        let mut cursor = self.file.at(address)?;
        if let Some(mut cursor) = self.file.signed(address, b"OHDR") {
            cursor.skip(1)?; // version
            let flags = cursor.uint(1)?;
            let times = if flags & 0x20 == 0 { 0 } else { 16 };
            let phases = if flags & 0x10 == 0 { 0 } else { 4 };
            cursor.skip(times + phases)?;
            let bytes = cursor.uint(1 << (flags & 3))?;
            let shape = HeaderShape::Second { order_bytes: if flags & 4 == 0 { 0 } else { 2 } };
            return Some((vec![cursor.take(usize::try_from(bytes).ok()?)?], shape));
        }
        let version = cursor.uint(1)?;
        cursor.skip(7)?; // reserved, messages, references
        let bytes = cursor.uint(4)? as usize;
        cursor.skip(4)?;
        Some((vec![cursor.take(bytes)?], HeaderShape::First)).filter(|_| version == 1)
    }

    fn continuation(&self, data: &'a [u8], shape: HeaderShape) -> Option<&'a [u8]> {
        let mut cursor = Cursor::new(data);
        let (address, bytes) = (cursor.uint(self.file.offset_bytes)?, cursor.uint(self.file.length_bytes)?);
        let block = self.file.at(address)?.take(usize::try_from(bytes).ok()?)?;
        match shape {
            HeaderShape::First => Some(block),
            // Between the signature and the checksum.
            HeaderShape::Second { .. } => block.strip_prefix(b"OCHK")?.split_last_chunk::<4>().map(|(block, _)| block),
        }
    }

    fn attribute(&mut self, data: &'a [u8]) -> Option<()> {
        let mut cursor = Cursor::new(data);
        let version = cursor.uint(1)?;
        cursor.skip(1)?;
        let [name, kind, space] = [cursor.uint(2)? as usize, cursor.uint(2)? as usize, cursor.uint(2)? as usize];
        if version == 3 {
            cursor.skip(1)?; // the name's encoding
        }
        let padded = |bytes: usize| if version == 1 { bytes.next_multiple_of(8) } else { bytes };
        let name = cursor::text(cursor.take(padded(name))?);
        let (kind, space) = (cursor.take(padded(kind))?, cursor.take(padded(space))?);
        let count = usize::try_from(elements(space, self.file.length_bytes)?).ok()?;
        let size = usize::try_from(type_size(kind)?).ok()?.max(1);
        let whole = cursor.rest();
        const ELEMENT_STEPS: usize = 10; // each is looked at for what it may be
        // What is beyond the steps that are left is not kept either: the walk ends.
        let most = self.steps / ELEMENT_STEPS + 1;
        let mut pieces = whole.chunks_exact(size).take(count.min(most));
        let elements = match kind.first()? & 0x0F {
            type_class::STRING | type_class::OPAQUE => pieces.collect(),
            type_class::VARIABLE => {
                pieces.try_fold(Vec::new(), |mut all, piece| {
                    let mut piece = Cursor::new(piece);
                    piece.skip(4)?; // its length
                    let (collection, index) = (piece.uint(self.file.offset_bytes)?, piece.uint(4)?);
                    if index > 0 {
                        all.push(self.global_object(collection, index)?);
                    }
                    Some(all)
                })?
            }
            _ => return Some(()),
        };
        self.steps = self.steps.saturating_sub(ELEMENT_STEPS * elements.len());
        self.found(Item::Attribute { name, elements });
        Some(())
    }

    /// Names of the files that hold a dataset's bytes, from a group's heap.
    fn external_files(&mut self, data: &'a [u8]) -> Option<()> {
        let mut cursor = Cursor::new(data);
        cursor.skip(6)?; // version, reserved, slots
        let used = cursor.uint(2)?.min(FILES_MAX);
        let heap = self.file.local_heap(cursor.uint(self.file.offset_bytes)?)?;
        for _ in 0..used {
            let name = usize::try_from(cursor.uint(self.file.length_bytes)?).ok()?;
            cursor.skip(2 * self.file.length_bytes)?; // place and size in it
            let file = cursor::text(heap.get(name..)?);
            self.found(Item::Elsewhere { what: "a dataset keeps its bytes in", file });
        }
        Some(())
    }

    /// Of layouts, virtual ones name files.
    fn layout(&mut self, data: &'a [u8]) -> Option<()> {
        const VIRTUAL: u64 = 3;
        let mut cursor = Cursor::new(data);
        let version = cursor.uint(1)?;
        if version < 4 || cursor.uint(1)? != VIRTUAL {
            return Some(());
        }
        let collection = cursor.uint(self.file.offset_bytes)?;
        let mut list = Cursor::new(self.global_object(collection, cursor.uint(4)?)?);
        list.skip(1 + self.file.length_bytes)?; // version, entries
        // The selections between the names have many forms; the first file is enough to be told.
        let file = cursor::text(list.rest());
        if file != "." {
            self.found(Item::Elsewhere { what: "a virtual dataset reads", file });
        }
        Some(())
    }
}

/// How messages of a header are written.
#[derive(Debug, Clone, Copy)]
enum HeaderShape {
    First,
    Second { order_bytes: usize },
}

impl HeaderShape {
    /// The next message: type, flags, content.
    fn message<'a>(self, cursor: &mut Cursor<'a>) -> Option<(u16, u64, &'a [u8])> {
        let (kind, bytes, flags) = match self {
            Self::First => {
                let message = (cursor.uint(2)?, cursor.uint(2)?, cursor.uint(1)?);
                cursor.skip(3)?;
                message
            }
            Self::Second { order_bytes } => {
                let message = (cursor.uint(1)?, cursor.uint(2)?, cursor.uint(1)?);
                cursor.skip(order_bytes)?;
                message
            }
        };
        Some((kind as u16, flags, cursor.take(bytes as usize)?))
    }
}

/// Classes of types whose elements are texts or bytes.
mod type_class {
    pub const STRING: u8 = 3;
    pub const OPAQUE: u8 = 5;
    pub const VARIABLE: u8 = 9;
}

/// Bytes of one element of a type.
fn type_size(kind: &[u8]) -> Option<u64> {
    Cursor::new(kind.get(4..)?).uint(4)
}

/// Elements of a shape; as many as can be counted where there are more.
fn elements(space: &[u8], length_bytes: usize) -> Option<u64> {
    const NULL: u64 = 2;
    let mut cursor = Cursor::new(space);
    let version = cursor.uint(1)?;
    let rank = cursor.uint(1)?;
    cursor.skip(1)?; // flags
    if version == 1 {
        cursor.skip(5)?;
    } else if cursor.uint(1)? == NULL {
        return Some(0);
    }
    (0..rank).try_fold(1u64, |product, _| Some(product.saturating_mul(cursor.uint(length_bytes)?)))
}
