//! A decoder from a model on disk, a Hugging Face folder or a GGUF file: config, spec, weights.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tsumugi_files::{Admitted, FilesError, ModelFiles, TensorFile, TensorView};
use tsumugi_tensor::quant::{MappedRows, QuantizedMatrix, StoredRows, TILE_ROWS, WeightKind};
use tsumugi_tensor::threads::Pool;
use tsumugi_tensor::{Cpu, Parameters};

use crate::decoder::is_multiplied;
use crate::family::{self, Family};
use crate::gguf::Architecture;
use crate::hf_config::ConfigReader;
use crate::slots::{Layout, Slot, filled_slots};
use crate::{Decoder, DecoderSpec, ModelError, bert, gguf};

/// The config of a model in the words of `config.json`; of a GGUF file it is made from the metadata.
pub fn read_config(model: &Admitted<ModelFiles>) -> Result<Value, ModelError> {
    Ok(read(model)?.0)
}

/// The family and the spec that the config of a model describes.
pub fn read_spec(model: &Admitted<ModelFiles>) -> Result<(&'static dyn Family, DecoderSpec), ModelError> {
    let Described { family, spec, .. } = described(model)?;
    Ok((family, spec))
}

/// How the tensors of a model are laid out.
pub fn read_layout(model: &Admitted<ModelFiles>) -> Result<Layout, ModelError> {
    Ok(described(model)?.layout(&model.tensors()?))
}

/// What a model says that it is.
struct Described {
    family: &'static dyn Family,
    spec: DecoderSpec,
    /// Of a GGUF file.
    architecture: Option<&'static Architecture>,
}

impl Described {
    /// How its tensors are laid out.
    fn layout(&self, tensors: &TensorFile) -> Layout {
        match self.architecture {
            Some(architecture) => Layout::Gguf(architecture),
            None => Layout::of_folder(self.family, tensors),
        }
    }
}

fn read(model: &Admitted<ModelFiles>) -> Result<(Value, Option<&'static Architecture>), ModelError> {
    if let Some(metadata) = model.gguf() {
        if bert::is_gguf(metadata) {
            return Err(ModelError::IsEncoder { model: model.path().to_owned(), model_type: "bert".into() });
        }
        let architecture = gguf::architecture(metadata, model.path())?;
        let config = architecture.config(metadata, &model.tensors()?);
        let config = config.map_err(|problem| ModelError::Config { file: model.path().to_owned(), problem })?;
        return Ok((config, Some(architecture)));
    }
    let config = model.json("config.json")?;
    Ok((config.ok_or_else(|| ModelError::NoConfig { folder: model.path().to_owned() })?, None))
}

fn described(model: &Admitted<ModelFiles>) -> Result<Described, ModelError> {
    let (config, architecture) = read(model)?;
    let problem = |problem: String| ModelError::Config { file: config_file(model), problem };
    let map = config.as_object().ok_or_else(|| problem("not a JSON object".into()))?;
    let reader = ConfigReader::new(map);
    let model_type = reader.word_or("model_type", "").map_err(|error| problem(error.0))?;
    if bert::find(model_type).is_some() {
        return Err(ModelError::IsEncoder { model: model.path().to_owned(), model_type: model_type.into() });
    }
    let family = family::find(model_type).ok_or_else(|| {
        let known: Vec<_> = crate::ALL.iter().map(|family| family.name()).collect();
        ModelError::UnknownFamily { file: config_file(model), model_type: model_type.into(), known: known.join(", ") }
    })?;
    let spec = family.spec(&reader).map_err(|error| problem(error.0))?;
    Ok(Described { family, spec, architecture })
}

/// The file that says what the model is: for messages.
pub(crate) fn config_file(model: &ModelFiles) -> PathBuf {
    if model.gguf().is_some() { model.path().to_owned() } else { model.path().join("config.json") }
}

impl Decoder {
    /// Loads a model; weights are widened to float32, by the threads of `pool`. Tied heads that a file repeats are not
    /// read twice.
    pub fn load(model: &Admitted<ModelFiles>, pool: &Pool) -> Result<Self, ModelError> {
        let (described, tensors) = (described(model)?, model.tensors()?);
        let layout = described.layout(&tensors);
        check_before_allocating(model, described.spec.parameters_at_least(), &tensors)?;
        let mut decoder = Self::new(described.spec);
        let filled = filled_slots(&decoder, layout, model, &tensors)?;
        widen(&mut decoder.parameters, &filled, pool)?;
        Ok(decoder)
    }
}

/// What a model that is served computes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Matrices as the file stores them, packed for products; where they are in blocks, the vectors that they multiply are
    /// rounded to 8 bits.
    #[default]
    Stored,
    /// The same, bit for bit, but matrices stay in the mapped file, and products pack what they need each time: no memory of
    /// ours and nothing to wait for, but slower answers.
    Mapped,
    /// All weights widened to float32, and nothing rounded: the reference.
    Float32,
}

impl Decoder {
    /// Loads a model to serve it.
    pub fn load_to_serve(model: &Admitted<ModelFiles>, cpu: &Cpu, precision: Precision) -> Result<Self, ModelError> {
        match precision {
            Precision::Stored => Self::load_stored(model, cpu, false),
            Precision::Mapped => Self::load_stored(model, cpu, true),
            Precision::Float32 => Self::load(model, cpu.pool()),
        }
    }

    /// Loads a model to serve it: matrices stay in the kind that the file stores them in ([`QuantizedMatrix`]), and
    /// in the file too if they are `mapped`. What is stored otherwise is as with [`Self::load`], and so are float32 matrices that
    /// are not mapped.
    fn load_stored(model: &Admitted<ModelFiles>, cpu: &Cpu, mapped: bool) -> Result<Self, ModelError> {
        let (described, tensors) = (described(model)?, model.tensors()?);
        let (layout, spec) = (described.layout(&tensors), described.spec);
        check_before_allocating(model, spec.parameters_at_least(), &tensors)?;
        let decoder = Self::described(spec.clone());
        let mut filled = filled_slots(&decoder, layout, model, &tensors)?;
        let mut packed = place_stored(&decoder.parameters, &tensors, &mut filled, cpu, mapped);
        let mut decoder = Self::serving(spec, |parameter| packed.remove(&parameter.name));
        widen(&mut decoder.parameters, &filled, cpu.pool())?;
        Ok(decoder)
    }
}

/// The matrices that products take as they are stored, by the names of their parameters; their slots are taken out of
/// `filled`.
pub(crate) fn place_stored(
    parameters: &Parameters,
    tensors: &TensorFile,
    filled: &mut Vec<(Slot, TensorView<'_>)>,
    cpu: &Cpu,
    mapped: bool,
) -> BTreeMap<String, QuantizedMatrix> {
    let mut packed = BTreeMap::new();
    filled.sort_by_key(|(slot, _)| (slot.parameter, slot.rows.start));
    for parts in filled.chunk_by(|(a, _), (b, _)| a.parameter == b.parameter) {
        let parameter = parameters.get(parts[0].0.parameter);
        if is_multiplied(parameter) {
            let Some(matrix) = matrix_of(parts, tensors, cpu, mapped) else { continue };
            packed.insert(parameter.name.clone(), matrix);
        }
    }
    filled.retain(|(slot, _)| !packed.contains_key(&parameters.get(slot.parameter).name));
    packed
}

/// A matrix from the tensors that fill its rows, in order; none if one of them is in a kind that products do not take. One of
/// float32 alone is better widened, as nothing is done to it, than packed; where it stays in the file it is as the others.
fn matrix_of(
    parts: &[(Slot, TensorView<'_>)],
    tensors: &TensorFile,
    cpu: &Cpu,
    mapped: bool,
) -> Option<QuantizedMatrix> {
    let kind_of = |tensor: &TensorView<'_>| WeightKind::named(tensor.element_type.name());
    let columns = parts[0].0.columns;
    let fits = |(slot, tensor): &(Slot, TensorView<'_>)| {
        // Each part is filled up to whole tiles: many small ones would take many times the file.
        let fills_tiles = parts.len() <= 4 || slot.rows.len() >= TILE_ROWS;
        // Blocks lie along the stored rows.
        let fits_in = |kind: WeightKind| {
            QuantizedMatrix::can_hold(kind, columns) && !(slot.transposed && kind.layout().is_some())
        };
        fills_tiles && kind_of(tensor).is_some_and(fits_in)
    };
    let all_float32 = || parts.iter().all(|(_, tensor)| kind_of(tensor) == Some(WeightKind::F32));
    if !parts.iter().all(fits) || !mapped && all_float32() {
        return None;
    }
    let mut matrix = QuantizedMatrix::new(columns);
    for (slot, tensor) in parts {
        let (kind, rows, transposed) = (kind_of(tensor)?, slot.rows.len(), slot.transposed);
        if mapped {
            let (bytes, slot) = (Arc::new(tensors.mapped(tensor.name)?), slot.clone());
            let row_at = Box::new(move |row| slot.stored(row));
            matrix.push_mapped(MappedRows { kind, bytes, row_at, transposed, rows });
        } else {
            let row_at = &|row| slot.stored(row);
            matrix.push(cpu, StoredRows { kind, bytes: tensor.bytes, row_at, transposed, rows });
            // Else file and copy would both take memory until the end. Another slot of the tensor reads it again.
            tensors.release(tensor.name);
        }
    }
    Some(matrix)
}

/// Numbers that one task widens, about: enough to be worth handing out, and many tasks in a matrix.
const TASK_NUMBERS: usize = 1 << 16;

/// Rows of a slot, and where they go in the buffer of all parameters.
struct Task<'a> {
    slot: &'a Slot,
    tensor: &'a TensorView<'a>,
    rows: Range<usize>,
    to: Range<usize>,
}

/// Widens what fills the slots into the parameters.
pub(crate) fn widen(
    parameters: &mut Parameters,
    filled: &[(Slot, TensorView<'_>)],
    pool: &Pool,
) -> Result<(), FilesError> {
    let mut tasks = Vec::new();
    for (slot, tensor) in filled {
        // A tensor with swapped axes is read as a whole.
        let step = if slot.transposed { slot.rows.len() } else { TASK_NUMBERS.div_ceil(slot.columns) };
        let first = parameters.range(slot.parameter).start;
        for begin in (0..slot.rows.len()).step_by(step) {
            let rows = begin..(begin + step).min(slot.rows.len());
            let in_parameter = |row: usize| first + (slot.rows.start + row) * slot.columns;
            let to = in_parameter(rows.start)..in_parameter(rows.end);
            tasks.push(Task { slot, tensor, rows, to });
        }
    }
    tasks.sort_by_key(|task| task.to.start);
    let ranges: Vec<Range<usize>> = tasks.iter().map(|task| task.to.clone()).collect();
    // Of several errors the one of the first parameter counts, whichever thread was first.
    let failed: Mutex<Option<(usize, FilesError)>> = Mutex::new(None);
    pool.split_ranges(&ranges, [parameters.buffer_mut()], |index, [to]| {
        let Task { slot, tensor, rows, .. } = &tasks[index];
        if let Err(error) = slot.widen(tensor, rows.clone(), to) {
            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
            if failed.as_ref().is_none_or(|(first, _)| index < *first) {
                *failed = Some((index, error));
            }
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), |(_, error)| Err(error))
}

/// What is allocated before the weights are looked at one by one, whatever their size: room for a named error.
const SLACK: u128 = 1 << 20;

/// A config may promise more than fits in memory: the weights' size in the file bounds what is allocated.
pub(crate) fn check_before_allocating(
    model: &Admitted<ModelFiles>,
    promised: u128,
    tensors: &TensorFile,
) -> Result<(), ModelError> {
    let found = tensors.distinct_elements();
    if promised > found.saturating_mul(2).saturating_add(SLACK) {
        let problem = format!("it describes {promised} weights, but the weight files hold {found}");
        return Err(ModelError::Config { file: config_file(model), problem });
    }
    Ok(())
}
