//! joblib's files: pickles with the bytes of NumPy arrays between two opcodes (joblib, `numpy_pickle.py`).
//!
//! Where an array would be, the pickle builds a `NumpyArrayWrapper`, and its elements follow right behind that `BUILD`.
//! A reader that does not know this takes them for opcodes.

use super::{Event, Heap, Symbol, Value, WriteKind};

/// What follows a wrapper in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inline {
    /// So many bytes: padding and elements.
    Bytes(usize),
    /// A pickle of its own: the elements are Python objects.
    Pickle,
}

/// What follows `event` in `bytes` at `position`, if the event builds a wrapper of an array whose size can be told.
pub fn inline_array(heap: &Heap<'_>, event: &Event, bytes: &[u8], position: usize) -> Option<Inline> {
    let Event::Write { kind: WriteKind::Build, target, content, .. } = *event else { return None };
    let Symbol::Call(wrapper) = heap.symbol(target) else { return None };
    // Protocols 0 and 1 have a function of Python's make the object of a class.
    let is_made = is_global(heap, wrapper.callee, "copy_reg", "_reconstructor")
        || is_global(heap, wrapper.callee, "copyreg", "_reconstructor");
    let class = if is_made { *heap.tuple(wrapper.arguments)?.first()? } else { wrapper.callee };
    if !is_global(heap, class, "joblib.numpy_pickle", "NumpyArrayWrapper") {
        return None;
    }
    let Symbol::Dict(state) = heap.symbol(content) else { return None };
    let field = |name: &str| {
        let pair = state.kept.chunks_exact(2).rfind(|pair| heap.name(pair[0]).is_some_and(|key| key == name));
        pair.map(|pair| pair[1])
    };
    let Some(item_bytes) = item_bytes(heap, field("dtype")?)? else { return Some(Inline::Pickle) };
    let shape = heap.tuple(field("shape")?)?;
    let len =
        shape.iter().try_fold(item_bytes, |len, &axis| len.checked_mul(usize::try_from(heap.int(axis)?).ok()?))?;
    // Newer versions align the elements: one byte says how many bytes of padding follow it.
    let is_aligned = field("numpy_array_alignment_bytes").is_some_and(|bytes| heap.symbol(bytes) != Symbol::None);
    let padding = if is_aligned { 1 + usize::from(*bytes.get(position)?) } else { 0 };
    Some(Inline::Bytes(len.checked_add(padding)?))
}

/// Bytes of one element by its `numpy.dtype('f8', ...)`: `Some(None)` for Python objects.
fn item_bytes(heap: &Heap<'_>, dtype: Value) -> Option<Option<usize>> {
    let Symbol::Call(call) = heap.symbol(dtype) else { return None };
    if !is_global(heap, call.callee, "numpy", "dtype") {
        return None;
    }
    let code = heap.name(*heap.tuple(call.arguments)?.first()?)?;
    let code = code.trim_start_matches(['<', '>', '|', '=']);
    let mut letters = code.chars();
    let bytes_of_one = match letters.next()? {
        'O' => return Some(None),
        'U' => 4,
        _ => 1,
    };
    letters.as_str().parse().ok().and_then(|count: usize| count.checked_mul(bytes_of_one)).map(Some)
}

fn is_global(heap: &Heap<'_>, value: Value, module: &str, name: &str) -> bool {
    matches!(heap.symbol(value), Symbol::Global { module: found, name: found_name } if found == module && found_name == name)
}
