//! Links of groups: in messages, and in the older symbol tables (a tree, nodes of entries, a heap of names).

use super::cursor::{Cursor, text};
use super::{File, Item, OBJECTS_MAX, Problem, Walk};

/// Levels of a tree.
pub const LEVELS_MAX: usize = 32;

impl<'a> File<'a> {
    /// The bytes of a heap of names.
    pub fn local_heap(&self, address: u64) -> Option<&'a [u8]> {
        let mut cursor = self.signed(address, b"HEAP")?;
        cursor.skip(4)?; // version, reserved
        let bytes = cursor.uint(self.length_bytes)?;
        cursor.skip(self.length_bytes)?; // the first free place
        self.at(cursor.uint(self.offset_bytes)?)?.take(usize::try_from(bytes).ok()?)
    }
}

impl<'a> Walk<'a> {
    /// A link as a message: to an object, to a path, or to another file.
    pub fn link(&mut self, path: &str, data: &'a [u8]) -> Option<()> {
        const HARD: u64 = 0;
        const SOFT: u64 = 1;
        const EXTERNAL: u64 = 64;
        let mut cursor = Cursor::new(data);
        cursor.skip(1)?; // version
        let flags = cursor.uint(1)?;
        let kind = if flags & 0x08 == 0 { HARD } else { cursor.uint(1)? };
        cursor.skip(if flags & 0x04 == 0 { 0 } else { 8 })?; // order
        cursor.skip(if flags & 0x10 == 0 { 0 } else { 1 })?; // the name's encoding
        let name_bytes = usize::try_from(cursor.uint(1 << (flags & 3))?).ok()?;
        let name = text(cursor.take(name_bytes)?);
        match kind {
            HARD => self.enter(path, &name, cursor.uint(self.file.offset_bytes)?),
            SOFT => {}
            EXTERNAL => {
                let bytes = cursor.uint(2)? as usize;
                let target = cursor.take(bytes)?.get(1..)?; // behind version and flags: file, path
                self.found(Item::Elsewhere { what: "a link leads to", file: text(target) });
            }
            _ => self.found(Item::Elsewhere { what: "a link of a kind of its own leads to", file: name }),
        }
        Some(())
    }

    fn enter(&mut self, path: &str, name: &str, address: u64) {
        const PATH_CHARS_MAX: usize = 200;
        if self.left.len() <= OBJECTS_MAX {
            let path = format!("{}/{name}", path.trim_end_matches('/'));
            self.left.push((path.chars().take(PATH_CHARS_MAX).collect(), address));
        } else {
            self.steps = 0;
        }
    }

    /// The links of an older group.
    pub fn symbol_table(&mut self, path: &str, data: &'a [u8]) -> Result<(), Problem> {
        let mut cursor = Cursor::new(data);
        let addresses = cursor.uint(self.file.offset_bytes).zip(cursor.uint(self.file.offset_bytes));
        let (tree, heap) = addresses.ok_or(Problem::Broken { what: "a symbol table", at: 0 })?;
        let heap = self.file.local_heap(heap).ok_or(Problem::Broken { what: "a heap of names", at: heap })?;
        self.tree_node(path, tree, heap, LEVELS_MAX)
    }

    fn tree_node(&mut self, path: &str, address: u64, heap: &'a [u8], levels: usize) -> Result<(), Problem> {
        let broken = || Problem::Broken { what: "a tree of names", at: address };
        let levels = levels.checked_sub(1).ok_or_else(broken)?;
        let Some(mut cursor) = self.file.signed(address, b"TREE") else {
            return self.symbols(path, address, heap);
        };
        let children = (|| {
            cursor.skip(2)?; // kind, level
            let children = cursor.uint(2)?;
            cursor.skip(2 * self.file.offset_bytes)?; // siblings
            (0..children)
                .map(|_| {
                    cursor.skip(self.file.length_bytes)?; // the key
                    cursor.uint(self.file.offset_bytes)
                })
                .collect::<Option<Vec<u64>>>()
        })();
        for child in children.ok_or_else(broken)? {
            self.step()?;
            self.tree_node(path, child, heap, levels)?;
        }
        Ok(())
    }

    fn symbols(&mut self, path: &str, address: u64, heap: &'a [u8]) -> Result<(), Problem> {
        const SOFT: u64 = 2;
        let broken = || Problem::Broken { what: "a node of names", at: address };
        let mut cursor = self.file.signed(address, b"SNOD").ok_or_else(broken)?;
        cursor.skip(2).ok_or_else(broken)?;
        for _ in 0..cursor.uint(2).ok_or_else(broken)? {
            self.step()?;
            let mut entry = || {
                let name = usize::try_from(cursor.uint(self.file.offset_bytes)?).ok()?;
                let object = cursor.uint(self.file.offset_bytes)?;
                let kind = cursor.uint(4)?;
                cursor.skip(20)?; // reserved, scratch
                Some((text(heap.get(name..)?), object, kind))
            };
            let (name, object, kind) = entry().ok_or_else(broken)?;
            if kind != SOFT {
                self.enter(path, &name, object);
            }
        }
        Ok(())
    }
}
