//! Upper bounds on everything that comes from outside. A parser asks here before it allocates.

/// Largest safetensors header we read: the limit of the format's own reader (`MAX_HEADER_SIZE`).
pub const SAFETENSORS_HEADER_BYTES_MAX: u64 = 100_000_000;

/// Most bytes of a GGUF file before its tensors. Vocabularies of 262,144 tokens with their scores have 10 MB.
pub const GGUF_HEADER_BYTES_MAX: u64 = 512 << 20;

/// Most metadata entries of a GGUF file; published ones have about 40.
pub const GGUF_METADATA_MAX: usize = 65_536;

/// Longest key of a GGUF file's metadata: the format's own limit.
pub const GGUF_NAME_BYTES_MAX: usize = 65_535;

/// How deep arrays of a GGUF file may be nested; published files do not nest them.
pub const GGUF_ARRAY_DEPTH_MAX: usize = 8;

/// Most tensors in one model. The largest published mixture-of-experts checkpoints have about 100,000.
pub const MODEL_TENSORS_MAX: usize = 4_000_000;

/// Most axes of one tensor; the most we have seen in a checkpoint is 5 (3-d convolutions).
pub const TENSOR_RANK_MAX: usize = 16;

/// Longest name of a tensor, in bytes.
pub const TENSOR_NAME_BYTES_MAX: usize = 4096;

/// Most files of a model folder: all are held open, and a process may usually hold 1,024.
pub const MODEL_FOLDER_FILES_MAX: usize = 800;

/// Most files that the weights of one model are split into. The largest published ones have about 200.
pub const MODEL_SHARDS_MAX: usize = MODEL_FOLDER_FILES_MAX;

/// Largest `config.json`, `generation_config.json` or `tokenizer_config.json`. The last may embed a chat template
/// and thousands of added tokens.
pub const CONFIG_BYTES_MAX: u64 = 64 << 20;

/// Largest `chat.json`, a file of ours with a few system messages.
pub const CHAT_JSON_BYTES_MAX: u64 = 1 << 20;

/// Largest file with a vocabulary. Gemma's `tokenizer.json`, with 256,000 tokens, has 34 MB.
pub const TOKENIZER_FILE_BYTES_MAX: u64 = 512 << 20;

/// Largest `model.safetensors.index.json`.
pub const CHECKPOINT_INDEX_BYTES_MAX: u64 = 256 << 20;

/// Most opcodes of a pickle. The largest that we have seen in a published model has 4 million.
pub const PICKLE_OPCODES_MAX: u64 = 50_000_000;

/// Most items on a pickle's stack, and most marks. Writers put at most 1,000 items between two appends, but a tuple lies
/// there as a whole.
pub const PICKLE_STACK_MAX: usize = 4_000_000;

/// Most places of a pickle's memo: writers make an entry every three or four opcodes.
pub const PICKLE_MEMO_MAX: usize = 16 << 20;

/// Most containers, calls and items of a pickle that are kept with their content. A tensor of a PyTorch checkpoint takes
/// about 40: this is enough for 75,000 tensors in one file.
pub const PICKLE_KEPT_MAX: usize = 3_000_000;

/// Longest module, name or key of a pickle. What is used again and again must be short, or a small file takes for ever.
pub const PICKLE_NAME_BYTES_MAX: usize = 4096;

/// Most bytes that are searched for the next pickle of a file.
pub const PICKLE_SKIPPED_BYTES_MAX: usize = 64 << 20;

/// Most entries of a zip archive. A checkpoint has one for each tensor.
pub const ZIP_ENTRIES_MAX: usize = MODEL_TENSORS_MAX;

/// Most bytes that all views of a checkpoint which are not in the file's order may take when they are copied, beyond the
/// size of the file: an expanded view repeats its elements, and a hostile one repeats them for ever.
pub const TENSOR_COPIES_BYTES_MAX: u64 = 64 << 20;

/// Largest file of keys or certificates. A bundle of every public authority has a quarter of a megabyte.
pub const PEM_BYTES_MAX: u64 = 4 << 20;

/// Largest recipe (TOML).
pub const RECIPE_BYTES_MAX: u64 = 1 << 20;

/// Largest text that is held in memory at once, for a training text.
pub const TEXT_BYTES_MAX: u64 = 8 << 30;

/// Longest line of a JSON lines file.
pub const JSON_LINE_BYTES_MAX: u64 = 64 << 20;

/// Largest `run.json`.
pub const RUN_RECORD_BYTES_MAX: u64 = 16 << 20;

/// Largest record of a corpus run, its list of inputs and its manifest included: some hundred bytes for each file.
pub const CORPUS_RECORD_BYTES_MAX: u64 = 1 << 30;

/// Largest body of an HTTP request: English text for a context of 400,000 tokens. A server with 256 connections then
/// holds half a GiB of requests at worst.
pub const REQUEST_BYTES_MAX: usize = 2 << 20;

/// Largest file that is fetched where nobody says how large it is.
pub const DOWNLOAD_BYTES_MAX: u64 = 4 << 40;

/// Largest answer of an interface of the Hugging Face hub or a package index. The longest page of PyPI has 30 MB.
pub const LISTING_BYTES_MAX: u64 = 64 << 20;

/// Most files that a repository or a page of an index may list. The largest repositories of models have some thousand.
pub const LISTING_FILES_MAX: usize = 100_000;

/// Largest file that is unpacked from a wheel.
pub const UNPACKED_BYTES_MAX: u64 = 64 << 30;

/// Largest configuration file of pip.
pub const PIP_CONFIGURATION_BYTES_MAX: u64 = 1 << 20;

/// Longest word of a text from which n-grams are counted. Web pages have pictures of some MB in one "word"; longer ones are
/// another format.
pub const NGRAM_WORD_BYTES_MAX: usize = 64 << 20;

/// Longest n-gram of a model: far more than anything published, and bounded because every order costs buffers.
pub const NGRAM_ORDER_MAX: usize = 32;
