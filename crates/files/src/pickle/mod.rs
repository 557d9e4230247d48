//! Python's pickles, read and never run: a machine that executes all 68 opcodes on symbols.
//!
//! A pickle is a program for a small stack machine (CPython, `Lib/pickletools.py`); two of its opcodes import, six call,
//! and that is why loading one can run anything. [`Machine`] runs the same program, but an import is a symbol, a call is a
//! symbol, and what comes out is a list of [`Event`]s and a [`Value`] whose parts [`Heap::symbol`] shows. It judges
//! nothing: the checkpoint reader allows a few names, a scanner may weigh them all.
//!
//! ```
//! use tsumugi_files::pickle::{Event, Limits, Machine, Symbol};
//!
//! let mut machine = Machine::new(b"cos\nsystem\n(S'ls'\ntR.", Limits::default());
//! let calls: Vec<_> = machine.by_ref().filter(|event| matches!(event, Event::Call { .. })).collect();
//! let Event::Call { offset: 19, callee, .. } = calls[0] else { panic!() };
//! assert_eq!(machine.heap().symbol(callee), Symbol::Global { module: "os".into(), name: "system".into() });
//! ```

mod heap;
pub mod joblib;
mod machine;
pub mod opcode;
mod render;
mod resume;
mod text;

use std::ops::Range;

use tsumugi_base::limits::{
    PICKLE_KEPT_MAX, PICKLE_MEMO_MAX, PICKLE_NAME_BYTES_MAX, PICKLE_OPCODES_MAX, PICKLE_SKIPPED_BYTES_MAX,
    PICKLE_STACK_MAX,
};

pub use heap::{Call, CallKind, Heap, Items, Kind, Symbol, Value, WriteKind};
pub use machine::Machine;

/// The newest protocol that there is.
pub const PROTOCOL_MAX: u8 = 5;

/// What a pickle would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A pickle begins. A file may hold several.
    Start {
        /// From the start of the file.
        offset: usize,
    },
    /// Something is imported.
    Import {
        /// From the start of the file.
        offset: usize,
        /// A [`Symbol::Global`] or [`Symbol::Extension`]; unknown where the name is no text.
        global: Value,
    },
    /// Something is called.
    Call {
        /// From the start of the file.
        offset: usize,
        /// By which opcode.
        kind: CallKind,
        /// What is called.
        callee: Value,
        /// The positional arguments.
        arguments: Value,
        /// The keyword arguments.
        keywords: Option<Value>,
        /// What it returns.
        result: Value,
    },
    /// An object that is no list, set or dictionary of this pickle is asked to take something in.
    Write {
        /// From the start of the file.
        offset: usize,
        /// How.
        kind: WriteKind,
        /// What is written to.
        target: Value,
        /// What is written.
        content: Value,
    },
    /// The reader's program is asked for something of its own.
    Persistent {
        /// From the start of the file.
        offset: usize,
        /// A [`Symbol::Persistent`] or [`Symbol::PersistentLine`].
        value: Value,
    },
    /// A text or bytes of at least [`Limits::told_bytes`] are pushed.
    Content {
        /// From the start of the file.
        offset: usize,
        /// A text, a byte string, bytes or a byte array.
        value: Value,
    },
    /// Something that no writer does. The machine goes on as well as it can.
    Problem {
        /// From the start of the file.
        offset: usize,
        /// What.
        problem: Problem,
    },
    /// Bytes that belong to no pickle.
    Skipped {
        /// From the start of the file.
        bytes: Range<usize>,
    },
    /// A pickle ends.
    Stop {
        /// From the start of the file.
        offset: usize,
        /// What it makes.
        value: Value,
    },
}

/// What a pickle may not cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most opcodes; beyond, the machine stops with [`Problem::Limit`].
    pub opcodes: u64,
    /// Most items on the stack, and most marks; beyond, it stops.
    pub stack: usize,
    /// Most places of the memo; beyond, it stops.
    pub memo: usize,
    /// Most containers, calls and items of theirs that are kept; beyond, it goes on without their content
    /// ([`Symbol::Folded`]). Events are not affected: a folded call was told when it was made.
    pub kept: usize,
    /// Most bytes that are searched for another pickle; where none is found, the rest of the file is passed over.
    pub skip: usize,
    /// From how many bytes on a text or bytes are told ([`Event::Content`]), for readers that look into them.
    pub told_bytes: usize,
}

impl Default for Limits {
    /// For files of any size: at most some 250 MB of memory.
    fn default() -> Self {
        Self {
            opcodes: PICKLE_OPCODES_MAX,
            stack: PICKLE_STACK_MAX,
            memo: PICKLE_MEMO_MAX,
            kept: PICKLE_KEPT_MAX,
            skip: PICKLE_SKIPPED_BYTES_MAX,
            told_bytes: usize::MAX,
        }
    }
}

/// What is wrong with a pickle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No such opcode. The pickle ends here.
    #[error("{byte:#04x} is no opcode")]
    UnknownOpcode {
        /// The byte.
        byte: u8,
    },
    /// The file ends inside of an argument. The pickle ends here.
    #[error("{opcode} needs {needed} more bytes, but {left} are left")]
    Ends {
        /// Its name.
        opcode: &'static str,
        /// After the opcode, at least.
        needed: u64,
        /// After the opcode.
        left: u64,
    },
    /// A count below zero. The pickle ends here.
    #[error("{opcode} has a length of {count}")]
    NegativeCount {
        /// Its name.
        opcode: &'static str,
        /// As it stands there.
        count: i32,
    },
    /// The file ends without `STOP`.
    #[error("the pickle ends without STOP")]
    NoStop,
    /// A text or number that cannot be decoded.
    #[error("the argument of {opcode} cannot be decoded")]
    BadArgument {
        /// Its name.
        opcode: &'static str,
    },
    /// Too few items on the stack.
    #[error("{opcode} needs {needed} items on the stack, but finds {found}")]
    EmptyStack {
        /// Its name.
        opcode: &'static str,
        /// How many it takes.
        needed: usize,
        /// How many lie on the last mark.
        found: usize,
    },
    /// No mark on the stack.
    #[error("{opcode} needs a mark on the stack")]
    NoMark {
        /// Its name.
        opcode: &'static str,
    },
    /// Keys without a value.
    #[error("{opcode} finds a key without a value")]
    OddItems {
        /// Its name.
        opcode: &'static str,
    },
    /// A memo entry that was never made.
    #[error("memo entry {index} was never made")]
    MissingMemo {
        /// Its index.
        index: u64,
    },
    /// A module or name that is no text, or a long one.
    #[error("STACK_GLOBAL imports by something that is no text of at most {PICKLE_NAME_BYTES_MAX} bytes")]
    GlobalNotText,
    /// A protocol that does not exist.
    #[error("protocol {version} does not exist; the newest is {PROTOCOL_MAX}")]
    UnknownProtocol {
        /// As it stands there.
        version: u8,
    },
    /// `PROTO` in the middle of a pickle.
    #[error("PROTO stands in the middle of the pickle")]
    LateProtocol,
    /// A frame inside of a frame.
    #[error("a frame begins before the last one ends, at byte {frame_end}")]
    FrameInsideFrame {
        /// From the start of the file.
        frame_end: u64,
    },
    /// A frame beyond the end of the file.
    #[error("a frame of {len} bytes begins, but {left} are left")]
    FrameBeyondEnd {
        /// Its length.
        len: u64,
        /// What there is.
        left: u64,
    },
    /// An argument in two frames.
    #[error("{opcode} and its argument reach over the frame's end at byte {frame_end}")]
    OverFrameEnd {
        /// Its name.
        opcode: &'static str,
        /// From the start of the file.
        frame_end: u64,
    },
    /// `STOP` before the frame's end.
    #[error("STOP stands before the frame's end at byte {frame_end}")]
    StopInsideFrame {
        /// From the start of the file.
        frame_end: u64,
    },
    /// Items that nothing takes.
    #[error("{items} items are left on the stack")]
    StackLeft {
        /// How many.
        items: usize,
    },
    /// A mark that nothing takes.
    #[error("a mark is left on the stack")]
    MarkLeft,
    /// More than we read. The machine stops here, with all that follows unread.
    #[error("more than {max} {what}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many we read.
        max: u64,
    },
}
