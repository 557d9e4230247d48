//! NumPy's `.npy`, version 1.0: the one format of arrays that everything in Python opens (NumPy, `numpy.lib.format`).

use std::io::Write;
use std::path::Path;

use tsumugi_base::FileError;
use tsumugi_base::io::AtomicFile;

/// The header ends at a multiple of this.
const ALIGN: usize = 64;

/// Writes a matrix `[rows, columns]` of float32, beside its place and renamed.
///
/// # Panics
/// When `values` are not whole rows: a mistake of the caller.
pub fn write_npy(path: &Path, values: &[f32], columns: usize) -> Result<(), FileError> {
    assert!(columns > 0 && values.len().is_multiple_of(columns), "{} values in rows of {columns}", values.len());
    let rows = values.len() / columns;
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    const BEFORE: usize = 10; // magic, version, length of the header
    let padding = (BEFORE + header.len() + 1).next_multiple_of(ALIGN) - BEFORE - header.len() - 1;
    header.push_str(&" ".repeat(padding));
    header.push('\n');
    let mut file = AtomicFile::create(path)?;
    let write = |file: &mut AtomicFile| {
        file.write_all(b"\x93NUMPY\x01\x00")?;
        file.write_all(&(header.len() as u16).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        values.iter().try_for_each(|value| file.write_all(&value.to_le_bytes()))
    };
    write(&mut file).map_err(|source| FileError::write(path, source))?;
    file.commit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsumugi_base::testing::temporary_folder;

    /// `numpy.save` of `numpy.arange(6, dtype="<f4").reshape(2, 3)`.
    #[test]
    fn the_bytes_are_numpys() {
        let folder = temporary_folder();
        let path = folder.path().join("a.npy");
        write_npy(&path, &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 3).expect("it is written");
        let bytes = std::fs::read(&path).expect("it is there");
        let (header, numbers) = bytes.split_at(128);
        assert_eq!(&header[..10], b"\x93NUMPY\x01\x00\x76\x00");
        let text = std::str::from_utf8(&header[10..]).expect("it is ASCII");
        assert_eq!(text.trim_end(), "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }");
        assert!(text.ends_with(" \n"));
        assert_eq!(numbers, [0.0f32, 1.0, 2.0, 3.0, 4.0, 5.0].map(f32::to_le_bytes).concat());
    }
}
