//! Rows of numbers, plain or as codes of a product quantizer (Jégou et al. 2011).

/// Centroids per part of a vector: a code is a byte.
pub const CENTROIDS: usize = 256;

/// A matrix that is asked for rows.
pub enum Rows {
    /// Row after row.
    Dense {
        /// `rows * columns` numbers.
        values: Vec<f32>,
        /// At least 1.
        columns: usize,
    },
    /// One code per part of each row.
    Quantized {
        /// `rows * parts` codes.
        codes: Vec<u8>,
        /// What the codes stand for.
        quantizer: Quantizer,
        /// A code for the length of each row, and what it stands for, where lengths were quantized apart.
        norms: Option<(Vec<u8>, Quantizer)>,
    },
}

/// Parts of vectors, each with [`CENTROIDS`] values that it may have.
pub struct Quantizer {
    /// Parts per vector.
    pub parts: usize,
    /// Numbers per part, but the last.
    pub part_columns: usize,
    /// Numbers of the last part.
    pub last_columns: usize,
    /// Part after part, centroid after centroid.
    pub centroids: Vec<f32>,
}

impl Quantizer {
    fn centroid(&self, part: usize, code: u8) -> &[f32] {
        let begin = part * CENTROIDS * self.part_columns;
        let columns = if part + 1 == self.parts { self.last_columns } else { self.part_columns };
        let start = begin + usize::from(code) * columns;
        &self.centroids[start..start + columns]
    }
}

impl Rows {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Dense { values, columns } => values.len() / columns,
            Self::Quantized { codes, quantizer, .. } => codes.len() / quantizer.parts,
        }
    }

    /// Adds a row to a vector.
    pub fn add_row(&self, row: usize, sum: &mut [f32]) {
        match self {
            Self::Dense { values, columns } => {
                let values = &values[row * columns..(row + 1) * columns];
                sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            }
            Self::Quantized { codes, quantizer, .. } => {
                let norm = self.norm(row);
                let codes = &codes[row * quantizer.parts..(row + 1) * quantizer.parts];
                for (part, code) in codes.iter().enumerate() {
                    let sum = &mut sum[part * quantizer.part_columns..];
                    let centroid = quantizer.centroid(part, *code);
                    sum.iter_mut().zip(centroid).for_each(|(sum, value)| *sum += norm * value);
                }
            }
        }
    }

    /// The product of a row with a vector.
    pub fn dot(&self, row: usize, vector: &[f32]) -> f32 {
        match self {
            Self::Dense { values, columns } => dot(&values[row * columns..(row + 1) * columns], vector),
            Self::Quantized { codes, quantizer, .. } => {
                let codes = &codes[row * quantizer.parts..(row + 1) * quantizer.parts];
                let products = codes
                    .iter()
                    .enumerate()
                    .map(|(part, code)| dot(quantizer.centroid(part, *code), &vector[part * quantizer.part_columns..]));
                products.sum::<f32>() * self.norm(row)
            }
        }
    }

    fn norm(&self, row: usize) -> f32 {
        match self {
            Self::Quantized { norms: Some((codes, quantizer)), .. } => quantizer.centroid(0, codes[row])[0],
            _ => 1.0,
        }
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
