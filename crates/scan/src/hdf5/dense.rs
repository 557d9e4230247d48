//! Many links or attributes of one object: records in a tree of the second version, whose contents are in a fractal heap.

use super::cursor::Cursor;
use super::groups::LEVELS_MAX;
use super::{File, Problem, Walk};

/// Bytes that stand before the records of a node, and the checksum behind them.
const NODE_BYTES: usize = 10;

/// A tree of records of one size.
struct Tree {
    node_bytes: usize,
    record_bytes: usize,
    /// For each depth: the most records of a node, and of all below it.
    most: Vec<(usize, usize)>,
}

impl Tree {
    /// Bytes of a pointer to a node of that depth: address, records in it, and records below it unless it is a leaf.
    fn pointer(&self, offset_bytes: usize, depth: usize) -> usize {
        let (records, all) = self.most[depth];
        offset_bytes + bytes_of(records) + if depth == 0 { 0 } else { bytes_of(all) }
    }

    fn grow(&mut self, offset_bytes: usize, depth: usize) -> Option<()> {
        let space = self.node_bytes.checked_sub(NODE_BYTES)?;
        let leaf = space / self.record_bytes;
        self.most.push((leaf, leaf));
        for below in 0..depth {
            let pointer = self.pointer(offset_bytes, below);
            let records = space.checked_sub(pointer)? / (self.record_bytes + pointer);
            let all = (records + 1).checked_mul(self.most[below].1)?.checked_add(records)?;
            self.most.push((records, all));
        }
        Some(())
    }
}

/// Bytes of a number that may be as large as `most`.
fn bytes_of(most: usize) -> usize {
    most.max(1).ilog2() as usize / 8 + 1
}

/// A fractal heap: blocks in rows, each row of blocks twice as large as the one before.
struct Heap {
    /// Bytes of a place in the heap, and of a length, in an id.
    place_bytes: usize,
    size_bytes: usize,
    width: u64,
    first_block: u64,
    largest_direct: u64,
    root: u64,
    /// Rows of the root; none if the root is a block itself.
    rows: u64,
}

impl<'a> Walk<'a> {
    /// Links that a message about links says are kept in a heap.
    pub fn dense_links(&mut self, path: &str, data: &'a [u8]) -> Result<(), Problem> {
        let order_bytes = if data.get(1).is_some_and(|flags| flags & 1 != 0) { 8 } else { 0 };
        let id_at = 4; // behind the name's hash
        for link in self.dense(data, order_bytes, id_at)? {
            self.link(path, link).ok_or(Problem::Broken { what: "a link", at: 0 })?;
        }
        Ok(())
    }

    /// Attributes that a message about attributes says are kept in a heap.
    pub fn dense_attributes(&mut self, data: &'a [u8]) -> Result<(), Problem> {
        let order_bytes = if data.get(1).is_some_and(|flags| flags & 1 != 0) { 2 } else { 0 };
        for attribute in self.dense(data, order_bytes, 0)? {
            self.attribute(attribute).ok_or(Problem::Broken { what: "an attribute", at: 0 })?;
        }
        Ok(())
    }

    /// The contents that records point to. `id_at` is where in a record the heap's id begins.
    fn dense(&mut self, data: &'a [u8], order_bytes: usize, id_at: usize) -> Result<Vec<&'a [u8]>, Problem> {
        let broken = |at| Problem::Broken { what: "a store of many links or attributes", at };
        let mut cursor = Cursor::new(data);
        cursor.skip(2 + order_bytes).ok_or(broken(0))?; // version, flags
        let heap = self.file.address(&mut cursor).ok_or(broken(0))?;
        let index = self.file.address(&mut cursor).ok_or(broken(0))?;
        let (Some(heap_at), Some(index_at)) = (heap, index) else { return Ok(Vec::new()) };
        let heap = self.file.fractal_heap(heap_at).ok_or(broken(heap_at))?;
        let mut records = Vec::new();
        self.records(index_at, &mut records)?;
        records
            .into_iter()
            .map(|record| {
                let id = record.get(id_at..).ok_or(broken(index_at))?;
                self.file.heap_object(&heap, id).ok_or(Problem::Unread { what: "a fractal heap", at: heap_at })
            })
            .collect()
    }

    /// All records of a tree.
    fn records(&mut self, address: u64, records: &mut Vec<&'a [u8]>) -> Result<(), Problem> {
        let broken = || Problem::Broken { what: "a tree of records", at: address };
        let (tree, root, count, depth) = self.file.record_tree(address).ok_or_else(broken)?;
        let mut left = Vec::from_iter(root.map(|root| (root, count, depth)));
        while let Some((node, count, depth)) = left.pop() {
            let signature = if depth == 0 { b"BTLF" } else { b"BTIN" };
            let mut cursor = self.file.signed(node, signature).ok_or_else(broken)?;
            cursor.skip(2).ok_or_else(broken)?; // version, type
            for _ in 0..count {
                self.step()?;
                records.push(cursor.take(tree.record_bytes).ok_or_else(broken)?);
            }
            let Some(below) = depth.checked_sub(1) else { continue };
            for _ in 0..=count {
                self.step()?;
                let (child_records, all) = tree.most[below];
                let mut child = || {
                    let child = cursor.uint(self.file.offset_bytes)?;
                    let records = cursor.uint(bytes_of(child_records))?;
                    cursor.skip(if below == 0 { 0 } else { bytes_of(all) })?;
                    Some((child, records, below))
                };
                left.push(child().ok_or_else(broken)?);
            }
        }
        Ok(())
    }
}

impl<'a> File<'a> {
    /// The tree, its root if it has one, the root's records, its depth.
    fn record_tree(&self, address: u64) -> Option<(Tree, Option<u64>, u64, usize)> {
        let mut cursor = self.signed(address, b"BTHD")?;
        cursor.skip(2)?; // version, type
        let (node_bytes, record_bytes) = (cursor.uint(4)? as usize, cursor.uint(2)? as usize);
        let depth = cursor.uint(2)? as usize;
        cursor.skip(2)?; // when nodes split and merge
        let root = self.address(&mut cursor)?;
        let count = cursor.uint(2)?;
        if record_bytes == 0 || depth >= LEVELS_MAX {
            return None;
        }
        let mut tree = Tree { node_bytes, record_bytes, most: Vec::new() };
        tree.grow(self.offset_bytes, depth)?;
        Some((tree, root, count, depth))
    }

    fn fractal_heap(&self, address: u64) -> Option<Heap> {
        let (offset, length) = (self.offset_bytes, self.length_bytes);
        let mut cursor = self.signed(address, b"FRHP")?;
        cursor.skip(3)?; // version, bytes of an id
        let filter_bytes = cursor.uint(2)?;
        cursor.skip(1)?; // flags
        let largest_object = cursor.uint(4)?;
        cursor.skip(10 * length + 2 * offset)?; // huge and free objects, counts
        let width = cursor.uint(2)?;
        let (first_block, largest_direct) = (cursor.uint(length)?, cursor.uint(length)?);
        let heap_bits = cursor.uint(2)? as usize;
        cursor.skip(2)?; // rows at the beginning
        let root = self.address(&mut cursor)??;
        let rows = cursor.uint(2)?;
        let is_read = filter_bytes == 0 && width > 0 && first_block.is_power_of_two() && heap_bits <= 64;
        let size_bytes = bytes_of(largest_direct as usize).min(bytes_of(largest_object as usize));
        let place_bytes = heap_bits.div_ceil(8);
        is_read.then_some(Heap { place_bytes, size_bytes, width, first_block, largest_direct, root, rows })
    }

    /// An object that lies in the id itself, in the root block, or in a block that the root points to.
    fn heap_object(&self, heap: &Heap, id: &'a [u8]) -> Option<&'a [u8]> {
        const MANAGED: u64 = 0;
        const TINY: u64 = 2;
        let mut cursor = Cursor::new(id);
        let first = cursor.uint(1)?;
        match first >> 4 & 3 {
            MANAGED => {}
            TINY => return cursor.take((first & 0x0F) as usize + 1),
            _ => return None,
        }
        let place = cursor.uint(heap.place_bytes)?;
        let bytes = usize::try_from(cursor.uint(heap.size_bytes)?).ok()?;
        let (block, within) = if heap.rows == 0 { (heap.root, place) } else { self.heap_block(heap, place)? };
        self.at(block.checked_add(within)?)?.take(bytes)
    }

    /// The block at a place of the heap, and the place within it.
    fn heap_block(&self, heap: &Heap, place: u64) -> Option<(u64, u64)> {
        let row_start = |row: u64| match row.checked_sub(1) {
            None => Some(0),
            Some(doublings) if doublings < 48 => heap.width.checked_mul(heap.first_block.checked_mul(1 << doublings)?),
            Some(_) => None,
        };
        let row = (0..heap.rows).take_while(|&row| row_start(row).is_some_and(|start| start <= place)).last()?;
        let block = heap.first_block.checked_mul(1 << row.saturating_sub(1))?;
        let within_row = place - row_start(row)?;
        let column = within_row / block;
        if block > heap.largest_direct || column >= heap.width {
            return None;
        }
        let mut cursor = self.signed(heap.root, b"FHIB")?;
        cursor.skip(1 + self.offset_bytes + heap.place_bytes)?; // version, heap, place
        cursor.skip(usize::try_from((row * heap.width + column) * self.offset_bytes as u64).ok()?)?;
        Some((self.address(&mut cursor)??, within_row % block))
    }
}
