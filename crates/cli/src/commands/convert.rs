//! `tsumugi convert`: a model in another format.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tsumugi_compress::{FolderType, mix, write_folder, write_gguf_model};
use tsumugi_tensor::threads::Pool;

use super::Command;
use super::quantize::report;
use crate::flags::{Json, Threads, Trust};
use crate::output::{Answer, Failure};
use crate::progress::Progress;
use crate::{interrupt, model};

/// Write a model in another format: a Hugging Face folder as a GGUF file, or the other way
///
/// A path that ends in .gguf becomes a GGUF file, any other a folder, which must not be there yet. Vocabulary, chat template and special tokens go with
/// the weights. Fewer bits than 16: `tsumugi quantize`.
#[derive(Debug, Args)]
pub struct Convert {
    /// A model folder or GGUF file
    model: String,
    /// The file (.gguf) or folder to write
    out: PathBuf,
    /// What the matrices become
    #[arg(long = "type", value_name = "TYPE", default_value = "f32", ignore_case = true)]
    element_type: ConvertedType,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    json: Json,
}

/// Floating-point numbers that both formats have.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum ConvertedType {
    F32,
    F16,
    Bf16,
}

impl ConvertedType {
    /// The type in a folder, and the name of the mix in a GGUF file.
    fn of_both(self) -> (FolderType, &'static str) {
        match self {
            Self::F32 => (FolderType::F32, "F32"),
            Self::F16 => (FolderType::F16, "F16"),
            Self::Bf16 => (FolderType::BF16, "BF16"),
        }
    }
}

impl Command for Convert {
    const NAME: &'static str = "convert";
    const EXAMPLES: &'static str = "
        tsumugi convert runs/quickstart/chat quickstart.gguf
        tsumugi convert smollm2.Q8_0.gguf smollm2 --type bf16";

    fn run(self) -> Result<Answer, Failure> {
        let model = model::admit(&self.model, &self.trust)?;
        let pool = Pool::of_cores(self.threads.get());
        interrupt::listen("stopping")?;
        let (folder_type, name) = self.element_type.of_both();
        let progress = Progress::new();
        let written = if self.out.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf")) {
            let mix = mix::find(name).unwrap_or(&mix::ALL[0]);
            write_gguf_model(&model, &self.out, mix, &pool, &progress)
        } else {
            write_folder(&model, &self.out, folder_type, &pool, &progress)
        };
        drop(progress);
        report(written, &self.out.display().to_string(), self.json)
    }
}
