//! Weights to weights: a model in another format, or in fewer bits. Nothing is loaded as a whole: tensors are read, changed
//! and written piece by piece.
//!
//! ```no_run
//! use tsumugi_base::progress::Silent;
//! use tsumugi_compress::{mix, write_gguf_model};
//! use tsumugi_files::{ModelFiles, NoScan};
//! use tsumugi_tensor::threads::Pool;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = ModelFiles::admit("SmolLM2-135M".as_ref(), &NoScan { reason: "an example" })?;
//! let mix = mix::find("Q4_K_M").expect("it is one of mix::ALL");
//! let written = write_gguf_model(&model, "smollm2.gguf".as_ref(), mix, &Pool::new(2), &Silent)?;
//! println!("{:.2} bits per weight", written.bits_per_weight());
//! # Ok(())
//! # }
//! ```

mod error;
mod fallbacks;
mod folder;
mod gguf;
pub mod mix;
mod stream;

pub use error::CompressError;
pub use folder::{FolderType, write_folder};
pub use gguf::write_gguf_model;
pub use stream::{Written, WrittenType};
