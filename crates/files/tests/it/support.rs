//! Small files for the tests, made by hand so that they can be wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tsumugi_files::{Admitted, ElementType, FilesError, ModelFiles, NoScan, TensorView};

pub const NO_SCAN: NoScan = NoScan { reason: "the test wrote it" };

/// A safetensors file of any header and data.
pub fn raw_file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

pub fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

pub fn admit(folder: &Path) -> Result<Admitted<ModelFiles>, FilesError> {
    ModelFiles::admit(folder, &NO_SCAN)
}

pub fn no_metadata() -> BTreeMap<String, String> {
    BTreeMap::new()
}

pub fn view<'a>(name: &'a str, element_type: ElementType, shape: &'a [usize], bytes: &'a [u8]) -> TensorView<'a> {
    TensorView { name, element_type, shape, bytes }
}
