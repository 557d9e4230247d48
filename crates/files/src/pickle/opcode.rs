//! The 68 opcodes of pickle protocols 0 to 5 (CPython, `Lib/pickletools.py`), and what follows each in the file.

/// What follows an opcode. Counts are little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    /// Nothing.
    None,
    /// So many bytes.
    Fixed(u8),
    /// The bytes up to a line feed.
    Line,
    /// Two lines: module and name.
    TwoLines,
    /// A count of so many bytes, then that many bytes.
    Counted(u8),
    /// A signed count of four bytes, then that many bytes; a negative one is an error.
    SignedCounted,
}

/// One opcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opcode {
    /// How it is stored.
    pub byte: u8,
    /// Its name in `pickletools`.
    pub name: &'static str,
    /// The protocol that brought it.
    pub protocol: u8,
    /// What follows it.
    pub argument: Argument,
}

macro_rules! opcodes {
    ($($name:ident $byte:literal $protocol:literal $argument:expr;)*) => {
        $(#[doc = concat!("Opcode ", stringify!($name), ", of protocol ", stringify!($protocol), ".")]
        pub const $name: u8 = $byte;)*

        /// Every opcode.
        pub const ALL: [Opcode; 68] = [
            $(Opcode { byte: $byte, name: stringify!($name), protocol: $protocol, argument: $argument },)*
        ];
    };
}

use Argument as A;

opcodes! {
    INT b'I' 0 A::Line;
    BININT b'J' 1 A::Fixed(4);
    BININT1 b'K' 1 A::Fixed(1);
    BININT2 b'M' 1 A::Fixed(2);
    LONG b'L' 0 A::Line;
    LONG1 0x8a 2 A::Counted(1);
    LONG4 0x8b 2 A::SignedCounted;
    STRING b'S' 0 A::Line;
    BINSTRING b'T' 1 A::SignedCounted;
    SHORT_BINSTRING b'U' 1 A::Counted(1);
    BINBYTES b'B' 3 A::Counted(4);
    SHORT_BINBYTES b'C' 3 A::Counted(1);
    BINBYTES8 0x8e 4 A::Counted(8);
    BYTEARRAY8 0x96 5 A::Counted(8);
    NEXT_BUFFER 0x97 5 A::None;
    READONLY_BUFFER 0x98 5 A::None;
    NONE b'N' 0 A::None;
    NEWTRUE 0x88 2 A::None;
    NEWFALSE 0x89 2 A::None;
    UNICODE b'V' 0 A::Line;
    SHORT_BINUNICODE 0x8c 4 A::Counted(1);
    BINUNICODE b'X' 1 A::Counted(4);
    BINUNICODE8 0x8d 4 A::Counted(8);
    FLOAT b'F' 0 A::Line;
    BINFLOAT b'G' 1 A::Fixed(8);
    EMPTY_LIST b']' 1 A::None;
    APPEND b'a' 0 A::None;
    APPENDS b'e' 1 A::None;
    LIST b'l' 0 A::None;
    EMPTY_TUPLE b')' 1 A::None;
    TUPLE b't' 0 A::None;
    TUPLE1 0x85 2 A::None;
    TUPLE2 0x86 2 A::None;
    TUPLE3 0x87 2 A::None;
    EMPTY_DICT b'}' 1 A::None;
    DICT b'd' 0 A::None;
    SETITEM b's' 0 A::None;
    SETITEMS b'u' 1 A::None;
    EMPTY_SET 0x8f 4 A::None;
    ADDITEMS 0x90 4 A::None;
    FROZENSET 0x91 4 A::None;
    POP b'0' 0 A::None;
    DUP b'2' 0 A::None;
    MARK b'(' 0 A::None;
    POP_MARK b'1' 1 A::None;
    GET b'g' 0 A::Line;
    BINGET b'h' 1 A::Fixed(1);
    LONG_BINGET b'j' 1 A::Fixed(4);
    PUT b'p' 0 A::Line;
    BINPUT b'q' 1 A::Fixed(1);
    LONG_BINPUT b'r' 1 A::Fixed(4);
    MEMOIZE 0x94 4 A::None;
    EXT1 0x82 2 A::Fixed(1);
    EXT2 0x83 2 A::Fixed(2);
    EXT4 0x84 2 A::Fixed(4);
    GLOBAL b'c' 0 A::TwoLines;
    STACK_GLOBAL 0x93 4 A::None;
    REDUCE b'R' 0 A::None;
    BUILD b'b' 0 A::None;
    INST b'i' 0 A::TwoLines;
    OBJ b'o' 1 A::None;
    NEWOBJ 0x81 2 A::None;
    NEWOBJ_EX 0x92 4 A::None;
    PROTO 0x80 2 A::Fixed(1);
    STOP b'.' 0 A::None;
    FRAME 0x95 4 A::Fixed(8);
    PERSID b'P' 0 A::Line;
    BINPERSID b'Q' 1 A::None;
}

/// By byte; none where the byte is no opcode.
static BY_BYTE: [Option<Argument>; 256] = {
    let mut table = [None; 256];
    let mut i = 0;
    while i < ALL.len() {
        table[ALL[i].byte as usize] = Some(ALL[i].argument);
        i += 1;
    }
    table
};

/// What follows the opcode `byte`; none where there is no such opcode.
pub(super) fn argument(byte: u8) -> Option<Argument> {
    BY_BYTE[byte as usize]
}

/// Whether the opcode pushes a text or bytes.
pub(super) fn is_content(byte: u8) -> bool {
    matches!(
        byte,
        STRING
            | BINSTRING
            | SHORT_BINSTRING
            | UNICODE
            | BINUNICODE
            | SHORT_BINUNICODE
            | BINUNICODE8
            | BINBYTES
            | SHORT_BINBYTES
            | BINBYTES8
            | BYTEARRAY8
    )
}

/// The name of an opcode, for messages.
pub fn name(byte: u8) -> &'static str {
    ALL.iter().find(|opcode| opcode.byte == byte).map_or("?", |opcode| opcode.name)
}
