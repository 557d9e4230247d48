//! A symbol as one line that reads like Python: for findings, errors and tests.

use std::fmt::Write as _;

use super::heap::{Call, CallKind, Heap, Kind, Symbol, Value, WriteKind};

/// How deep containers and calls are shown.
const DEPTH_MAX: usize = 24;

impl Heap<'_> {
    /// The expression that makes `value`, cut at about `chars_max` characters. Writes follow as methods:
    /// `collections.OrderedDict().set_items('a', 1)`.
    pub fn expression(&self, value: Value, chars_max: usize) -> String {
        let mut renderer = Renderer { heap: self, text: String::new(), len_max: chars_max };
        renderer.value(value, 0);
        renderer.text
    }
}

struct Renderer<'h> {
    heap: &'h Heap<'h>,
    text: String,
    len_max: usize,
}

impl Renderer<'_> {
    fn value(&mut self, value: Value, depth: usize) {
        if depth > DEPTH_MAX || self.text.len() >= self.len_max {
            if !self.text.ends_with("...") {
                self.text.push_str("...");
            }
            return;
        }
        let heap = self.heap;
        if let Some(beginning) = heap.beginning(value, self.len_max.saturating_add(16)) {
            return self.quoted("", beginning.iter().copied().map(char::from));
        }
        match heap.symbol(value) {
            Symbol::None => self.text.push_str("None"),
            Symbol::Bool(value) => self.text.push_str(if value { "True" } else { "False" }),
            Symbol::Int(value) => self.show(format_args!("{value}")),
            Symbol::LongInt(_) => self.text.push_str("a large int"),
            Symbol::Float(value) => self.show(format_args!("{value:?}")),
            Symbol::Text(text) => self.quoted("", text.chars()),
            Symbol::ByteString(bytes) => self.quoted("b", bytes.iter().copied().map(char::from)),
            Symbol::Bytes(bytes) => self.quoted("b", bytes.iter().copied().map(char::from)),
            Symbol::ByteArray(bytes) => {
                self.quoted("bytearray(b", bytes.iter().copied().map(char::from));
                self.text.push(')');
            }
            Symbol::Buffer => self.text.push_str("buffer"),
            Symbol::Tuple([only]) => {
                self.list("(", &[*only], "", 0, depth);
                self.text.push_str(",)");
            }
            Symbol::Tuple(items) => self.list("(", items, ")", 0, depth),
            Symbol::FrozenSet(items) => self.list("frozenset({", items, "})", 0, depth),
            Symbol::List(items) => self.list("[", &items.kept, "]", items.more, depth),
            Symbol::Set(items) => self.list("{", &items.kept, "}", items.more, depth),
            Symbol::Dict(items) => self.dict(&items.kept, items.more, depth),
            Symbol::Global { module, name } => {
                self.show(format_args!("{}.{}", module.escape_debug(), name.escape_debug()))
            }
            Symbol::Extension(code) => self.show(format_args!("extension({code})")),
            Symbol::Persistent(id) => self.list("persistent(", &[id], ")", 0, depth),
            Symbol::PersistentLine(line) => {
                self.quoted("persistent(", line.iter().copied().map(char::from));
                self.text.push(')');
            }
            Symbol::Call(call) => self.call(call, depth),
            Symbol::Folded(kind) => self.text.push_str(folded(kind)),
            Symbol::Unknown => self.text.push('?'),
        }
    }

    fn show(&mut self, what: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.text.write_fmt(what);
    }

    fn quoted(&mut self, before: &str, chars: impl Iterator<Item = char>) {
        self.text.push_str(before);
        self.text.push('\'');
        for char in chars {
            if self.text.len() >= self.len_max {
                self.text.push_str("...");
                break;
            }
            match char {
                '\n' => self.text.push_str("\\n"),
                '\'' | '\\' => self.text.extend(['\\', char]),
                ' '..='~' => self.text.push(char),
                _ if u32::from(char) < 0x100 => self.show(format_args!("\\x{:02x}", u32::from(char))),
                _ if char.is_alphanumeric() => self.text.push(char),
                _ => self.show(format_args!("\\u{{{:x}}}", u32::from(char))),
            }
        }
        self.text.push('\'');
    }

    fn list(&mut self, open: &str, items: &[Value], close: &str, more: u64, depth: usize) {
        self.text.push_str(open);
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.text.push_str(", ");
            }
            self.value(*item, depth + 1);
            if self.text.len() >= self.len_max {
                break;
            }
        }
        self.more(more);
        self.text.push_str(close);
    }

    fn dict(&mut self, items: &[Value], more: u64, depth: usize) {
        self.text.push('{');
        for (i, pair) in items.chunks(2).enumerate() {
            if i > 0 {
                self.text.push_str(", ");
            }
            self.list("", pair.get(..1).unwrap_or_default(), ": ", 0, depth);
            self.list("", pair.get(1..).unwrap_or_default(), "", 0, depth);
            if self.text.len() >= self.len_max {
                break;
            }
        }
        self.more(more);
        self.text.push('}');
    }

    fn more(&mut self, more: u64) {
        if more > 0 {
            self.show(format_args!(" and {more} more"));
        }
    }

    fn call(&mut self, call: &Call, depth: usize) {
        self.value(call.callee, depth + 1);
        if matches!(call.kind, CallKind::NewObject | CallKind::NewObjectWithKeywords) {
            self.text.push_str(".__new__");
        }
        match (self.heap.tuple(call.arguments), call.keywords) {
            (Some(arguments), None) => self.list("(", arguments, ")", 0, depth),
            (_, keywords) => {
                self.list("(*", &[call.arguments], "", 0, depth);
                if let Some(keywords) = keywords {
                    self.list(", **", &[keywords], "", 0, depth);
                }
                self.text.push(')');
            }
        }
        for &(kind, content) in &call.writes {
            if self.text.len() >= self.len_max {
                break;
            }
            let method = match kind {
                WriteKind::Build => ".build(",
                WriteKind::SetItems => ".set_items(",
                WriteKind::Append => ".append(",
                WriteKind::Add => ".add(",
            };
            match self.heap.tuple(content) {
                Some(items) if kind != WriteKind::Build => self.list(method, items, ")", 0, depth),
                _ => self.list(method, &[content], ")", 0, depth),
            }
        }
        self.more(call.writes_more);
    }
}

fn folded(kind: Kind) -> &'static str {
    match kind {
        Kind::Tuple => "(...)",
        Kind::FrozenSet => "frozenset({...})",
        Kind::List => "[...]",
        Kind::Set | Kind::Dict => "{...}",
        Kind::Persistent => "persistent(...)",
        Kind::Call => "call(...)",
    }
}
