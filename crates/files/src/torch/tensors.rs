//! From the symbols of a pickle to tensors by name.

use std::collections::BTreeMap;

use tsumugi_base::limits::{MODEL_TENSORS_MAX, TENSOR_RANK_MAX};

use super::allowed::{Allowed, Rebuild};
use super::container::{Pickle, Storages, allowed_global, length, malformed, storage_bytes, storage_id};
use super::error::TorchProblem;
use crate::element_type::ElementType;
use crate::pickle::{Call, Heap, Items, Symbol, Value, WriteKind};
use crate::stored_tensor::{PlacedTensor, TensorEntry};
use crate::strided::place;

/// Keys under which training programs put the weights beside the optimizer's state.
const WRAPPERS: [&str; 4] = ["state_dict", "model_state_dict", "model", "module"];

/// How deep a call that makes a tensor may lie in others that pass it on: a parameter of a subclass has three.
const REBUILDS_MAX: usize = 4;

/// The tensors of the dictionary, or of the one in it that has a wrapper's name. Values that are no tensors are left out.
pub(super) fn read(pickle: &Pickle<'_>, storages: &Storages) -> Result<Vec<PlacedTensor>, TorchProblem> {
    let reader = Reader { heap: &pickle.heap, storages };
    let pairs = reader.pairs(pickle.value)?.ok_or_else(|| reader.no_tensors(pickle.value))?;
    let mut tensors = reader.tensors(&pairs)?;
    if tensors.is_empty() {
        let wrapped = WRAPPERS.iter().find_map(|&wrapper| {
            let (_, value) = pairs.iter().rfind(|(key, _)| reader.heap.name(*key).is_some_and(|key| key == wrapper))?;
            Some(*value)
        });
        if let Some(pairs) = wrapped.map(|value| reader.pairs(value)).transpose()?.flatten() {
            tensors = reader.tensors(&pairs)?;
        }
    }
    if tensors.is_empty() {
        return Err(reader.no_tensors(pickle.value));
    }
    Ok(tensors)
}

struct Reader<'p> {
    heap: &'p Heap<'p>,
    storages: &'p Storages,
}

/// What a view is of, and how.
struct View {
    storage: Value,
    /// None: the storage's.
    element_type: Option<ElementType>,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl Reader<'_> {
    fn no_tensors(&self, value: Value) -> TorchProblem {
        const SHOWN: usize = 80;
        TorchProblem::NoTensors { found: self.heap.expression(value, SHOWN) }
    }

    /// Key and value of a dictionary, ordered or not; none if it is something else.
    fn pairs(&self, value: Value) -> Result<Option<Vec<(Value, Value)>>, TorchProblem> {
        let whole = |items: &Items| if items.more == 0 { Ok(()) } else { Err(TorchProblem::TooLarge) };
        let pair = |pair: &[Value]| (pair[0], pair[1]);
        match self.heap.symbol(value) {
            Symbol::Dict(items) => {
                whole(items)?;
                Ok(Some(items.kept.chunks_exact(2).map(pair).collect()))
            }
            Symbol::Call(call) if allowed_global(self.heap, call.callee) == Some(Allowed::OrderedDict) => {
                let mut pairs = self.first_pairs(call);
                if call.writes_more > 0 {
                    return Err(TorchProblem::TooLarge);
                }
                for (_, content) in call.writes.iter().filter(|(kind, _)| *kind == WriteKind::SetItems) {
                    pairs.extend(self.heap.tuple(*content).ok_or(TorchProblem::TooLarge)?.chunks_exact(2).map(pair));
                }
                Ok(Some(pairs))
            }
            Symbol::Folded(_) => Err(TorchProblem::TooLarge),
            _ => Ok(None),
        }
    }

    /// Python 2 gives an ordered dictionary its items as `[[key, value], ...]`.
    fn first_pairs(&self, call: &Call) -> Vec<(Value, Value)> {
        let Some([items]) = self.heap.tuple(call.arguments) else { return Vec::new() };
        let Symbol::List(items) = self.heap.symbol(*items) else { return Vec::new() };
        let pairs = items.kept.iter().filter_map(|&item| match self.heap.symbol(item) {
            Symbol::List(Items { kept, .. }) => Some((*kept.first()?, *kept.get(1)?)),
            Symbol::Tuple(&[key, value]) => Some((key, value)),
            _ => None,
        });
        pairs.collect()
    }

    fn tensors(&self, pairs: &[(Value, Value)]) -> Result<Vec<PlacedTensor>, TorchProblem> {
        if pairs.len() > MODEL_TENSORS_MAX {
            return Err(TorchProblem::TooLarge);
        }
        // As in Python, the last value of a key counts.
        let mut tensors = BTreeMap::new();
        for &(key, value) in pairs {
            let Some(view) = self.view(value)? else { continue };
            let name = self.heap.name(key).ok_or_else(|| malformed(self.heap, "the name of a tensor", key))?;
            tensors.insert(name.clone().into_owned(), self.tensor(name.into_owned(), view)?);
        }
        Ok(tensors.into_values().collect())
    }

    /// The view that a value is; none if it is no tensor.
    fn view(&self, value: Value) -> Result<Option<View>, TorchProblem> {
        let call = match self.heap.symbol(value) {
            Symbol::Call(call) => call,
            Symbol::Folded(_) => return Err(TorchProblem::TooLarge),
            _ => return Ok(None),
        };
        let Some(Allowed::Rebuild(mut rebuild)) = allowed_global(self.heap, call.callee) else { return Ok(None) };
        let mut arguments = call.arguments;
        for _ in 0..REBUILDS_MAX {
            let inner = match (rebuild, self.heap.tuple(arguments)) {
                (Rebuild::Tensor | Rebuild::TensorOfType, Some(arguments)) => {
                    let view = self.plain_view(rebuild, arguments);
                    return view.map(Some).ok_or_else(|| malformed(self.heap, "the call that makes a tensor", value));
                }
                (Rebuild::Parameter, Some([tensor, ..])) => self.rebuild_call(*tensor),
                (Rebuild::FromType, Some([function, _, arguments, ..])) => {
                    self.rebuild(*function).zip(Some(*arguments))
                }
                _ => None,
            };
            (rebuild, arguments) = inner.ok_or_else(|| malformed(self.heap, "the call that makes a tensor", value))?;
        }
        Err(malformed(self.heap, "the call that makes a tensor", value))
    }

    fn rebuild(&self, function: Value) -> Option<Rebuild> {
        match allowed_global(self.heap, function)? {
            Allowed::Rebuild(rebuild) => Some(rebuild),
            _ => None,
        }
    }

    fn rebuild_call(&self, value: Value) -> Option<(Rebuild, Value)> {
        match self.heap.symbol(value) {
            Symbol::Call(call) => Some((self.rebuild(call.callee)?, call.arguments)),
            _ => None,
        }
    }

    fn plain_view(&self, rebuild: Rebuild, arguments: &[Value]) -> Option<View> {
        let [storage, offset, shape, strides, rest @ ..] = arguments else { return None };
        let element_type = match (rebuild, rest) {
            (Rebuild::TensorOfType, [_, _, element_type, ..]) => match allowed_global(self.heap, *element_type)? {
                Allowed::ElementType(element_type) => Some(element_type),
                _ => return None,
            },
            (Rebuild::TensorOfType, _) => return None,
            _ => None,
        };
        let (offset, shape) = (length(self.heap, *offset)?, self.lengths(*shape)?);
        Some(View { storage: *storage, element_type, offset, shape, strides: self.lengths(*strides)? })
    }

    /// A tuple of lengths, or a `torch.Size` of one.
    fn lengths(&self, value: Value) -> Option<Vec<usize>> {
        let tuple = match self.heap.symbol(value) {
            Symbol::Call(call) if allowed_global(self.heap, call.callee) == Some(Allowed::Size) => {
                *self.heap.tuple(call.arguments)?.first()?
            }
            _ => value,
        };
        let items = self.heap.tuple(tuple).filter(|items| items.len() <= TENSOR_RANK_MAX)?;
        items.iter().map(|&item| length(self.heap, item)).collect()
    }

    fn tensor(&self, name: String, view: View) -> Result<PlacedTensor, TorchProblem> {
        let id = storage_id(self.heap, view.storage)?;
        let storage = self.storages.get(&id.key).ok_or_else(|| TorchProblem::NoStorage { key: id.key.clone() })?;
        let needed = storage_bytes(&id);
        if needed != storage.len() as u64 {
            return Err(TorchProblem::StorageSize { key: id.key, needed, found: storage.len() as u64 });
        }
        // A storage without a type is told in bytes, and only views that bring a type are of one.
        let element_type = view.element_type.or(id.element_type);
        let element_type =
            element_type.ok_or_else(|| malformed(self.heap, "a storage without a type", view.storage))?;
        let mut part = storage.clone();
        if let Some((offset, elements)) = id.view {
            let of_storage = id.element_type.unwrap_or(ElementType::U8);
            let viewed = place(storage, of_storage, offset, &[elements], &[1]);
            part = viewed.ok_or_else(|| malformed(self.heap, "a view of a storage", view.storage))?.bytes;
        }
        let View { offset, shape, strides, .. } = view;
        let Some(place) = place(&part, element_type, offset, &shape, &strides) else {
            let storage_bytes = part.len();
            return Err(TorchProblem::OutOfBounds { tensor: name, offset, shape, strides, storage_bytes });
        };
        let entry = TensorEntry { name, element_type, shape, bytes: place.bytes };
        Ok(PlacedTensor { entry, strided: place.strided })
    }
}
