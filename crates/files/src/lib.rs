//! Model file formats as plain records, and the admission of models.
//!
//! Bytes in, records out: nothing here builds a tensor, runs a pickle, or knows what a layer is. A loader takes only
//! an [`Admitted`] model, whose files were opened once: the bytes that were checked are the bytes that are loaded.
//!
//! ```no_run
//! use tsumugi_files::{ModelFiles, NoScan};
//! # fn main() -> Result<(), tsumugi_files::FilesError> {
//! let gate = NoScan { reason: "we trained it ourselves a moment ago" };
//! let model = ModelFiles::admit("runs/shakespeare".as_ref(), &gate)?;
//! let config = model.text("config.json")?;
//! let weights = model.tensors()?;
//! for tensor in weights.iter() {
//!     println!("{} {} {:?}", tensor.name, tensor.element_type, tensor.shape);
//! }
//! # Ok(())
//! # }
//! ```

mod admission;
mod blocks;
pub mod checkpoint_index;
mod element_type;
mod error;
pub mod gguf;
pub mod llama2c;
mod looks_like;
pub mod mmap;
mod model_card;
mod model_files;
mod npy;
pub mod pickle;
pub mod protobuf;
pub mod safetensors;
mod stored_tensor;
mod strided;
mod tensor_file;
pub mod torch;
mod widen;
pub mod zip;

pub use admission::{Admitted, Gate, NoScan, OpenFile, OpenFolder, Refusal};
pub use element_type::ElementType;
pub use error::FilesError;
pub use gguf::{GgufError, write_gguf};
pub use looks_like::LooksLike;
pub use model_card::ModelCard;
pub use model_files::ModelFiles;
pub use npy::write_npy;
pub use safetensors::{SafetensorsError, write_model, write_safetensors};
pub use stored_tensor::{PlacedTensor, TensorEntry, TensorSpec, TensorView};
pub use tensor_file::{MappedBytes, TensorFile};
pub use torch::TorchError;
pub use widen::{narrow_f32_into, read_f32_at, read_f32_into, to_f32};
