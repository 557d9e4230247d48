//! `getattr` where it does nothing but name a method of an allowed class.
//!
//! Python pickles a class method as `getattr(Class, 'name')`; pandas writes time zones so. That says no more than the
//! dotted name of protocol 4 and is judged like it, as long as the pickle does nothing else with `getattr`.

use tsumugi_files::pickle::{Heap, Symbol, Value};

use super::{Verdict, verdict};

/// Values that are looked through for another use, over all calls and writes of a pickle.
const LOOKED_AT: usize = 100_000;

/// What a pickle does with `getattr`.
#[derive(Debug, Default)]
pub struct Lookups {
    is_imported: bool,
    has_other_use: bool,
    harmless: usize,
    looked_at: usize,
}

impl Lookups {
    pub fn imported(&mut self, heap: &Heap<'_>, global: Value) {
        self.is_imported |= is_getattr(heap, global);
    }

    /// The verdict on what a call returns, if the call looks up an allowed name.
    pub fn call(&mut self, heap: &Heap<'_>, callee: Value, arguments: Value) -> Option<Verdict> {
        if !self.is_imported {
            return None;
        }
        if !is_getattr(heap, callee) {
            self.content(heap, arguments);
            return None;
        }
        let found = looked_up(heap, arguments).filter(|found| *found == Verdict::Allowed);
        match found {
            Some(_) => self.harmless += 1,
            None => self.has_other_use = true,
        }
        found
    }

    /// Notes whether `content` holds `getattr` itself.
    pub fn content(&mut self, heap: &Heap<'_>, content: Value) {
        let mut left = if self.is_imported { vec![content] } else { Vec::new() };
        while let Some(value) = left.pop() {
            self.looked_at += 1;
            self.has_other_use |= is_getattr(heap, value) || self.looked_at > LOOKED_AT;
            if self.has_other_use {
                return;
            }
            match heap.symbol(value) {
                Symbol::Tuple(items) | Symbol::FrozenSet(items) => left.extend(items),
                Symbol::List(items) | Symbol::Set(items) | Symbol::Dict(items) => left.extend(&items.kept),
                Symbol::Folded(_) => self.has_other_use = true,
                _ => {}
            }
        }
    }

    /// Notes a use that is not judged.
    pub fn other_use(&mut self) {
        self.has_other_use = true;
    }

    /// Whether every use was harmless, and there was one.
    pub fn are_harmless(&self) -> bool {
        self.harmless > 0 && !self.has_other_use
    }
}

/// Whether a name is `getattr`'s, as both Pythons write it.
pub fn is_named(name: &str) -> bool {
    matches!(name, "builtins.getattr" | "__builtin__.getattr")
}

fn is_getattr(heap: &Heap<'_>, value: Value) -> bool {
    matches!(heap.symbol(value), Symbol::Global { module, name } if is_named(&format!("{module}.{name}")))
}

/// The verdict on the dotted name that two arguments stand for.
fn looked_up(heap: &Heap<'_>, arguments: Value) -> Option<Verdict> {
    let [class, attribute] = heap.tuple(arguments)? else { return None };
    let Symbol::Global { module, name } = heap.symbol(*class) else { return None };
    Some(verdict(&module, &format!("{name}.{}", heap.name(*attribute)?)))
}
