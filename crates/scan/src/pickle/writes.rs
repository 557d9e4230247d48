//! Writes to what a pickle did not make as a plain list, set or dictionary.

use tsumugi_files::pickle::{Event, Heap, Symbol, Value, WriteKind};

use super::{Judge, SHOWN, Verdict, full_name};
use crate::finding::Severity;
use crate::rules;

/// Attributes that decide what an object does: no library writes them as state.
const BEHAVIOUR: &[&str] = &[
    "__builtins__",
    "__class__",
    "__code__",
    "__globals__",
    "__getattr__",
    "__getattribute__",
    "__setattr__",
    "__setstate__",
    "__reduce__",
    "__reduce_ex__",
    "__call__",
    "__del__",
    "__init__",
    "__new__",
    "__import__",
    "__bases__",
    "__mro__",
    "__wrapped__",
    "__loader__",
    "__spec__",
    "__path__",
];

/// Keys that are looked at.
const KEYS_MAX: usize = 10_000;

pub fn look(judge: &mut Judge<'_>, heap: &Heap<'_>, event: &Event, offset: usize, target: Value, content: Value) {
    let Event::Write { kind, .. } = *event else { return };
    let rule = &rules::OBJECT_WRITE;
    let shown = || heap.expression(target, SHOWN);
    match heap.symbol(target) {
        Symbol::Global { .. } | Symbol::Extension(_) => {
            let message = format!("writes to {}, which it imported", shown());
            judge.tell(rule, Severity::Critical, offset, &shown(), message);
        }
        Symbol::Call(_) if judge.looked_up.contains_key(&target) => {
            let message = format!("writes to {}, which it looked up", shown());
            judge.tell(rule, Severity::Critical, offset, &shown(), message);
        }
        Symbol::Call(call) => match judge.verdict_of(heap, call.callee) {
            Some(Verdict::Forwards) => judge.invoked(heap, offset, content, target),
            Some(_) if kind != WriteKind::Build && makes_array(&full_name(heap, call.callee)) => {
                let name = full_name(heap, call.callee);
                let message = format!("writes items into {}, which is no container", shown());
                judge.tell(rule, rule.severity, offset, &name, message);
            }
            _ => {}
        },
        _ => {}
    }
    if kind == WriteKind::Build
        && let Some(key) = behaviour(heap, content)
    {
        let message = format!("sets `{key}` of {}", shown());
        judge.tell(rule, rule.severity, offset, &key, message);
    }
}

/// Whether the callee makes a tensor or an array: native code relies on its state.
fn makes_array(name: &str) -> bool {
    name.starts_with("torch._utils._rebuild") || name.ends_with("multiarray._reconstruct") || name == "numpy.ndarray"
}

/// The first attribute that is set and decides behaviour.
fn behaviour(heap: &Heap<'_>, state: Value) -> Option<String> {
    let parts = match heap.symbol(state) {
        Symbol::Tuple(parts @ [_, _]) => parts.to_vec(),
        _ => vec![state],
    };
    let is_behaviour =
        |key: &Value| heap.name(*key).map(|key| key.into_owned()).filter(|key| BEHAVIOUR.contains(&&**key));
    parts.iter().find_map(|&part| match heap.symbol(part) {
        Symbol::Dict(items) => items.kept.iter().step_by(2).take(KEYS_MAX).find_map(is_behaviour),
        _ => None,
    })
}
