//! The two containers: which bytes are the pickle, and where each storage lies.

use std::collections::BTreeMap;
use std::ops::Range;

use super::allowed::{self, Allowed};
use super::error::TorchProblem;
use crate::element_type::ElementType;
use crate::pickle::{Event, Heap, Limits, Machine, Symbol, Value};
use crate::zip;

/// The first number of a legacy file (`torch/serialization.py`, `MAGIC_NUMBER`).
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;

/// The second one (`PROTOCOL_VERSION`).
const LEGACY_PROTOCOL: i128 = 1001;

/// A pickle that only does what tensors need.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub heap: Heap<'a>,
    /// What it makes.
    pub value: Value,
}

/// Key to bytes of the file.
pub(super) type Storages = BTreeMap<String, Range<usize>>;

/// The id of a storage in a pickle: `('storage', type, key, location, elements)`, in the legacy format with
/// `(view key, offset, elements)` or `None` behind it.
#[derive(Debug, Clone)]
pub(super) struct StorageId {
    /// None: bytes.
    pub element_type: Option<ElementType>,
    pub key: String,
    pub elements: usize,
    /// First element and number of elements of the part that is meant.
    pub view: Option<(usize, usize)>,
}

pub(super) fn read(bytes: &[u8]) -> Result<(Pickle<'_>, Storages), TorchProblem> {
    if bytes.starts_with(b"PK\x03\x04") {
        read_zip(bytes)
    } else if bytes.starts_with(&[0x80]) {
        read_legacy(bytes)
    } else {
        Err(TorchProblem::NotTorch)
    }
}

fn read_zip(bytes: &[u8]) -> Result<(Pickle<'_>, Storages), TorchProblem> {
    let archive = zip::walk(bytes);
    if let Some(fault) = archive.faults.into_iter().next() {
        return Err(TorchProblem::Archive(fault));
    }
    let pickles: Vec<&zip::Entry<'_>> =
        archive.entries.iter().filter(|entry| entry.name.ends_with(b"/data.pkl")).collect();
    let [entry] = pickles[..] else { return Err(TorchProblem::NoPickle { found: pickles.len() }) };
    let folder = &entry.name[..entry.name.len() - b"data.pkl".len()];
    let packed = |entry: &zip::Entry<'_>| TorchProblem::Packed { entry: entry.name_text() };
    let mut storages = Storages::new();
    for entry in &archive.entries {
        let Some(name) = entry.name.strip_prefix(folder) else { continue };
        if let Some(key) = name.strip_prefix(b"data/") {
            entry.stored(bytes).ok_or_else(|| packed(entry))?;
            storages.insert(String::from_utf8_lossy(key).into_owned(), entry.packed.clone());
        } else if name == b"byteorder" && entry.stored(bytes) != Some(b"little") {
            return Err(TorchProblem::BigEndian);
        }
    }
    let content = entry.stored(bytes).ok_or_else(|| packed(entry))?;
    if zip::crc32(content) != entry.crc32 {
        return Err(TorchProblem::Checksum { entry: entry.name_text() });
    }
    let mut machine = Machine::at(&bytes[..entry.packed.end], entry.packed.start, Limits::default());
    let value = run_one(&mut machine, &mut |_, _| Ok(()))?.ok_or(TorchProblem::NoPickle { found: 0 })?;
    if machine.offset() != entry.packed.end {
        return Err(TorchProblem::BehindPickle { offset: machine.offset() });
    }
    Ok((Pickle { value, heap: machine.into_heap() }, storages))
}

/// Five pickles: the magic number, the version, the machine, the object, the keys of the storages. Then each storage in
/// that order: its number of elements (eight bytes), its elements.
fn read_legacy(bytes: &[u8]) -> Result<(Pickle<'_>, Storages), TorchProblem> {
    let mut machine = Machine::new(bytes, Limits::default());
    let mut ids: BTreeMap<String, StorageId> = BTreeMap::new();
    let mut next = |machine: &mut Machine<'_>, expected| {
        let offset = machine.offset();
        let mut note = |heap: &Heap<'_>, value| {
            let id = storage_id(heap, value)?;
            ids.entry(id.key.clone()).or_insert(id);
            Ok(())
        };
        run_one(machine, &mut note)?.ok_or(TorchProblem::Legacy { expected, offset })
    };
    let magic = next(&mut machine, "magic number")?;
    if machine.heap().int(magic) != Some(MAGIC) {
        return Err(TorchProblem::Legacy { expected: "magic number", offset: 0 });
    }
    let protocol = next(&mut machine, "version")?;
    if machine.heap().int(protocol) != Some(LEGACY_PROTOCOL) {
        return Err(TorchProblem::Legacy { expected: "version 1001", offset: machine.offset() });
    }
    let about = next(&mut machine, "description of the machine")?;
    if is_big_endian(machine.heap(), about) {
        return Err(TorchProblem::BigEndian);
    }
    let value = next(&mut machine, "object")?;
    let keys = next(&mut machine, "list of storages")?;
    let heap = machine.heap();
    let Symbol::List(keys) = heap.symbol(keys) else {
        return Err(TorchProblem::Legacy { expected: "list of storages", offset: machine.offset() });
    };
    let mut storages = Storages::new();
    let mut at = machine.offset();
    for &key in &keys.kept {
        let key = heap.name(key).ok_or(TorchProblem::Legacy { expected: "key of a storage", offset: at })?;
        // A storage that no tensor uses has no type, and the next one could not be found.
        let id = ids.get(&*key).ok_or_else(|| TorchProblem::NoStorage { key: key.clone().into_owned() })?;
        let needed = storage_bytes(id);
        let found = bytes[at..].first_chunk().map(|count| u64::from_le_bytes(*count));
        let data = at + size_of::<u64>();
        let end = usize::try_from(needed).ok().and_then(|needed| data.checked_add(needed));
        let Some(end) = end.filter(|&end| end <= bytes.len() && found == Some(id.elements as u64)) else {
            let left = bytes.len().saturating_sub(data) as u64;
            return Err(TorchProblem::StorageSize { key: key.into_owned(), needed, found: left });
        };
        storages.insert(key.into_owned(), data..end);
        at = end;
    }
    if at != bytes.len() {
        return Err(TorchProblem::BehindPickle { offset: at });
    }
    Ok((Pickle { value, heap: machine.into_heap() }, storages))
}

fn is_big_endian(heap: &Heap<'_>, about: Value) -> bool {
    let Symbol::Dict(items) = heap.symbol(about) else { return false };
    items.kept.chunks_exact(2).any(|pair| {
        heap.name(pair[0]).is_some_and(|key| key == "little_endian") && heap.symbol(pair[1]) == Symbol::Bool(false)
    })
}

/// Bytes of a whole storage.
pub(super) fn storage_bytes(id: &StorageId) -> u64 {
    id.element_type.unwrap_or(ElementType::U8).tensor_bytes(&[id.elements]).unwrap_or(u64::MAX)
}

/// Runs the next pickle; what it makes, or none if there is no other. Anything that tensors do not need is an error.
fn run_one(
    machine: &mut Machine<'_>,
    persistent: &mut dyn FnMut(&Heap<'_>, Value) -> Result<(), TorchProblem>,
) -> Result<Option<Value>, TorchProblem> {
    const SHOWN: usize = 120;
    while let Some(event) = machine.next() {
        let heap = machine.heap();
        match event {
            Event::Start { .. } | Event::Content { .. } => {}
            Event::Import { offset, global } => {
                if allowed_global(heap, global).is_none() {
                    return Err(TorchProblem::Import { global: heap.expression(global, SHOWN), offset });
                }
            }
            Event::Call { offset, callee, keywords, result, .. } => {
                let is_function = matches!(
                    allowed_global(heap, callee),
                    Some(Allowed::OrderedDict | Allowed::Size | Allowed::Rebuild(_))
                );
                if !is_function || keywords.is_some() {
                    return Err(TorchProblem::Call { call: heap.expression(result, SHOWN), offset });
                }
            }
            Event::Write { offset, target, .. } => {
                if !is_ordered_dict(heap, target) {
                    return Err(TorchProblem::Write { target: heap.expression(target, SHOWN), offset });
                }
            }
            Event::Persistent { value, .. } => persistent(heap, value)?,
            Event::Problem { offset, problem } => return Err(TorchProblem::Pickle { offset, problem }),
            Event::Skipped { bytes } => return Err(TorchProblem::BehindPickle { offset: bytes.start }),
            Event::Stop { value, .. } => return Ok(Some(value)),
        }
    }
    Ok(None)
}

fn is_ordered_dict(heap: &Heap<'_>, value: Value) -> bool {
    matches!(heap.symbol(value), Symbol::Call(call) if allowed_global(heap, call.callee) == Some(Allowed::OrderedDict))
}

/// What an import is, if it is allowed.
pub(super) fn allowed_global(heap: &Heap<'_>, value: Value) -> Option<Allowed> {
    match heap.symbol(value) {
        Symbol::Global { module, name } => allowed::find(&module, &name),
        _ => None,
    }
}

/// The storage that a persistent id names.
pub(super) fn storage_id(heap: &Heap<'_>, value: Value) -> Result<StorageId, TorchProblem> {
    parse_storage_id(heap, value).ok_or_else(|| malformed(heap, "the id of a storage", value))
}

fn parse_storage_id(heap: &Heap<'_>, value: Value) -> Option<StorageId> {
    let Symbol::Persistent(id) = heap.symbol(value) else { return None };
    let [word, class, key, _location, elements, rest @ ..] = heap.tuple(id)? else { return None };
    let element_type = match allowed_global(heap, *class)? {
        Allowed::Storage(element_type) => Some(element_type),
        Allowed::UntypedStorage => None,
        _ => return None,
    };
    let view = match rest {
        [] => None,
        [view] if heap.symbol(*view) == Symbol::None => None,
        [view] => match heap.tuple(*view)? {
            [_, offset, elements] => Some((length(heap, *offset)?, length(heap, *elements)?)),
            _ => return None,
        },
        _ => return None,
    };
    let key = heap.name(*key)?.into_owned();
    (heap.name(*word)? == "storage").then_some(StorageId {
        element_type,
        key,
        elements: length(heap, *elements)?,
        view,
    })
}

/// A number of elements.
pub(super) fn length(heap: &Heap<'_>, value: Value) -> Option<usize> {
    usize::try_from(heap.int(value)?).ok()
}

pub(super) fn malformed(heap: &Heap<'_>, what: &'static str, value: Value) -> TorchProblem {
    const SHOWN: usize = 120;
    let found = heap.expression(value, SHOWN);
    TorchProblem::Malformed { what, found, offset: heap.offset(value).unwrap_or(0) }
}
