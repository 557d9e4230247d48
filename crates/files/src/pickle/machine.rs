//! The machine: opcode after opcode with a stack, marks and a memo, as CPython's unpickler, but nothing is called.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::heap::{ArgumentBytes, ArgumentFault, Call, CallKind, Heap, Value, WriteKind, argument_bytes};
use super::opcode::{self, Argument};
use super::{Event, Limits, PROTOCOL_MAX, Problem, resume, text};

/// Reads the pickles of a file one after the other and yields what they would do. Never panics; memory is bounded by
/// [`Limits`], time by the length of the file.
#[derive(Debug)]
pub struct Machine<'a> {
    bytes: &'a [u8],
    limits: Limits,
    heap: Heap<'a>,
    /// Where the next opcode is.
    position: usize,
    stack: Vec<Value>,
    /// Where in the stack each mark is.
    marks: Vec<usize>,
    memo: Memo,
    /// Where the current pickle begins.
    start: usize,
    /// Where the current frame ends; none outside of frames.
    frame_end: Option<usize>,
    opcodes: u64,
    /// No line feed stands here or behind; the end of the file until one was missed.
    line_feeds_end: usize,
    state: State,
    /// Events of one opcode that were not yielded yet, the last first.
    pending: Vec<Event>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first opcode of a pickle.
    Start,
    Inside,
    /// After a pickle that ended, well or not: the next one is looked for from `position`.
    After {
        stopped: bool,
    },
    Done,
}

/// Why the pickle cannot go on.
enum Halt {
    Stop(Value),
    Broken(Problem),
}

type Step = Result<(), Halt>;

impl<'a> Machine<'a> {
    /// Begins at the first byte.
    pub fn new(bytes: &'a [u8], limits: Limits) -> Self {
        Self::at(bytes, 0, limits)
    }

    /// Begins at `offset`.
    pub fn at(bytes: &'a [u8], offset: usize, limits: Limits) -> Self {
        Self {
            bytes,
            limits,
            heap: Heap::new(bytes, limits.kept),
            position: offset.min(bytes.len()),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Memo::default(),
            start: 0,
            frame_end: None,
            opcodes: 0,
            line_feeds_end: bytes.len(),
            state: State::Start,
            pending: Vec::new(),
        }
    }

    /// The symbols made up to now.
    pub fn heap(&self) -> &Heap<'a> {
        &self.heap
    }

    /// The symbols, when no more will be made.
    pub fn into_heap(self) -> Heap<'a> {
        self.heap
    }

    /// Where the next opcode is: right after the one whose event was yielded last.
    pub fn offset(&self) -> usize {
        self.position
    }

    /// How many opcodes were executed.
    pub fn opcodes(&self) -> u64 {
        self.opcodes
    }

    /// Passes over bytes that are no opcodes, such as an array of joblib's in the middle of a pickle. False, and
    /// nothing is passed over, where the file ends before.
    pub fn pass_over(&mut self, bytes: usize) -> bool {
        let end = self.position.checked_add(bytes).filter(|&end| end <= self.bytes.len());
        self.position = end.unwrap_or(self.position);
        end.is_some()
    }

    fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.pending.pop() {
                return Some(event);
            }
            match self.state {
                State::Done => return None,
                State::Start if self.position == self.bytes.len() => self.state = State::Done,
                State::Start => self.begin(),
                State::After { stopped } => self.find_next(stopped),
                State::Inside => self.execute(),
            }
        }
    }

    fn begin(&mut self) {
        self.stack.clear();
        self.marks.clear();
        self.memo.clear();
        self.start = self.position;
        self.frame_end = None;
        self.state = State::Inside;
        self.pending.push(Event::Start { offset: self.start });
    }

    /// After the end of a pickle: the next one, or the end.
    fn find_next(&mut self, stopped: bool) {
        let from = self.position;
        let next = resume::next_stream(self.bytes, from, stopped, self.limits.skip);
        self.position = next.unwrap_or(self.bytes.len());
        self.state = if next.is_some() { State::Start } else { State::Done };
        if self.position > from {
            self.pending.push(Event::Skipped { bytes: from..self.position });
        }
    }

    /// Runs until there is something to tell.
    fn execute(&mut self) {
        while self.pending.is_empty() && self.state == State::Inside {
            let offset = self.position;
            match self.step() {
                Ok(()) => {}
                Err(Halt::Stop(value)) => {
                    self.pending.push(Event::Stop { offset, value });
                    self.state = State::After { stopped: true };
                }
                Err(Halt::Broken(problem)) => {
                    let is_limit = matches!(problem, Problem::Limit { .. });
                    self.tell(offset, problem);
                    self.position = (offset + 1).min(self.bytes.len());
                    self.state = if is_limit { State::Done } else { State::After { stopped: false } };
                }
            }
            self.pending.reverse();
        }
    }

    fn tell(&mut self, offset: usize, problem: Problem) {
        self.pending.push(Event::Problem { offset, problem });
    }

    fn step(&mut self) -> Step {
        let offset = self.position;
        let Some((&byte, rest)) = self.bytes[offset..].split_first() else {
            return Err(Halt::Broken(Problem::NoStop));
        };
        let kind = opcode::argument(byte).ok_or(Halt::Broken(Problem::UnknownOpcode { byte }))?;
        let is_line = matches!(kind, Argument::Line | Argument::TwoLines);
        let argument = if is_line { self.line(kind, rest) } else { argument_bytes(kind, rest) };
        let argument = argument.map_err(|fault| {
            Halt::Broken(match fault {
                ArgumentFault::Ends { needed } => {
                    Problem::Ends { opcode: opcode::name(byte), needed, left: rest.len() as u64 }
                }
                ArgumentFault::NegativeCount(count) => Problem::NegativeCount { opcode: opcode::name(byte), count },
            })
        })?;
        self.opcodes += 1;
        if self.opcodes > self.limits.opcodes {
            return Err(limit("opcodes", self.limits.opcodes));
        }
        self.position = offset + 1 + argument.taken;
        if self.frame_end.is_some() {
            self.check_frame(offset, byte);
        }
        if argument.bytes.len() >= self.limits.told_bytes && opcode::is_content(byte) {
            self.pending.push(Event::Content { offset, value: Value::leaf(offset) });
        }
        self.dispatch(offset, byte, argument.bytes)
    }

    /// An argument of lines. A file without line feeds is searched for one once, not at each opcode that wants it.
    fn line(&mut self, kind: Argument, rest: &'a [u8]) -> Result<ArgumentBytes<'a>, ArgumentFault> {
        let start = self.bytes.len() - rest.len();
        if start >= self.line_feeds_end {
            return Err(ArgumentFault::Ends { needed: rest.len() as u64 + 1 });
        }
        let line = argument_bytes(kind, rest);
        if line.is_err() {
            let last = self.bytes.iter().rposition(|&byte| byte == b'\n');
            self.line_feeds_end = last.map_or(0, |last| last + 1);
        }
        line
    }

    #[inline]
    fn dispatch(&mut self, offset: usize, byte: u8, argument: &[u8]) -> Step {
        match byte {
            opcode::NONE | opcode::NEWTRUE | opcode::NEWFALSE | opcode::NEXT_BUFFER => self.push_leaf(offset),
            opcode::BININT | opcode::BININT1 | opcode::BININT2 | opcode::BINFLOAT => self.push_leaf(offset),
            opcode::LONG1 | opcode::LONG4 | opcode::BINSTRING | opcode::SHORT_BINSTRING => self.push_leaf(offset),
            opcode::BINBYTES | opcode::SHORT_BINBYTES | opcode::BINBYTES8 => self.push_leaf(offset),
            opcode::BYTEARRAY8 => self.push_leaf(offset),
            opcode::INT | opcode::LONG | opcode::FLOAT | opcode::STRING | opcode::UNICODE => {
                self.push_checked(offset, byte)
            }
            opcode::BINUNICODE | opcode::SHORT_BINUNICODE | opcode::BINUNICODE8 => self.push_checked(offset, byte),
            opcode::EXT1 | opcode::EXT2 | opcode::EXT4 | opcode::GLOBAL => self.import(offset, byte),
            opcode::STACK_GLOBAL => self.stack_global(offset),
            opcode::EMPTY_LIST | opcode::EMPTY_DICT | opcode::EMPTY_SET | opcode::EMPTY_TUPLE => {
                self.make(offset, byte, self.stack.len())
            }
            opcode::TUPLE1 | opcode::TUPLE2 | opcode::TUPLE3 => {
                let start = self.need(offset, byte, usize::from(byte - opcode::TUPLE1) + 1);
                self.make(offset, byte, start)
            }
            opcode::TUPLE | opcode::LIST | opcode::DICT | opcode::FROZENSET => {
                let start = self.pop_mark(offset, byte);
                self.make(offset, byte, start)
            }
            opcode::APPEND | opcode::SETITEM => {
                let start = self.need(offset, byte, if byte == opcode::APPEND { 1 } else { 2 });
                self.put(offset, byte, start)
            }
            opcode::APPENDS | opcode::SETITEMS | opcode::ADDITEMS => {
                let start = self.pop_mark(offset, byte);
                self.put(offset, byte, start)
            }
            opcode::MARK => self.push_mark(),
            opcode::POP | opcode::POP_MARK | opcode::DUP => self.shuffle(offset, byte),
            opcode::GET | opcode::BINGET | opcode::LONG_BINGET => self.memo_get(offset, byte, argument),
            opcode::PUT | opcode::BINPUT | opcode::LONG_BINPUT => self.memo_put(offset, byte, argument),
            opcode::MEMOIZE => {
                let index = self.memo.len() as u64;
                self.remember(offset, byte, index)
            }
            opcode::REDUCE | opcode::NEWOBJ | opcode::NEWOBJ_EX => self.call(offset, byte),
            opcode::INST | opcode::OBJ => self.call_marked(offset, byte),
            opcode::BUILD => self.build(offset),
            opcode::PERSID | opcode::BINPERSID => self.persistent(offset, byte),
            opcode::PROTO => self.proto(offset, argument),
            opcode::FRAME => self.frame(offset, argument),
            opcode::READONLY_BUFFER => {
                self.need(offset, byte, 1);
                Ok(())
            }
            opcode::STOP => self.stop(offset),
            _ => Err(Halt::Broken(Problem::UnknownOpcode { byte })),
        }
    }

    // The stack.

    #[inline]
    fn push(&mut self, value: Value) -> Step {
        if self.stack.len() >= self.limits.stack {
            return Err(limit("stack items", self.limits.stack as u64));
        }
        self.stack.push(value);
        Ok(())
    }

    #[inline]
    fn push_leaf(&mut self, offset: usize) -> Step {
        self.push(Value::leaf(offset))
    }

    /// Pushes a text or a number in text, which may be malformed.
    fn push_checked(&mut self, offset: usize, byte: u8) -> Step {
        if self.heap.leaf(offset).is_none() {
            self.tell(offset, Problem::BadArgument { opcode: opcode::name(byte) });
            return self.push(Value::unknown(offset));
        }
        self.push_leaf(offset)
    }

    fn push_mark(&mut self) -> Step {
        if self.marks.len() >= self.limits.stack {
            return Err(limit("marks", self.limits.stack as u64));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// Where the items after the last mark begin.
    fn fence(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    /// Where the last `count` items begin. Those that are missing are told and made unknown.
    #[inline]
    fn need(&mut self, offset: usize, byte: u8, count: usize) -> usize {
        let found = self.stack.len() - self.fence();
        if found < count {
            self.tell(offset, Problem::EmptyStack { opcode: opcode::name(byte), needed: count, found });
            let at = self.fence();
            self.stack.splice(at..at, std::iter::repeat_n(Value::unknown(offset), count - found));
        }
        self.stack.len() - count
    }

    #[inline]
    fn pop(&mut self, offset: usize, byte: u8) -> Value {
        self.need(offset, byte, 1);
        self.stack.pop().unwrap_or(Value::unknown(offset))
    }

    /// Takes the last mark away and says where its items begin.
    fn pop_mark(&mut self, offset: usize, byte: u8) -> usize {
        self.marks.pop().unwrap_or_else(|| {
            self.tell(offset, Problem::NoMark { opcode: opcode::name(byte) });
            self.stack.len()
        })
    }

    fn shuffle(&mut self, offset: usize, byte: u8) -> Step {
        match byte {
            opcode::POP_MARK => {
                let start = self.pop_mark(offset, byte);
                self.stack.truncate(start);
            }
            // As CPython: where nothing lies on the mark, the mark goes.
            opcode::POP if !self.marks.is_empty() && self.fence() == self.stack.len() => {
                self.marks.pop();
            }
            opcode::POP => {
                self.pop(offset, byte);
            }
            _ => {
                let start = self.need(offset, byte, 1);
                return self.push(self.stack[start]);
            }
        }
        Ok(())
    }

    // Containers.

    /// A container of everything from `start` on.
    fn make(&mut self, offset: usize, byte: u8, start: usize) -> Step {
        let items = &self.stack[start..];
        let (made, content) = match byte {
            opcode::FROZENSET => (self.heap.add_frozen_set(offset, items), None),
            opcode::EMPTY_LIST | opcode::LIST => (self.heap.add_list(offset), Some(WriteKind::Append)),
            opcode::EMPTY_DICT | opcode::DICT => (self.heap.add_dict(offset), Some(WriteKind::SetItems)),
            opcode::EMPTY_SET => (self.heap.add_set(offset), None),
            _ => (self.heap.add_tuple(offset, items), None),
        };
        if let Some(kind) = content {
            if kind == WriteKind::SetItems && items.len() % 2 == 1 {
                self.pending.push(Event::Problem { offset, problem: Problem::OddItems { opcode: opcode::name(byte) } });
            }
            self.heap.put(made, kind, items);
        }
        self.stack.truncate(start);
        self.push(made)
    }

    /// Writes everything from `start` on into what lies below.
    fn put(&mut self, offset: usize, byte: u8, start: usize) -> Step {
        let kind = match byte {
            opcode::APPEND | opcode::APPENDS => WriteKind::Append,
            opcode::ADDITEMS => WriteKind::Add,
            _ => WriteKind::SetItems,
        };
        let items = &self.stack[start..];
        if kind == WriteKind::SetItems && items.len() % 2 == 1 {
            self.tell(offset, Problem::OddItems { opcode: opcode::name(byte) });
        }
        let target = if start > self.fence() { Some(self.stack[start - 1]) } else { None };
        if !target.is_some_and(|target| self.heap.put(target, kind, &self.stack[start..])) {
            let content = self.heap.add_tuple(offset, &self.stack[start..]);
            self.stack.truncate(start);
            return self.write(offset, byte, kind, content);
        }
        self.stack.truncate(start);
        Ok(())
    }

    /// A write to the top of the stack.
    fn write(&mut self, offset: usize, byte: u8, kind: WriteKind, content: Value) -> Step {
        let top = self.need(offset, byte, 1);
        let target = self.stack[top];
        self.heap.note_write(target, kind, content);
        self.pending.push(Event::Write { offset, kind, target, content });
        Ok(())
    }

    fn build(&mut self, offset: usize) -> Step {
        let state = self.pop(offset, opcode::BUILD);
        self.write(offset, opcode::BUILD, WriteKind::Build, state)
    }

    // The memo.

    fn memo_index(argument: &[u8], byte: u8) -> Option<u64> {
        match byte {
            opcode::GET | opcode::PUT => text::memo_line(argument),
            _ => Some(argument.iter().rev().fold(0, |index, &byte| index << 8 | u64::from(byte))),
        }
    }

    fn memo_get(&mut self, offset: usize, byte: u8, argument: &[u8]) -> Step {
        let value = match Self::memo_index(argument, byte) {
            Some(index) => self.memo.get(index).ok_or(Problem::MissingMemo { index }),
            None => Err(Problem::BadArgument { opcode: opcode::name(byte) }),
        };
        match value {
            Ok(value) => self.push(value),
            Err(problem) => {
                self.tell(offset, problem);
                self.push(Value::unknown(offset))
            }
        }
    }

    fn memo_put(&mut self, offset: usize, byte: u8, argument: &[u8]) -> Step {
        match Self::memo_index(argument, byte) {
            Some(index) => self.remember(offset, byte, index),
            None => {
                self.tell(offset, Problem::BadArgument { opcode: opcode::name(byte) });
                Ok(())
            }
        }
    }

    #[inline]
    fn remember(&mut self, offset: usize, byte: u8, index: u64) -> Step {
        if self.memo.places() >= self.limits.memo {
            return Err(limit("memo entries", self.limits.memo as u64));
        }
        let top = self.need(offset, byte, 1);
        self.memo.put(index, self.stack[top]);
        Ok(())
    }

    // Imports and calls.

    fn import(&mut self, offset: usize, byte: u8) -> Step {
        self.push_checked(offset, byte)?;
        let global = self.stack[self.stack.len() - 1];
        self.pending.push(Event::Import { offset, global });
        Ok(())
    }

    fn stack_global(&mut self, offset: usize) -> Step {
        let start = self.need(offset, opcode::STACK_GLOBAL, 2);
        let (module, name) = (self.stack[start], self.stack[start + 1]);
        self.stack.truncate(start);
        let are_texts = self.heap.name(module).is_some() && self.heap.name(name).is_some();
        let global = if are_texts {
            self.heap.add_named(offset, module, name).ok_or_else(|| limit("imports", self.limits.kept as u64))?
        } else {
            self.tell(offset, Problem::GlobalNotText);
            Value::unknown(offset)
        };
        self.pending.push(Event::Import { offset, global });
        self.push(global)
    }

    fn call(&mut self, offset: usize, byte: u8) -> Step {
        let start = self.need(offset, byte, if byte == opcode::NEWOBJ_EX { 3 } else { 2 });
        let (kind, keywords) = match byte {
            opcode::REDUCE => (CallKind::Reduce, None),
            opcode::NEWOBJ => (CallKind::NewObject, None),
            _ => (CallKind::NewObjectWithKeywords, Some(self.stack[start + 2])),
        };
        let (callee, arguments) = (self.stack[start], self.stack[start + 1]);
        self.stack.truncate(start);
        self.push_call(offset, kind, callee, arguments, keywords)
    }

    /// `OBJ` and `INST`: the arguments are what lies on the mark; for `OBJ` the first of it is the callee.
    fn call_marked(&mut self, offset: usize, byte: u8) -> Step {
        let start = self.pop_mark(offset, byte);
        let (kind, callee, first) = if byte == opcode::INST {
            let global = Value::leaf(offset);
            if self.heap.leaf(offset).is_none() {
                self.tell(offset, Problem::BadArgument { opcode: "INST" });
            }
            self.pending.push(Event::Import { offset, global });
            (CallKind::Instance, global, start)
        } else if let Some(&callee) = self.stack.get(start) {
            (CallKind::Object, callee, start + 1)
        } else {
            self.tell(offset, Problem::EmptyStack { opcode: "OBJ", needed: 1, found: 0 });
            (CallKind::Object, Value::unknown(offset), start)
        };
        let arguments = self.heap.add_tuple(offset, &self.stack[first..]);
        self.stack.truncate(start);
        self.push_call(offset, kind, callee, arguments, None)
    }

    fn push_call(
        &mut self,
        offset: usize,
        kind: CallKind,
        callee: Value,
        arguments: Value,
        keywords: Option<Value>,
    ) -> Step {
        let call = Call { kind, callee, arguments, keywords, writes: Vec::new(), writes_more: 0 };
        let result = self.heap.add_call(offset, call);
        self.pending.push(Event::Call { offset, kind, callee, arguments, keywords, result });
        self.push(result)
    }

    fn persistent(&mut self, offset: usize, byte: u8) -> Step {
        let value = if byte == opcode::PERSID {
            Value::leaf(offset)
        } else {
            let id = self.pop(offset, byte);
            self.heap.add_persistent(offset, id)
        };
        self.pending.push(Event::Persistent { offset, value });
        self.push(value)
    }

    // Framing.

    fn proto(&mut self, offset: usize, argument: &[u8]) -> Step {
        let version = argument.first().copied().unwrap_or(0);
        if version > PROTOCOL_MAX {
            self.tell(offset, Problem::UnknownProtocol { version });
        }
        if offset != self.start {
            self.tell(offset, Problem::LateProtocol);
        }
        Ok(())
    }

    fn frame(&mut self, offset: usize, argument: &[u8]) -> Step {
        let len = argument.iter().rev().fold(0u64, |len, &byte| len << 8 | u64::from(byte));
        let left = self.bytes.len() - self.position;
        match usize::try_from(len).ok().filter(|&len| len <= left) {
            Some(len) => self.frame_end = Some(self.position + len),
            None => self.tell(offset, Problem::FrameBeyondEnd { len, left: left as u64 }),
        }
        Ok(())
    }

    /// A reader of files takes a frame as a whole, a reader of bytes never looks at it: where an opcode or its argument
    /// straddles a frame's end, the two read different pickles.
    fn check_frame(&mut self, offset: usize, byte: u8) {
        let Some(end) = self.frame_end else { return };
        if offset >= end {
            self.frame_end = None;
        } else if self.position > end {
            self.tell(offset, Problem::OverFrameEnd { opcode: opcode::name(byte), frame_end: end as u64 });
            self.frame_end = None;
        } else if byte == opcode::FRAME {
            self.tell(offset, Problem::FrameInsideFrame { frame_end: end as u64 });
        } else if byte == opcode::STOP && self.position < end {
            self.tell(offset, Problem::StopInsideFrame { frame_end: end as u64 });
        }
    }

    fn stop(&mut self, offset: usize) -> Step {
        if !self.marks.is_empty() {
            self.tell(offset, Problem::MarkLeft);
            self.marks.clear();
        }
        let value = self.pop(offset, opcode::STOP);
        if !self.stack.is_empty() {
            self.tell(offset, Problem::StackLeft { items: self.stack.len() });
        }
        Err(Halt::Stop(value))
    }
}

impl Iterator for Machine<'_> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.next_event()
    }
}

fn limit(what: &'static str, max: u64) -> Halt {
    Halt::Broken(Problem::Limit { what, max })
}

/// Index to value. Writers count from 0, so that a vector serves; a hostile index goes into the map.
#[derive(Debug, Default)]
struct Memo {
    dense: Vec<Value>,
    sparse: BTreeMap<u64, Value>,
    /// Entries in both.
    len: usize,
}

impl Memo {
    fn len(&self) -> usize {
        self.len
    }

    /// Memory, in places of the vector.
    fn places(&self) -> usize {
        const PLACES_OF_AN_ENTRY: usize = 8; // in the map, with its share of the tree
        self.dense.len() + self.sparse.len() * PLACES_OF_AN_ENTRY
    }

    fn clear(&mut self) {
        self.dense.clear();
        self.sparse.clear();
        self.len = 0;
    }

    fn get(&self, index: u64) -> Option<Value> {
        let dense = usize::try_from(index).ok().and_then(|index| self.dense.get(index));
        match dense {
            Some(&value) => Some(value).filter(|&value| value != Value::ABSENT),
            None => self.sparse.get(&index).copied(),
        }
    }

    #[inline]
    fn put(&mut self, index: u64, value: Value) {
        const AHEAD: u64 = 1024; // how far an index may lie beyond twice the entries and still be dense
        let dense_max = self.len as u64 * 2 + AHEAD;
        if index >= dense_max && index >= self.dense.len() as u64 {
            self.len += usize::from(self.sparse.insert(index, value).is_none());
            return;
        }
        let at = index as usize; // below dense_max, which is a usize
        if at >= self.dense.len() {
            let range = self.dense.len() as u64..=index;
            self.dense.resize(at + 1, Value::ABSENT);
            if !self.sparse.is_empty() {
                self.move_to_dense(range);
            }
        }
        self.len += usize::from(self.dense[at] == Value::ABSENT);
        self.dense[at] = value;
    }

    fn move_to_dense(&mut self, range: RangeInclusive<u64>) {
        let moved: Vec<u64> = self.sparse.range(range).map(|(&index, _)| index).collect();
        for index in moved {
            if let Some(value) = self.sparse.remove(&index) {
                self.dense[index as usize] = value;
            }
        }
    }
}
