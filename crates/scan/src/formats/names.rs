//! What names promise.

/// Extensions of model files that can be told from anything else.
pub const MODELS: &[&str] = &[
    "pkl",
    "pickle",
    "joblib",
    "dill",
    "pt",
    "pth",
    "ckpt",
    "safetensors",
    "gguf",
    "npy",
    "npz",
    "h5",
    "hdf5",
    "keras",
    "onnx",
    "tflite",
    "nemo",
    "skops",
    "ubj",
    "cbm",
    "t7",
    "rds",
];

/// Extensions of weights that are also those of anything else.
pub const WEIGHTS: &[&str] = &["bin", "pb", "model", "weights", "params"];

/// Extensions of settings and vocabularies, which loaders read beside weights.
pub const SETTINGS: &[&str] = &["json", "jsonl", "yaml", "yml", "jinja", "tiktoken", "txt"];

/// Extensions of pickles.
pub const PICKLES: &[&str] = &["pkl", "pickle", "pck", "p", "joblib", "dill", "pt", "pth", "ckpt"];

/// Extensions of programs: a program that is named so hides nothing.
pub const PROGRAMS: &[&str] = &["so", "dll", "dylib", "exe", "pyd", "bundle", "o", "a", "node", "llamafile", "com"];
