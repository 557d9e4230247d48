//! Judging pickles: the machine of `tsumugi_files::pickle` tells what they would do, this says how bad that is.

mod legacy_names;
mod lookups;
mod names;
mod nested;
mod writes;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tsumugi_base::limits::{PICKLE_MEMO_MAX, PICKLE_OPCODES_MAX, PICKLE_STACK_MAX};
use tsumugi_files::pickle::joblib::{Inline, inline_array};
use tsumugi_files::pickle::{CallKind, Event, Heap, Limits, Machine, Problem, Symbol, Value, opcode};

use crate::context::{Expectation, Scan};
use crate::finding::Severity;
use crate::rules::{self, Rule};

use lookups::Lookups;
pub use names::{Verdict, verdict};
use nested::hidden;
pub use nested::{hidden_in, may_begin};

/// From how many bytes on a text or bytes of a pickle may hide another: `cos\nsystem\n(S'a'\ntR.` has 21.
pub const HIDING_BYTES_MIN: usize = 16;

/// The first number of PyTorch's legacy files (`torch/serialization.py`, `MAGIC_NUMBER`), and how many pickles follow
/// one another before the bare bytes of the storages.
const TORCH_MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
const TORCH_PICKLES: usize = 5;

/// Findings of low severity that are kept of one pickle; of each higher one as many more.
const TOLD_MAX: usize = 10_000;

/// Names, and functions that were looked up, of which verdicts are remembered.
const REMEMBERED: usize = 10_000;

/// Characters of an expression in a message.
const SHOWN: usize = 120;

/// A finding that is not told yet.
#[derive(Debug)]
struct Told {
    rule: &'static Rule,
    severity: Severity,
    offset: usize,
    subject: String,
    message: String,
    /// Whether the pickle begins where one must be, or was searched for among other bytes.
    is_sure: bool,
}

/// What came of looking at pickles.
#[derive(Debug, Default)]
pub struct Judgement {
    told: Vec<Told>,
    /// Offset after what was read.
    pub end: usize,
    /// Opcodes that were executed.
    pub opcodes: u64,
    /// Whether the first pickle ended well.
    pub is_whole: bool,
    /// Whether the first pickle called something before anything was wrong with it.
    pub calls: bool,
    /// Whether anything was called, whatever was wrong.
    calls_at_all: bool,
    /// Whether anything was imported, whatever was wrong.
    imports: bool,
    /// Whether the loader is asked for anything, whatever was wrong.
    asks_loader: bool,
    /// Whether the bytes ended in the middle of the first pickle, of which nothing else was wrong.
    runs_out: bool,
    limit: Option<Reached>,
}

/// A limit that was reached, so that not everything was looked at.
#[derive(Debug)]
struct Reached {
    offset: usize,
    why: String,
    /// Whether it was a pickle up to there, and nothing else that looks like one by chance.
    is_pickle: bool,
}

impl Judgement {
    /// Lines of words can be an import by chance: `cos`, `sin` imports `os.sin`. In a text that was seen to its end and calls
    /// nothing, such an import is no harm if there is nothing of that name to import.
    fn doubt(&mut self, bytes: &[u8]) {
        const HEAD: usize = 1024;
        let is_text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t' | 0x80..);
        if self.calls_at_all || self.limit.is_some() || !bytes[..bytes.len().min(HEAD)].iter().all(is_text) {
            return;
        }
        let is_import = |told: &&mut Told| std::ptr::eq(told.rule, &rules::DANGEROUS_IMPORT);
        for told in self.told.iter_mut().filter(is_import).filter(|told| names::is_by_chance(&told.subject)) {
            told.severity = Severity::Low;
        }
    }

    /// Whether a pickle was longer than its limits.
    fn is_limited(&self) -> bool {
        self.limit.as_ref().is_some_and(|reached| reached.is_pickle)
    }

    /// Whether it is a text that has the name of a pickle and is none: nothing loads, and where nothing is imported or got from the
    /// loader there is nothing to call.
    fn is_mere_text(&self, bytes: &[u8]) -> bool {
        let acts = self.imports || self.asks_loader && self.calls_at_all || self.is_whole || self.limit.is_some();
        // In whatever letters: Latin-1, too. A pickle with the mark of one is no text.
        let is_letter = |byte: &u8| *byte >= b' ' || matches!(byte, b'\t' | b'\n' | b'\r' | 0x0C);
        !acts && bytes.first() != Some(&opcode::PROTO) && bytes.iter().all(is_letter)
    }

    /// The worst that was found by names alone: of what is denied, and in whole pickles of what is called unknown.
    fn worst_by_name(&self) -> Option<&Told> {
        let counts = |told: &&Told| {
            std::ptr::eq(told.rule, &rules::DANGEROUS_IMPORT)
                || self.is_whole && told.is_sure && told.severity >= Severity::Medium
        };
        self.told.iter().filter(counts).max_by_key(|told| told.severity)
    }
}

/// What may still be spent on what hides in pickles.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Pickles in pickles.
    pub depth: usize,
    /// Bytes that are decoded or unpacked.
    pub decoded_bytes: usize,
    /// What was not looked at because it was spent.
    pub unread: Option<&'static str>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { depth: 4, decoded_bytes: 256 << 20, unread: None }
    }
}

impl Budget {
    fn miss(&mut self, what: &'static str) {
        self.unread.get_or_insert(what);
    }
}

/// Why a pickle in a pickle is not looked at.
const TOO_DEEP: &str = "pickles are nested deeper than the scanner goes";

/// Looks at the pickles of `bytes` from `offset` on and tells what is wrong with them. Of a text that is no pickle at all nothing
/// is told but that, and what does harm.
pub fn scan(bytes: &[u8], offset: usize, expectation: Expectation, scan: &mut Scan<'_>) {
    let mut budget = Budget::default();
    let mut judgement = judge(bytes, offset, scan.limits.opcodes, usize::MAX, &mut budget);
    let is_text = offset == 0 && expectation == Expectation::File && judgement.is_mere_text(bytes);
    let expectation = if is_text { Expectation::Payload } else { expectation };
    if is_text {
        scan.find(&rules::FORMAT_MISMATCH, Some(0), "text", "it has the name of a pickle, but is a text");
        tell_hidden(bytes, scan);
    }
    if expectation == Expectation::Payload {
        judgement.doubt(bytes);
    }
    for told in judgement.told {
        let harms = std::ptr::eq(told.rule, &rules::DANGEROUS_IMPORT);
        if harms || expectation == Expectation::File && told.is_sure {
            scan.find_as(told.rule, told.severity, Some(told.offset), &told.subject, told.message);
        }
    }
    if let Some(reached) = judgement.limit.filter(|reached| expectation == Expectation::File || reached.is_pickle) {
        scan.unread(Some(reached.offset), &reached.why);
    }
    if let Some(why) = budget.unread.filter(|_| expectation == Expectation::File || judgement.is_whole) {
        scan.unread(None, why);
    }
}

/// Tells that a text is a pickle in digits.
pub fn tell_hidden(text: &[u8], scan: &mut Scan<'_>) {
    if may_begin(text) {
        return;
    }
    if let Some((severity, what)) = hidden_in(text, scan) {
        scan.find_as(&rules::NESTED_PICKLE, severity, Some(0), &what, format!("the text is {what}"));
    }
}

/// Looks at the one pickle that may lie at `offset` among other bytes, as far as it is one, and tells what does harm and was
/// not found before.
pub fn scan_embedded(bytes: &[u8], offset: usize, scan: &mut Scan<'_>) {
    const OPCODES: u64 = 100_000;
    const BYTES: usize = 1 << 20;
    let end = bytes.len().min(offset + BYTES);
    let is_over = |judge: &Judge<'_>| judge.stops > 0 || judge.has_problem;
    let mut budget = Budget::default();
    let mut judgement = judge_until(&bytes[..end], offset, OPCODES, &mut budget, is_over);
    judgement.doubt(&bytes[offset..end]);
    // Random bytes soon run out, but import nothing before.
    if judgement.is_limited() || judgement.runs_out && judgement.imports && end < bytes.len() {
        scan.unread(Some(offset), "bytes within it are a pickle that is longer than the scanner follows");
    } else if let Some(why) = budget.unread.filter(|_| judgement.is_whole) {
        scan.unread(Some(offset), why);
    }
    let harms = |told: &Told| std::ptr::eq(told.rule, &rules::DANGEROUS_IMPORT) && told.is_sure;
    for told in judgement.told.into_iter().filter(harms) {
        if !scan.has_found(told.rule, &told.subject) {
            let message = format!("bytes within it are a pickle that {}", told.message);
            scan.find_as(told.rule, told.severity, Some(told.offset), &told.subject, message);
        }
    }
}

/// Runs at most `streams` pickles on symbols.
pub fn judge(bytes: &[u8], offset: usize, opcodes: u64, streams: usize, budget: &mut Budget) -> Judgement {
    let is_over = |judge: &Judge<'_>| judge.stops >= streams || judge.is_torch && judge.stops == TORCH_PICKLES;
    judge_until(bytes, offset, opcodes, budget, is_over)
}

fn judge_until(
    bytes: &[u8],
    offset: usize,
    opcodes: u64,
    budget: &mut Budget,
    is_over: impl Fn(&Judge<'_>) -> bool,
) -> Judgement {
    const KEPT: usize = 1_000_000; // some 80 MB
    // Whoever allows more opcodes allows what they fill.
    let at_least = |usual: usize, opcodes_each: u64| usual.max((opcodes / opcodes_each) as usize);
    let (memo, stack) = (at_least(PICKLE_MEMO_MAX, 3), at_least(PICKLE_STACK_MAX, 16));
    let limits = Limits { opcodes, memo, stack, kept: KEPT, told_bytes: HIDING_BYTES_MIN, ..Limits::default() };
    let mut judge = Judge {
        bytes,
        budget,
        result: Judgement { end: offset, ..Judgement::default() },
        verdicts: BTreeMap::new(),
        key: String::new(),
        denied: BTreeMap::new(),
        seen: BTreeSet::new(),
        is_sure: true,
        stops: 0,
        is_torch: false,
        has_problem: false,
        lookups: Lookups::default(),
        looked_up: HashMap::new(),
    };
    let mut machine = Machine::at(bytes, offset, limits);
    while let Some(event) = machine.next() {
        judge.event(&mut machine, event);
        judge.result.end = machine.offset();
        if is_over(&judge) {
            break;
        }
    }
    judge.result.opcodes += machine.opcodes();
    if judge.lookups.are_harmless() {
        judge.forgive_lookups();
    }
    judge.result
}

/// The class in an id of PyTorch's legacy files, `('module', class, file, source)`, which loads as that class.
fn saved_class(heap: &Heap<'_>, callee: Value) -> Value {
    let Symbol::Persistent(id) = heap.symbol(callee) else { return callee };
    match heap.tuple(id) {
        Some(&[word, class, _, _]) if heap.name(word).is_some_and(|word| word == "module") => class,
        _ => callee,
    }
}

/// Whether a call runs a constructor that may evaluate or open what it is given; `NEWOBJ` makes the object alone.
fn is_constructed(heap: &Heap<'_>, callee: Value, call: Value) -> bool {
    let Symbol::Call(made) = heap.symbol(call) else { return false };
    let runs = matches!(made.kind, CallKind::Reduce | CallKind::Object | CallKind::Instance);
    runs && constructs(heap, callee)
}

fn is_copied(heap: &Heap<'_>, call: Value) -> bool {
    let Symbol::Call(made) = heap.symbol(call) else { return false };
    matches!(heap.symbol(made.callee), Symbol::Global { module, .. } if matches!(&*module, "copyreg" | "copy_reg"))
}

fn constructs(heap: &Heap<'_>, value: Value) -> bool {
    matches!(heap.symbol(value), Symbol::Global { module, name } if names::constructs(&module, &name))
}

struct Judge<'a> {
    bytes: &'a [u8],
    budget: &'a mut Budget,
    result: Judgement,
    /// By module and name in two lines, as `key` is filled.
    verdicts: BTreeMap<String, Verdict>,
    key: String,
    /// Name to its place in what was told: a call adds its arguments.
    denied: BTreeMap<String, usize>,
    /// Rule and subject of what was told.
    seen: BTreeSet<(&'static str, String)>,
    is_sure: bool,
    stops: usize,
    is_torch: bool,
    has_problem: bool,
    lookups: Lookups,
    /// What came of calls that look something up.
    looked_up: HashMap<Value, Verdict>,
}

impl Judge<'_> {
    fn event(&mut self, machine: &mut Machine<'_>, event: Event) {
        let heap = machine.heap();
        match event {
            Event::Start { offset } => self.start(offset),
            Event::Import { offset, global } => self.import(heap, offset, global),
            Event::Call { offset, callee, arguments, result, .. } => {
                self.call(heap, offset, callee, arguments, result);
            }
            Event::Write { offset, target, content, .. } => {
                self.lookups.content(heap, content);
                writes::look(self, heap, &event, offset, target, content);
                let inline = inline_array(heap, &event, self.bytes, machine.offset());
                self.pass_array(machine, inline);
            }
            Event::Persistent { offset, value } => self.persistent(heap, offset, value),
            Event::Content { offset, value } => self.content(heap, offset, value),
            Event::Problem { offset, problem } => self.problem(offset, problem),
            Event::Skipped { bytes } => {
                if !self.has_problem {
                    let message = format!("{} bytes belong to no pickle", bytes.len());
                    self.tell(&rules::PICKLE_JUNK, Severity::Low, bytes.start, "junk", message);
                }
                self.is_sure = false;
            }
            Event::Stop { value, .. } => {
                self.is_torch |= self.stops == 0 && heap.int(value) == Some(TORCH_MAGIC);
                self.result.is_whole |= self.stops == 0 && !self.has_problem;
                self.stops += 1;
            }
        }
    }

    /// A pickle that follows another must have the mark of a beginning, or it is a guess.
    fn start(&mut self, offset: usize) {
        let follows = self.stops > 0 || self.has_problem;
        self.is_sure &= !follows || self.bytes.get(offset) == Some(&opcode::PROTO) && !self.has_problem;
    }

    fn tell(&mut self, rule: &'static Rule, severity: Severity, offset: usize, subject: &str, message: String) {
        // Many harmless findings must not hide a worse one.
        let most = TOLD_MAX * (1 + severity as usize);
        if self.result.told.len() < most && self.seen.insert((rule.id, subject.to_owned())) {
            let (subject, is_sure) = (subject.to_owned(), self.is_sure);
            self.result.told.push(Told { rule, severity, offset, subject, message, is_sure });
        }
    }

    /// What the table says of a global; none for what is computed.
    fn verdict_of(&mut self, heap: &Heap<'_>, value: Value) -> Option<Verdict> {
        let Symbol::Global { module, name } = heap.symbol(value) else { return None };
        self.key.clear();
        self.key.extend([&module, "\n", &name]);
        if let Some(&known) = self.verdicts.get(self.key.as_str()) {
            return Some(known);
        }
        if self.verdicts.len() >= REMEMBERED {
            self.verdicts.clear();
        }
        let found = verdict(&module, &name);
        self.verdicts.insert(self.key.clone(), found);
        Some(found)
    }

    fn import(&mut self, heap: &Heap<'_>, offset: usize, global: Value) {
        self.lookups.imported(heap, global);
        self.result.imports = true;
        match self.verdict_of(heap, global) {
            Some(Verdict::Denied(severity, does)) => {
                let name = full_name(heap, global);
                let message = format!("imports {name}, which {does}");
                if self.denied.len() < TOLD_MAX {
                    self.denied.entry(name.clone()).or_insert(self.result.told.len());
                }
                self.tell(&rules::DANGEROUS_IMPORT, severity, offset, &name, message);
            }
            Some(Verdict::Unknown) => {
                let name = full_name(heap, global);
                let message = format!("names {name}");
                self.tell(&rules::UNKNOWN_IMPORT, Severity::Low, offset, &name, message);
            }
            Some(Verdict::Allowed | Verdict::Forwards) => {}
            None => {
                let shown = heap.expression(global, SHOWN);
                let message = format!("imports {shown}, whose name is not in the file");
                self.tell(&rules::OPAQUE_IMPORT, rules::OPAQUE_IMPORT.severity, offset, &shown, message);
            }
        }
    }

    /// Takes back that `getattr` was imported; what pickles within this one do with it stays.
    fn forgive_lookups(&mut self) {
        let own: Vec<usize> =
            self.denied.iter().filter(|(name, _)| lookups::is_named(name)).map(|(_, &at)| at).collect();
        let mut at = 0;
        self.result.told.retain(|told| {
            at += 1;
            !(own.contains(&(at - 1)) && lookups::is_named(&told.subject))
        });
    }

    fn call(&mut self, heap: &Heap<'_>, offset: usize, callee: Value, arguments: Value, result: Value) {
        self.result.calls |= !self.has_problem;
        self.result.calls_at_all = true;
        if let Some(found) = self.lookups.call(heap, callee, arguments) {
            if self.looked_up.len() < REMEMBERED {
                self.looked_up.insert(result, found);
            } else {
                self.lookups.other_use();
            }
            return;
        }
        let verdict = match self.looked_up.get(&callee) {
            Some(&known) => Some(known),
            None => self.verdict_of(heap, saved_class(heap, callee)),
        };
        let Some(verdict) = verdict else {
            return self.computed_call(heap, offset, callee, result);
        };
        match verdict {
            Verdict::Allowed if is_constructed(heap, callee, result) => self.unknown_call(heap, offset, callee, result),
            Verdict::Allowed => {}
            Verdict::Forwards => self.invoked(heap, offset, arguments, result),
            Verdict::Unknown => self.unknown_call(heap, offset, callee, result),
            Verdict::Denied(_, does) => {
                let name = full_name(heap, callee);
                let place = self.denied.get(&name).and_then(|&at| self.result.told.get_mut(at));
                if let Some(told) = place.filter(|told| told.message.starts_with("imports")) {
                    told.message = format!("calls {}; {name} {does}", heap.expression(result, SHOWN));
                }
            }
        }
    }

    fn unknown_call(&mut self, heap: &Heap<'_>, offset: usize, callee: Value, result: Value) {
        let name = heap.expression(callee, SHOWN);
        let message = format!("calls {}, and {name} is on no list", heap.expression(result, SHOWN));
        let severity = rules::UNKNOWN_CALL.severity;
        self.tell(&rules::UNKNOWN_CALL, severity, offset, &name, message);
    }

    fn computed_call(&mut self, heap: &Heap<'_>, offset: usize, callee: Value, result: Value) {
        // What a number stands for was told when it was imported.
        if matches!(heap.symbol(callee), Symbol::Extension(_)) {
            return;
        }
        let shown = heap.expression(callee, SHOWN);
        let message = format!("calls {}, and what is called is computed", heap.expression(result, SHOWN));
        self.tell(&rules::COMPUTED_CALL, rules::COMPUTED_CALL.severity, offset, &shown, message);
    }

    /// Every name in `arguments` counts as called: the callee calls it. `call` is the whole call, for the message.
    fn invoked(&mut self, heap: &Heap<'_>, offset: usize, arguments: Value, call: Value) {
        const LOOKED_AT: usize = 1000;
        let mut left = vec![arguments];
        for _ in 0..LOOKED_AT {
            let Some(value) = left.pop() else { return };
            match heap.symbol(value) {
                Symbol::Tuple(items) | Symbol::FrozenSet(items) => left.extend(items),
                Symbol::List(items) | Symbol::Set(items) | Symbol::Dict(items) => left.extend(&items.kept),
                Symbol::Global { .. } => {
                    let is_unknown = match self.verdict_of(heap, value) {
                        Some(Verdict::Unknown) => true,
                        // `copyreg` makes objects without calling their constructor.
                        Some(Verdict::Allowed) => !is_copied(heap, call) && constructs(heap, value),
                        _ => false,
                    };
                    if is_unknown {
                        self.unknown_call(heap, offset, value, call);
                    }
                }
                _ => {}
            }
        }
    }

    /// PyTorch's ids are `('storage', type, key, location, elements)`; in legacy files also `('module', …)`.
    fn persistent(&mut self, heap: &Heap<'_>, offset: usize, value: Value) {
        self.result.asks_loader = true;
        let is_of_torch = match heap.symbol(value) {
            Symbol::Persistent(id) => {
                let first = heap.tuple(id).and_then(|items| heap.name(*items.first()?));
                first.is_some_and(|word| word == "storage" || word == "module")
            }
            Symbol::Folded(_) => true,
            _ => false,
        };
        if !is_of_torch {
            let message = format!("asks its loader for {}", heap.expression(value, SHOWN));
            self.tell(&rules::PERSISTENT, rules::PERSISTENT.severity, offset, "persistent id", message);
        }
    }

    fn content(&mut self, heap: &Heap<'_>, offset: usize, value: Value) {
        let found = match heap.symbol(value) {
            Symbol::Text(text) => hidden(text.as_bytes(), self.budget),
            Symbol::ByteString(bytes) => hidden(&bytes, self.budget),
            Symbol::Bytes(bytes) | Symbol::ByteArray(bytes) => hidden(bytes, self.budget),
            _ => None,
        };
        if let Some((severity, message)) = found {
            self.tell(&rules::NESTED_PICKLE, severity, offset, &message, format!("a value holds {message}"));
        }
    }

    fn problem(&mut self, offset: usize, problem: Problem) {
        let message = problem.to_string();
        match problem {
            // Told with the import that it belongs to.
            Problem::GlobalNotText => {}
            Problem::Limit { .. } => {
                let is_pickle = self.is_sure && !self.has_problem;
                self.result.limit = Some(Reached { offset, why: message, is_pickle });
            }
            Problem::StackLeft { .. } | Problem::MarkLeft => {
                self.tell(&rules::BROKEN_PICKLE, Severity::Low, offset, "left on the stack", message);
            }
            Problem::FrameInsideFrame { .. } | Problem::StopInsideFrame { .. } => {
                self.tell(&rules::FRAME, rules::FRAME.severity, offset, "frame", message);
            }
            Problem::OverFrameEnd { frame_end, .. } => {
                if !self.seen.contains(&(rules::FRAME.id, "frame".to_owned())) {
                    self.other_reading(frame_end as usize);
                }
                self.tell(&rules::FRAME, rules::FRAME.severity, offset, "frame", message);
            }
            _ => {
                let runs_out = matches!(problem, Problem::Ends { .. } | Problem::NoStop);
                self.result.runs_out |= runs_out && self.stops == 0 && !self.has_problem;
                let (rule, severity) = (&rules::BROKEN_PICKLE, rules::BROKEN_PICKLE.severity);
                self.tell(rule, severity, offset, "broken", message);
                self.has_problem = true;
            }
        }
    }

    /// What a reader that believes frames sees from a frame's end on.
    fn other_reading(&mut self, frame_end: usize) {
        const OPCODES: u64 = 100_000;
        let Some(mut inner) = self.inner(frame_end, OPCODES) else { return };
        inner.told.retain(|told| std::ptr::eq(told.rule, &rules::DANGEROUS_IMPORT));
        self.result.told.extend(inner.told);
        self.result.limit = self.result.limit.take().or(inner.limit);
    }

    /// The one pickle at `offset`, unless there are too many in one another.
    fn inner(&mut self, offset: usize, opcodes: u64) -> Option<Judgement> {
        let Some(depth) = self.budget.depth.checked_sub(1) else {
            self.budget.miss(TOO_DEEP);
            return None;
        };
        self.budget.depth = depth;
        let judgement = judge(self.bytes, offset, opcodes, 1, self.budget);
        self.budget.depth += 1;
        Some(judgement)
    }

    /// Passes over an array of joblib's; one of Python objects is a pickle of its own.
    fn pass_array(&mut self, machine: &mut Machine<'_>, inline: Option<Inline>) {
        let at = machine.offset();
        let passed = match inline {
            None => return,
            Some(Inline::Bytes(bytes)) => machine.pass_over(bytes),
            Some(Inline::Pickle) => {
                let Some(inner) = self.inner(at, PICKLE_OPCODES_MAX) else { return };
                self.result.opcodes += inner.opcodes;
                self.result.limit = self.result.limit.take().or(inner.limit);
                self.result.told.extend(inner.told);
                machine.pass_over(inner.end.saturating_sub(at))
            }
        };
        if !passed {
            let message = "an array should go on beyond the file's end".to_owned();
            self.tell(&rules::BROKEN_PICKLE, rules::BROKEN_PICKLE.severity, at, "array", message);
        }
    }
}

/// `os.system`, of a global.
fn full_name(heap: &Heap<'_>, global: Value) -> String {
    match heap.symbol(global) {
        Symbol::Global { module, name } => format!("{module}.{name}"),
        _ => String::new(),
    }
}
