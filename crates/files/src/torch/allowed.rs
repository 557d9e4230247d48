//! What the pickle of a checkpoint may name: what plain tensors, parameters and their dictionaries need. All else is
//! refused, whatever it would do.

use crate::element_type::ElementType;

/// An import that a checkpoint may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowed {
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `torch.Size`: a tuple.
    Size,
    /// A function that makes a tensor.
    Rebuild(Rebuild),
    /// The type of a storage's elements.
    Storage(ElementType),
    /// A storage that knows no type (PyTorch 2).
    UntypedStorage,
    /// A type of elements.
    ElementType(ElementType),
    /// A class that is only passed on: `torch.Tensor`, `Parameter`.
    TensorClass,
}

/// How a tensor is made of its arguments (`torch/_utils.py`, `torch/_tensor.py`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rebuild {
    /// `_rebuild_tensor(storage, offset, size, stride)`, and `_rebuild_tensor_v2` with more behind them.
    Tensor,
    /// `_rebuild_tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype, metadata)`.
    TensorOfType,
    /// `_rebuild_parameter(tensor, requires_grad, hooks)`, and `_rebuild_parameter_with_state` with more behind them.
    Parameter,
    /// `_rebuild_from_type_v2(function, type, arguments, state)`.
    FromType,
}

/// What `module.name` is; none if it is not allowed.
pub(super) fn find(module: &str, name: &str) -> Option<Allowed> {
    match (module, name) {
        ("collections", "OrderedDict") => Some(Allowed::OrderedDict),
        ("torch", "Size") => Some(Allowed::Size),
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Some(Allowed::Rebuild(Rebuild::Tensor)),
        ("torch._utils", "_rebuild_tensor_v3") => Some(Allowed::Rebuild(Rebuild::TensorOfType)),
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
            Some(Allowed::Rebuild(Rebuild::Parameter))
        }
        ("torch._tensor", "_rebuild_from_type_v2") => Some(Allowed::Rebuild(Rebuild::FromType)),
        ("torch", "Tensor") | ("torch.nn.parameter", "Parameter") => Some(Allowed::TensorClass),
        ("torch.storage", "UntypedStorage") => Some(Allowed::UntypedStorage),
        // `torch.cuda.FloatStorage` and the like: the same bytes, saved from a GPU.
        ("torch" | "torch.cuda", _) => storage(name).map(Allowed::Storage).or_else(|| {
            let element_type = if module == "torch" { element_type(name) } else { None };
            element_type.map(Allowed::ElementType)
        }),
        _ => None,
    }
}

fn storage(name: &str) -> Option<ElementType> {
    Some(match name.strip_suffix("Storage")? {
        "Double" => ElementType::F64,
        "Float" => ElementType::F32,
        "Half" => ElementType::F16,
        "BFloat16" => ElementType::BF16,
        "Long" => ElementType::I64,
        "Int" => ElementType::I32,
        "Short" => ElementType::I16,
        "Char" => ElementType::I8,
        "Byte" => ElementType::U8,
        "Bool" => ElementType::Bool,
        "ComplexFloat" => ElementType::C64,
        _ => return None,
    })
}

fn element_type(name: &str) -> Option<ElementType> {
    Some(match name {
        "float64" | "double" => ElementType::F64,
        "float32" | "float" => ElementType::F32,
        "float16" | "half" => ElementType::F16,
        "bfloat16" => ElementType::BF16,
        "int64" | "long" => ElementType::I64,
        "int32" | "int" => ElementType::I32,
        "int16" | "short" => ElementType::I16,
        "int8" => ElementType::I8,
        "uint8" => ElementType::U8,
        "uint16" => ElementType::U16,
        "uint32" => ElementType::U32,
        "uint64" => ElementType::U64,
        "bool" => ElementType::Bool,
        "complex64" => ElementType::C64,
        "float8_e4m3fn" => ElementType::F8E4M3,
        "float8_e5m2" => ElementType::F8E5M2,
        "float8_e4m3fnuz" => ElementType::F8E4M3Fnuz,
        "float8_e5m2fnuz" => ElementType::F8E5M2Fnuz,
        "float8_e8m0fnu" => ElementType::F8E8M0,
        _ => return None,
    })
}
