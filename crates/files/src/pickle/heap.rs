//! The symbols that a pickle makes: what its values would be if somebody ran it.
//!
//! A [`Value`] is eight bytes. Numbers and texts stay in the file: their value is the place of the opcode that pushed
//! them, and [`Heap::symbol`] decodes it when it is asked for. Containers and calls are nodes here.

use std::borrow::Cow;

use tsumugi_base::limits::PICKLE_NAME_BYTES_MAX;

use super::opcode::{self, Argument};
use super::text;

/// One symbol. What it is, says [`Heap::symbol`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Value(u64);

/// The two lowest bits of a [`Value`]; the rest is a place in the file or the index of a node.
const LEAF: u64 = 0;
const NODE: u64 = 1;
const NAMED: u64 = 2;
const UNKNOWN: u64 = 3;
const TAG_BITS: u32 = 2;

impl Value {
    /// No value: an empty place of the memo.
    pub(super) const ABSENT: Self = Self(u64::MAX);

    pub(super) fn leaf(offset: usize) -> Self {
        Self((offset as u64) << TAG_BITS | LEAF)
    }

    /// What the pickle needs at `offset` but never made.
    pub(super) fn unknown(offset: usize) -> Self {
        Self((offset as u64) << TAG_BITS | UNKNOWN)
    }

    fn node(index: usize) -> Self {
        Self((index as u64) << TAG_BITS | NODE)
    }

    fn named(index: usize) -> Self {
        Self((index as u64) << TAG_BITS | NAMED)
    }

    fn tag(self) -> u64 {
        self.0 & ((1 << TAG_BITS) - 1)
    }

    fn place(self) -> usize {
        (self.0 >> TAG_BITS) as usize
    }
}

/// What a [`Value`] is.
#[derive(Debug, Clone, PartialEq)]
pub enum Symbol<'h> {
    /// `None`.
    None,
    /// A Boolean.
    Bool(bool),
    /// An integer of at most 16 bytes.
    Int(i128),
    /// A larger integer: its bytes (two's complement, little-endian), or its decimal digits in protocol 0.
    LongInt(&'h [u8]),
    /// A floating-point number.
    Float(f64),
    /// A text. Half a surrogate pair, which Python allows, is U+FFFD here.
    Text(Cow<'h, str>),
    /// A `str` of Python 2: text or bytes, as its reader likes.
    ByteString(Cow<'h, [u8]>),
    /// `bytes`.
    Bytes(&'h [u8]),
    /// A `bytearray`.
    ByteArray(&'h [u8]),
    /// A buffer that the pickle does not hold.
    Buffer,
    /// A tuple.
    Tuple(&'h [Value]),
    /// A frozen set.
    FrozenSet(&'h [Value]),
    /// A list.
    List(&'h Items),
    /// A set.
    Set(&'h Items),
    /// A dictionary: key, value, key, value.
    Dict(&'h Items),
    /// An import.
    Global {
        /// The module as it stands in the file.
        module: Cow<'h, str>,
        /// The name in it; from protocol 4 on it may have dots.
        name: Cow<'h, str>,
    },
    /// An import by a number that the reader's process has registered (`copyreg.add_extension`).
    Extension(u32),
    /// What the reader's program makes of an id of its own, such as PyTorch's storages.
    Persistent(Value),
    /// The same in protocol 0: the id is a line.
    PersistentLine(&'h [u8]),
    /// What a call would return.
    Call(&'h Call),
    /// Something of this kind that was not kept, because [`Limits::kept`](super::Limits) was reached.
    Folded(Kind),
    /// Nothing that the pickle made.
    Unknown,
}

/// Kinds of symbols that have content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Kind {
    Tuple,
    FrozenSet,
    List,
    Set,
    Dict,
    Persistent,
    Call,
}

const KINDS: [Kind; 7] =
    [Kind::Tuple, Kind::FrozenSet, Kind::List, Kind::Set, Kind::Dict, Kind::Persistent, Kind::Call];

/// The content of a list, set or dictionary.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Items {
    /// Those that were kept.
    pub kept: Vec<Value>,
    /// How many more there are.
    pub more: u64,
}

/// How a pickle calls something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// `REDUCE`: `callee(*arguments)`.
    Reduce,
    /// `NEWOBJ`: `callee.__new__(callee, *arguments)`.
    NewObject,
    /// `NEWOBJ_EX`: the same with keywords.
    NewObjectWithKeywords,
    /// `OBJ`: `callee(*arguments)`.
    Object,
    /// `INST`: `callee(*arguments)`, and the callee is imported by the same opcode.
    Instance,
}

/// How a pickle writes to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteKind {
    /// `BUILD`: `target.__setstate__(content)`; else updates its `__dict__`, and of a pair sets each key of the second
    /// as an attribute.
    Build,
    /// `SETITEM(S)`: `target[key] = value`; the content is the tuple key, value, key, value.
    SetItems,
    /// `APPEND(S)`: `target.extend(content)` or `target.append` of each.
    Append,
    /// `ADDITEMS`: `target.add` of each.
    Add,
}

/// A call that a pickle asks for, and what it does with the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// By which opcode.
    pub kind: CallKind,
    /// What is called.
    pub callee: Value,
    /// The positional arguments: a tuple in every pickle that somebody's program wrote.
    pub arguments: Value,
    /// The keyword arguments.
    pub keywords: Option<Value>,
    /// What is written to the result later, in order.
    pub writes: Vec<(WriteKind, Value)>,
    /// How many writes more there are than were kept.
    pub writes_more: u64,
}

#[derive(Debug)]
enum Node {
    Tuple(Pooled),
    FrozenSet(Pooled),
    List(Items),
    Set(Items),
    Dict(Items),
    Persistent(Value),
    Call(Box<Call>),
    /// Made when no more were kept. All of a kind share one node.
    Folded(Kind),
}

/// A stretch of [`Heap::pool`].
#[derive(Debug, Clone, Copy)]
struct Pooled {
    start: u32,
    len: u32,
}

/// Every symbol of a pickle.
#[derive(Debug)]
pub struct Heap<'a> {
    bytes: &'a [u8],
    /// Place and content. The first are [`Node::Folded`], one of each kind.
    nodes: Vec<(usize, Node)>,
    /// Items of tuples and frozen sets.
    pool: Vec<Value>,
    /// Imports by `STACK_GLOBAL`: place, module and name.
    named: Vec<(usize, Value, Value)>,
    kept: usize,
    kept_max: usize,
}

impl<'a> Heap<'a> {
    /// Keeps at most `kept_max` nodes and items together (and fewer than 2^32).
    pub(super) fn new(bytes: &'a [u8], kept_max: usize) -> Self {
        let kept_max = kept_max.min(u32::MAX as usize - 1);
        let nodes = KINDS.map(|kind| (0, Node::Folded(kind))).into();
        Self { bytes, nodes, pool: vec![], named: vec![], kept: 0, kept_max }
    }

    /// What `value` is.
    pub fn symbol(&self, value: Value) -> Symbol<'_> {
        match value.tag() {
            LEAF => self.leaf(value.place()).unwrap_or(Symbol::Unknown),
            NODE => match &self.nodes[value.place()].1 {
                Node::Tuple(range) => Symbol::Tuple(self.pooled(*range)),
                Node::FrozenSet(range) => Symbol::FrozenSet(self.pooled(*range)),
                Node::List(items) => Symbol::List(items),
                Node::Set(items) => Symbol::Set(items),
                Node::Dict(items) => Symbol::Dict(items),
                Node::Persistent(id) => Symbol::Persistent(*id),
                Node::Call(call) => Symbol::Call(call),
                Node::Folded(kind) => Symbol::Folded(*kind),
            },
            NAMED => {
                let (_, module, name) = self.named[value.place()];
                match (self.name(module), self.name(name)) {
                    (Some(module), Some(name)) => Symbol::Global { module, name },
                    _ => Symbol::Unknown,
                }
            }
            _ => Symbol::Unknown,
        }
    }

    /// The place in the file of the opcode that made `value`; none for what was folded.
    pub fn offset(&self, value: Value) -> Option<usize> {
        match value.tag() {
            NODE => Some(self.nodes[value.place()].0).filter(|_| value.place() >= KINDS.len()),
            NAMED => Some(self.named[value.place()].0),
            _ => Some(value.place()),
        }
    }

    /// The text, if it is one of at most 4,096 bytes.
    pub fn name(&self, value: Value) -> Option<Cow<'_, str>> {
        match self.leaf_of(value, PICKLE_NAME_BYTES_MAX)? {
            Symbol::Text(text) => Some(text),
            Symbol::ByteString(bytes) => Some(text::byte_text(bytes)),
            _ => None,
        }
    }

    /// The integer, if it is one of at most 16 bytes.
    pub fn int(&self, value: Value) -> Option<i128> {
        const WRITTEN_BYTES_MAX: usize = 64; // 40 decimal digits
        match self.leaf_of(value, WRITTEN_BYTES_MAX)? {
            Symbol::Int(int) => Some(int),
            _ => None,
        }
    }

    /// The first bytes of a text or of bytes as they lie in the file, if there are more than `bytes_max`.
    pub(super) fn beginning(&self, value: Value, bytes_max: usize) -> Option<&[u8]> {
        if value.tag() != LEAF || self.leaf_of(value, bytes_max).is_some() {
            return None;
        }
        let (&byte, rest) = self.bytes.get(value.place()..)?.split_first()?;
        let start = match opcode::argument(byte)? {
            Argument::Line => 0,
            Argument::Counted(width) => usize::from(width),
            Argument::SignedCounted => 4,
            Argument::None | Argument::Fixed(_) | Argument::TwoLines => return None,
        };
        rest.get(start..start + bytes_max)
    }

    /// The items, if it is a tuple.
    pub fn tuple(&self, value: Value) -> Option<&[Value]> {
        match self.symbol(value) {
            Symbol::Tuple(items) => Some(items),
            _ => None,
        }
    }

    fn leaf_of(&self, value: Value, bytes_max: usize) -> Option<Symbol<'_>> {
        if value.tag() == LEAF { self.leaf_within(value.place(), bytes_max) } else { None }
    }

    fn pooled(&self, range: Pooled) -> &[Value] {
        &self.pool[range.start as usize..][..range.len as usize]
    }

    /// Decodes the opcode at `offset`; none if its argument cannot be decoded.
    pub(super) fn leaf(&self, offset: usize) -> Option<Symbol<'_>> {
        self.leaf_within(offset, usize::MAX)
    }

    /// The same for an argument of at most `bytes_max`; none if it is longer.
    fn leaf_within(&self, offset: usize, bytes_max: usize) -> Option<Symbol<'_>> {
        const COUNT_BYTES_MAX: usize = 8;
        let (&byte, rest) = self.bytes.get(offset..)?.split_first()?;
        let bytes_max = match byte {
            opcode::GLOBAL | opcode::INST => 2 * PICKLE_NAME_BYTES_MAX,
            _ => bytes_max,
        };
        let rest = &rest[..rest.len().min(bytes_max.saturating_add(COUNT_BYTES_MAX))];
        let argument = argument_bytes(opcode::argument(byte)?, rest).ok()?.bytes;
        let fixed = |bytes: &[u8]| bytes.iter().rev().fold(0u32, |number, &byte| number << 8 | u32::from(byte));
        let line = |line: text::Line<'a>| match line {
            text::Line::Bool(value) => Symbol::Bool(value),
            text::Line::Int(value) => Symbol::Int(value),
            text::Line::Long(digits) => Symbol::LongInt(digits),
        };
        Some(match byte {
            opcode::NONE => Symbol::None,
            opcode::NEWTRUE => Symbol::Bool(true),
            opcode::NEWFALSE => Symbol::Bool(false),
            opcode::INT => line(text::int_line(argument)?),
            opcode::LONG => line(text::long_line(argument)?),
            opcode::BININT => Symbol::Int((fixed(argument) as i32).into()),
            opcode::BININT1 | opcode::BININT2 => Symbol::Int(fixed(argument).into()),
            opcode::LONG1 | opcode::LONG4 => {
                text::little_endian(argument).map_or(Symbol::LongInt(argument), Symbol::Int)
            }
            opcode::FLOAT => Symbol::Float(text::float_line(argument)?),
            opcode::BINFLOAT => Symbol::Float(f64::from_be_bytes(argument.try_into().ok()?)),
            opcode::STRING => Symbol::ByteString(text::string_line(argument)?),
            opcode::BINSTRING | opcode::SHORT_BINSTRING => Symbol::ByteString(argument.into()),
            opcode::UNICODE => Symbol::Text(text::unicode_line(argument)?),
            opcode::BINUNICODE | opcode::SHORT_BINUNICODE | opcode::BINUNICODE8 => Symbol::Text(text::utf8(argument)?),
            opcode::BINBYTES | opcode::SHORT_BINBYTES | opcode::BINBYTES8 => Symbol::Bytes(argument),
            opcode::BYTEARRAY8 => Symbol::ByteArray(argument),
            opcode::NEXT_BUFFER => Symbol::Buffer,
            opcode::PERSID => Symbol::PersistentLine(argument),
            opcode::EXT1 | opcode::EXT2 | opcode::EXT4 => Symbol::Extension(fixed(argument)),
            opcode::GLOBAL | opcode::INST => {
                let mut lines = argument.split(|&byte| byte == b'\n');
                Symbol::Global { module: text::utf8(lines.next()?)?, name: text::utf8(lines.next()?)? }
            }
            _ => return None,
        })
    }

    fn has_room(&self, items: usize) -> bool {
        self.kept + 1 + items <= self.kept_max
    }

    fn add(&mut self, offset: usize, kind: Kind, items: usize, node: impl FnOnce() -> Node) -> Value {
        if !self.has_room(items) {
            return Value::node(kind as usize);
        }
        self.kept += 1 + items;
        self.nodes.push((offset, node()));
        Value::node(self.nodes.len() - 1)
    }

    fn add_pooled(&mut self, offset: usize, kind: Kind, items: &[Value], node: fn(Pooled) -> Node) -> Value {
        let range = Pooled { start: self.pool.len() as u32, len: items.len() as u32 };
        if self.has_room(items.len()) {
            self.pool.extend_from_slice(items);
        }
        self.add(offset, kind, items.len(), || node(range))
    }

    pub(super) fn add_tuple(&mut self, offset: usize, items: &[Value]) -> Value {
        self.add_pooled(offset, Kind::Tuple, items, Node::Tuple)
    }

    pub(super) fn add_frozen_set(&mut self, offset: usize, items: &[Value]) -> Value {
        self.add_pooled(offset, Kind::FrozenSet, items, Node::FrozenSet)
    }

    pub(super) fn add_list(&mut self, offset: usize) -> Value {
        self.add(offset, Kind::List, 0, || Node::List(Items::default()))
    }

    pub(super) fn add_set(&mut self, offset: usize) -> Value {
        self.add(offset, Kind::Set, 0, || Node::Set(Items::default()))
    }

    pub(super) fn add_dict(&mut self, offset: usize) -> Value {
        self.add(offset, Kind::Dict, 0, || Node::Dict(Items::default()))
    }

    pub(super) fn add_persistent(&mut self, offset: usize, id: Value) -> Value {
        self.add(offset, Kind::Persistent, 0, || Node::Persistent(id))
    }

    pub(super) fn add_call(&mut self, offset: usize, call: Call) -> Value {
        const CALL_WORDS: usize = 8; // what it takes beside its node
        self.add(offset, Kind::Call, CALL_WORDS, || Node::Call(Box::new(call)))
    }

    /// An import by `STACK_GLOBAL`; none if there are too many.
    pub(super) fn add_named(&mut self, offset: usize, module: Value, name: Value) -> Option<Value> {
        if self.named.len() >= self.kept_max {
            return None;
        }
        self.named.push((offset, module, name));
        Some(Value::named(self.named.len() - 1))
    }

    /// Puts `items` into `target` if it is a container of the kind that `kind` writes to. False: it is something else,
    /// which would be asked to do it.
    pub(super) fn put(&mut self, target: Value, kind: WriteKind, items: &[Value]) -> bool {
        if target.tag() != NODE {
            return false;
        }
        let has_room = self.has_room(items.len());
        let content = match (&mut self.nodes[target.place()].1, kind) {
            (Node::List(content), WriteKind::Append)
            | (Node::Set(content), WriteKind::Add)
            | (Node::Dict(content), WriteKind::SetItems) => content,
            (Node::Folded(Kind::List), WriteKind::Append)
            | (Node::Folded(Kind::Set), WriteKind::Add)
            | (Node::Folded(Kind::Dict), WriteKind::SetItems) => return true,
            _ => return false,
        };
        if has_room {
            content.kept.extend_from_slice(items);
            self.kept += items.len();
        } else {
            content.more += items.len() as u64;
        }
        true
    }

    /// Notes a write to the result of a call.
    pub(super) fn note_write(&mut self, target: Value, kind: WriteKind, content: Value) {
        let has_room = self.has_room(0);
        if target.tag() != NODE {
            return;
        }
        if let Node::Call(call) = &mut self.nodes[target.place()].1 {
            if has_room {
                call.writes.push((kind, content));
                self.kept += 2;
            } else {
                call.writes_more += 1;
            }
        }
    }
}

/// The argument of an opcode in the bytes after it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ArgumentBytes<'a> {
    /// Without counts and without the last line feed.
    pub bytes: &'a [u8],
    /// All that it takes in the file.
    pub taken: usize,
}

/// Why there is no argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ArgumentFault {
    /// The bytes end before it does; so many would be needed, at least.
    Ends { needed: u64 },
    /// Its count is negative.
    NegativeCount(i32),
}

/// The argument of kind `argument` at the beginning of `rest`.
#[inline]
pub(super) fn argument_bytes(argument: Argument, rest: &[u8]) -> Result<ArgumentBytes<'_>, ArgumentFault> {
    let exactly = |start: usize, len: u64| {
        let needed = len.saturating_add(start as u64);
        let bytes = usize::try_from(len).ok().and_then(|len| rest.get(start..)?.get(..len));
        bytes.map(|bytes| ArgumentBytes { bytes, taken: start + bytes.len() }).ok_or(ArgumentFault::Ends { needed })
    };
    let line_end = |start: usize| {
        let length = rest[start..].iter().position(|&byte| byte == b'\n');
        length.map(|length| start + length).ok_or(ArgumentFault::Ends { needed: rest.len() as u64 + 1 })
    };
    match argument {
        Argument::None => exactly(0, 0),
        Argument::Fixed(len) => exactly(0, len.into()),
        Argument::Line => {
            let end = line_end(0)?;
            Ok(ArgumentBytes { bytes: &rest[..end], taken: end + 1 })
        }
        Argument::TwoLines => {
            let end = line_end(line_end(0)? + 1)?;
            Ok(ArgumentBytes { bytes: &rest[..end], taken: end + 1 })
        }
        Argument::Counted(width) => {
            let count = exactly(0, width.into())?.bytes;
            exactly(width.into(), count.iter().rev().fold(0, |count, &byte| count << 8 | u64::from(byte)))
        }
        Argument::SignedCounted => {
            let count = rest.first_chunk().ok_or(ArgumentFault::Ends { needed: 4 })?;
            let count = i32::from_le_bytes(*count);
            exactly(4, count.try_into().map_err(|_| ArgumentFault::NegativeCount(count))?)
        }
    }
}
