//! Parameters: named float32 arrays in one buffer, so that clipping and the optimizer are passes over
//! memory, with gradients and moments in buffers of the same layout.

use std::collections::BTreeSet;

use crate::cpu::Cpu;
use crate::kernels::gemm::PackedMatrix;
use crate::memory::Buffer;
use crate::quant::{QuantizedMatrix, WeightKind};

/// Index of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParameterId(pub usize);

/// One parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Our name, e.g. `layers.3.attention.qkv.weight`.
    pub name: String,
    /// Row-major.
    pub shape: Vec<usize>,
    /// Whether weight decay applies: matrices yes, biases and norms no.
    pub decays: bool,
    /// Frozen parameters get no gradient.
    pub trainable: bool,
    /// Rows of each matrix that stands in it, one below the other, if it maps hidden vectors to hidden vectors: what
    /// [`crate::Muon`] orthogonalizes. Empty for embeddings, heads and vectors.
    pub matrix_rows: Vec<usize>,
    offset: usize,
}

impl Parameter {
    /// Numbers in it.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where a weight's numbers are.
#[derive(Clone, Copy)]
pub enum Weight<'a> {
    /// Row-major float32.
    Dense(&'a [f32]),
    /// In panels of the matrix product, for serving.
    Packed(&'a PackedMatrix),
    /// As the checkpoint stores it, in tiles, for serving.
    Quantized(&'a QuantizedMatrix),
}

/// A weight that is not in the buffer.
#[derive(Debug)]
enum Serving {
    Packed(PackedMatrix),
    Quantized(QuantizedMatrix),
}

/// All parameters of a model.
#[derive(Debug)]
pub struct Parameters {
    entries: Vec<Parameter>,
    len: usize,
    values: Buffer,
    /// Those that are not in the buffer, by id.
    serving: Vec<Option<Serving>>,
}

/// Declares parameters; `build` makes them, zeroed.
#[derive(Debug, Default)]
pub struct ParametersBuilder {
    entries: Vec<Parameter>,
    len: usize,
}

/// Parameters begin at cache lines.
const ALIGN: usize = 16;

impl ParametersBuilder {
    /// Declares the weight of a hidden layer: matrices `[rows, columns]`, one below the other.
    pub fn add_matrices(&mut self, name: impl Into<String>, rows: &[usize], columns: usize) -> ParameterId {
        let id = self.add(name, &[rows.iter().sum(), columns]);
        self.entries[id.0].matrix_rows = rows.to_vec();
        id
    }

    /// Declares the weights of as many hidden layers as experts, `[experts, rows, columns]`, each of matrices one below the
    /// other.
    pub fn add_experts(
        &mut self,
        name: impl Into<String>,
        experts: usize,
        rows: &[usize],
        columns: usize,
    ) -> ParameterId {
        let id = self.add(name, &[experts, rows.iter().sum(), columns]);
        self.entries[id.0].matrix_rows = rows.repeat(experts);
        id
    }

    /// Declares a parameter. Matrices decay, vectors do not.
    pub fn add(&mut self, name: impl Into<String>, shape: &[usize]) -> ParameterId {
        let id = ParameterId(self.entries.len());
        let parameter = Parameter {
            name: name.into(),
            shape: shape.to_vec(),
            decays: shape.len() > 1,
            trainable: true,
            matrix_rows: Vec::new(),
            offset: self.len,
        };
        self.len += parameter.len().next_multiple_of(ALIGN);
        self.entries.push(parameter);
        id
    }

    /// The parameters, all zero.
    pub fn build(self) -> Parameters {
        let values = Buffer::zeroed(self.len);
        Parameters { values, ..self.describe() }
    }

    /// The parameters without their numbers: names, shapes and sizes, to plan with. Reading a number panics.
    pub fn describe(self) -> Parameters {
        let serving = self.entries.iter().map(|_| None).collect();
        Parameters { values: Buffer::zeroed(0), len: self.len, entries: self.entries, serving }
    }

    /// The parameters for serving: those that `quantized` has a weight for are that weight, the others zero.
    ///
    /// # Panics
    /// When a weight has another size than its parameter: a mistake of the caller.
    pub fn build_serving(self, mut quantized: impl FnMut(&Parameter) -> Option<QuantizedMatrix>) -> Parameters {
        let mut builder = Self::default();
        let mut serving = Vec::new();
        for entry in self.entries {
            let weight = quantized(&entry);
            if let Some(weight) = &weight {
                let columns = entry.shape.last().copied().unwrap_or(1);
                let size = (weight.rows().checked_mul(columns), weight.columns());
                assert_eq!(size, (Some(entry.len()), columns), "`{}` has another size", entry.name);
            }
            serving.push(weight.map(Serving::Quantized));
            builder.place(entry, serving.last().is_some_and(Option::is_some));
        }
        Parameters { serving, ..builder.build() }
    }

    /// Appends a parameter as it was declared; one that is kept elsewhere takes no room.
    fn place(&mut self, entry: Parameter, elsewhere: bool) {
        let trainable = entry.trainable && !elsewhere;
        let entry = Parameter { offset: self.len, trainable, ..entry };
        if !elsewhere {
            self.len += entry.len().next_multiple_of(ALIGN);
        }
        self.entries.push(entry);
    }
}

impl Parameters {
    /// Every parameter with its id, in declaration order.
    pub fn iter(&self) -> impl Iterator<Item = (ParameterId, &Parameter)> {
        self.entries.iter().enumerate().map(|(index, entry)| (ParameterId(index), entry))
    }

    /// One parameter's description.
    pub fn get(&self, id: ParameterId) -> &Parameter {
        &self.entries[id.0]
    }

    /// The parameter of this name.
    pub fn find(&self, name: &str) -> Option<ParameterId> {
        self.entries.iter().position(|entry| entry.name == name).map(ParameterId)
    }

    /// How many numbers all parameters hold (padding not counted).
    pub fn count(&self) -> usize {
        self.entries.iter().map(Parameter::len).sum()
    }

    /// Length of a buffer of this layout.
    pub fn buffer_len(&self) -> usize {
        self.len
    }

    /// Where a parameter lies in any buffer of this layout.
    pub fn range(&self, id: ParameterId) -> std::ops::Range<usize> {
        let entry = &self.entries[id.0];
        entry.offset..entry.offset + entry.len()
    }

    /// Its numbers.
    ///
    /// # Panics
    /// When it was packed: packed parameters are read through [`Self::weight`].
    pub fn values(&self, id: ParameterId) -> &[f32] {
        assert!(self.serving[id.0].is_none(), "`{}` is packed", self.entries[id.0].name);
        &self.values[self.range(id)]
    }

    /// Its numbers, to change.
    ///
    /// # Panics
    /// When it was packed.
    pub fn values_mut(&mut self, id: ParameterId) -> &mut [f32] {
        assert!(self.serving[id.0].is_none(), "`{}` is packed", self.entries[id.0].name);
        let range = self.range(id);
        &mut self.values[range]
    }

    /// The whole buffer, padding included.
    pub fn buffer(&self) -> &[f32] {
        &self.values
    }

    /// The whole buffer, to change.
    pub fn buffer_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Its numbers wherever they are.
    pub fn weight(&self, id: ParameterId) -> Weight<'_> {
        match &self.serving[id.0] {
            Some(Serving::Packed(packed)) => Weight::Packed(packed),
            Some(Serving::Quantized(quantized)) => Weight::Quantized(quantized),
            None => Weight::Dense(&self.values[self.range(id)]),
        }
    }

    /// Freezes a parameter, or makes it trainable again.
    pub fn set_trainable(&mut self, id: ParameterId, trainable: bool) {
        self.entries[id.0].trainable = trainable;
    }

    /// For serving: packs the matrices, and stacks of them, for which `is_linear` holds and releases their plain form.
    #[must_use]
    pub fn pack(mut self, cpu: &Cpu, is_linear: impl Fn(&Parameter) -> bool) -> Self {
        let mut builder = ParametersBuilder::default();
        let mut serving = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            let kept = self.serving[index].take();
            let packed = kept.or_else(|| {
                let (count, rows, columns) = match entry.shape[..] {
                    [rows, columns] => (1, rows, columns),
                    [count, rows, columns] => (count, rows, columns),
                    _ => return None,
                };
                let values = &self.values[self.range(ParameterId(index))];
                is_linear(entry).then(|| Serving::Packed(PackedMatrix::from_stack(cpu, values, count, rows, columns)))
            });
            builder.place(entry.clone(), packed.is_some());
            serving.push(packed);
        }
        let mut result = builder.build();
        for (index, _) in serving.iter().enumerate().filter(|(_, packed)| packed.is_none()) {
            let (from, to) = (self.range(ParameterId(index)), result.range(ParameterId(index)));
            result.values[to].copy_from_slice(&self.values[from]);
        }
        Self { serving, ..result }
    }

    /// Bytes in memory of one weight.
    pub fn bytes(&self, id: ParameterId) -> usize {
        match &self.serving[id.0] {
            Some(Serving::Packed(packed)) => packed.bytes(),
            Some(Serving::Quantized(quantized)) => quantized.bytes(),
            None => size_of::<f32>() * self.entries[id.0].len(),
        }
    }

    /// The kinds of the weights that are served as they are stored.
    pub fn stored_kinds(&self) -> BTreeSet<WeightKind> {
        let stored = self.serving.iter().flatten().filter_map(|serving| match serving {
            Serving::Packed(_) => None,
            Serving::Quantized(quantized) => Some(quantized.pieces().iter().map(|piece| piece.kind)),
        });
        stored.flatten().collect()
    }
}
