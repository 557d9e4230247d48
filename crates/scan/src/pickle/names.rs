//! What a name that a pickle imports can do: the one table of the scanner.
//!
//! Allowed is what the libraries themselves write, found in files of PyTorch, NumPy, SciPy, scikit-learn, joblib, pandas,
//! transformers, XGBoost and LightGBM (`torch/_weights_only_unpickler.py` for PyTorch). Denied is what published exploits
//! and the lists of other scanners name. Whatever is on neither list is unknown, which is a verdict of its own.

use super::legacy_names::renamed;
use crate::finding::Severity::{self, Critical, High};

/// What is known of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The libraries write it, and it makes data.
    Allowed,
    /// The same, but it calls or builds what its arguments name.
    Forwards,
    /// On no list.
    Unknown,
    /// It does harm: how much, and what it does.
    Denied(Severity, &'static str),
}

const RUNS: &str = "runs commands or code";
const IMPORTS: &str = "imports or looks up anything by its name";
const FILES: &str = "reads or writes files";
const NETWORK: &str = "opens network connections";
const LOADS: &str = "loads other files that may run code";
const CALLS: &str = "calls whatever it is given";
const PROCESS: &str = "changes the loading process";
const SCANNERS: &str = "switches scanners off";

/// Module, names in it (none: all of it and of its submodules), severity, what it does.
type Denied = (&'static str, &'static [&'static str], Severity, &'static str);

#[rustfmt::skip] // a table: one line for each family
const DENIED: &[Denied] = &[
    ("builtins", &["eval", "exec", "compile", "execfile", "apply", "breakpoint"], Critical, RUNS),
    ("builtins", &["__import__", "getattr", "setattr", "delattr", "globals", "locals", "vars", "__loader__", "__build_class__", "__dict__"], Critical, IMPORTS),
    ("builtins", &["open", "input", "memoryview", "help"], High, FILES),
    ("__builtins__", &[], Critical, IMPORTS),
    ("os", &[], Critical, RUNS), ("posix", &[], Critical, RUNS), ("nt", &[], Critical, RUNS), ("posixpath", &["os"], Critical, RUNS),
    ("subprocess", &[], Critical, RUNS), ("_posixsubprocess", &[], Critical, RUNS), ("_winapi", &[], Critical, RUNS), ("popen2", &[], Critical, RUNS),
    ("pty", &[], Critical, RUNS), ("commands", &[], Critical, RUNS), ("pexpect", &[], Critical, RUNS), ("pipes", &[], Critical, RUNS),
    ("sys", &[], Critical, PROCESS), ("gc", &[], High, PROCESS), ("site", &[], Critical, PROCESS), ("atexit", &[], Critical, CALLS), ("signal", &[], High, PROCESS), ("_signal", &[], High, PROCESS),
    ("runpy", &[], Critical, RUNS), ("code", &[], Critical, RUNS), ("codeop", &[], Critical, RUNS), ("timeit", &[], Critical, RUNS), ("cProfile", &[], Critical, RUNS), ("profile", &[], Critical, RUNS), ("_lsprof", &[], Critical, RUNS),
    ("pstats", &[], High, FILES), ("trace", &[], Critical, RUNS), ("bdb", &[], Critical, RUNS), ("pdb", &[], Critical, RUNS), ("doctest", &[], Critical, RUNS), ("unittest", &[], High, RUNS), ("test", &[], Critical, RUNS),
    ("pydoc", &[], Critical, IMPORTS), ("pkgutil", &[], Critical, IMPORTS), ("importlib", &[], Critical, IMPORTS), ("imp", &[], Critical, IMPORTS), ("_imp", &[], Critical, IMPORTS), ("zipimport", &[], Critical, IMPORTS),
    ("_frozen_importlib", &[], Critical, IMPORTS), ("_frozen_importlib_external", &[], Critical, IMPORTS), ("inspect", &[], High, IMPORTS), ("rlcompleter", &[], Critical, RUNS),
    ("marshal", &[], Critical, RUNS), ("types", &["CodeType", "FunctionType", "LambdaType", "MethodType", "BuiltinFunctionType", "new_class", "DynamicClassAttribute", "coroutine"], Critical, RUNS),
    ("pickle", &[], Critical, LOADS), ("_pickle", &[], Critical, LOADS), ("pickletools", &[], High, LOADS), ("shelve", &[], Critical, LOADS), ("dill", &[], Critical, RUNS), ("cloudpickle", &[], Critical, RUNS), ("jsonpickle", &[], Critical, LOADS), ("dbm", &[], High, FILES),
    ("yaml", &[], Critical, LOADS), ("plistlib", &[], High, FILES), ("copyreg", &["add_extension", "pickle", "constructor", "dispatch_table", "_extension_registry", "_inverted_registry", "_extension_cache"], Critical, PROCESS),
    ("ctypes", &[], Critical, RUNS), ("_ctypes", &[], Critical, RUNS), ("cffi", &[], Critical, RUNS), ("multiprocessing", &[], Critical, RUNS), ("concurrent", &[], High, CALLS), ("threading", &[], High, CALLS), ("_thread", &[], High, CALLS), ("sched", &[], High, CALLS), ("asyncio", &[], Critical, RUNS),
    ("_interpreters", &[], Critical, RUNS), ("_xxsubinterpreters", &[], Critical, RUNS), ("_testcapi", &[], Critical, RUNS), ("_testinternalcapi", &[], Critical, RUNS),
    ("operator", &["attrgetter", "methodcaller", "call", "setitem", "delitem", "iadd", "concat"], Critical, CALLS), ("_operator", &["attrgetter", "methodcaller", "call", "setitem", "delitem"], Critical, CALLS),
    ("shutil", &[], Critical, FILES), ("tempfile", &[], High, FILES), ("fileinput", &[], High, FILES), ("glob", &[], High, FILES), ("filecmp", &[], High, FILES), ("linecache", &[], High, FILES), ("mmap", &[], High, FILES), ("difflib", &[], High, RUNS),
    ("tarfile", &[], High, FILES), ("zipfile", &[], High, FILES), ("gzip", &[], High, FILES), ("bz2", &["open", "BZ2File"], High, FILES), ("lzma", &["open", "LZMAFile"], High, FILES), ("codecs", &["open"], High, FILES), ("nturl2path", &[], High, FILES),
    ("io", &["open", "open_code", "FileIO", "OpenWrapper"], High, FILES), ("_io", &["open", "open_code", "FileIO"], High, FILES), ("_pyio", &[], High, FILES), ("pathlib", &["os", "io"], Critical, RUNS), ("sqlite3", &[], High, FILES), ("_sqlite3", &[], High, FILES),
    ("logging", &["FileHandler", "config", "handlers", "os", "sys"], High, FILES), ("logging.config", &[], Critical, CALLS), ("logging.handlers", &[], High, NETWORK), ("syslog", &[], High, FILES), ("compileall", &[], Critical, RUNS), ("py_compile", &[], Critical, FILES), ("lib2to3", &[], Critical, LOADS), ("distutils", &[], Critical, FILES), ("setuptools", &[], Critical, RUNS), ("_distutils_hack", &[], Critical, RUNS),
    ("pip", &[], Critical, RUNS), ("ensurepip", &[], Critical, RUNS), ("venv", &[], Critical, RUNS), ("idlelib", &[], Critical, RUNS), ("turtledemo", &[], High, RUNS), ("antigravity", &[], High, NETWORK), ("this", &[], High, PROCESS), ("platform", &[], High, RUNS), ("uuid", &["_get_command_stdout", "_popen", "_find_mac", "_find_mac_near_keyword", "getnode", "_ip_getnode", "_ifconfig_getter", "_arp_getter", "_lanscan_getter", "_netstat_getter", "os", "sys"], Critical, RUNS),
    ("_osx_support", &[], Critical, RUNS), ("_aix_support", &[], Critical, RUNS), ("_pyrepl", &[], Critical, RUNS), ("webbrowser", &[], Critical, RUNS), ("cgi", &[], High, FILES), ("cgitb", &[], High, FILES), ("sysconfig", &[], High, FILES), ("_sysconfigdata", &[], High, FILES),
    ("socket", &[], Critical, NETWORK), ("_socket", &[], Critical, NETWORK), ("ssl", &[], High, NETWORK), ("_ssl", &[], High, NETWORK), ("http", &[], High, NETWORK), ("httplib", &[], High, NETWORK), ("urllib", &["urlopen", "urlretrieve", "URLopener"], High, NETWORK), ("urllib.request", &[], High, NETWORK), ("urllib2", &[], High, NETWORK), ("urllib3", &[], High, NETWORK), ("requests", &[], High, NETWORK), ("httpx", &[], High, NETWORK), ("aiohttp", &[], High, NETWORK),
    ("ftplib", &[], High, NETWORK), ("smtplib", &[], High, NETWORK), ("poplib", &[], High, NETWORK), ("imaplib", &[], Critical, RUNS), ("nntplib", &[], High, NETWORK), ("telnetlib", &[], High, NETWORK), ("xmlrpc", &[], High, NETWORK), ("socketserver", &[], High, NETWORK), ("select", &[], High, NETWORK), ("selectors", &[], High, NETWORK), ("wsgiref", &[], High, NETWORK), ("paramiko", &[], Critical, RUNS), ("fabric", &[], Critical, RUNS), ("boto3", &[], High, NETWORK),
    ("numpy", &["load", "loadtxt", "genfromtxt", "fromfile", "save", "savez", "savetxt", "memmap", "DataSource", "fromregex"], High, LOADS), ("numpy.lib", &["npyio", "load", "format", "DataSource"], High, LOADS), ("numpy.lib.npyio", &["load", "save", "DataSource", "NpzFile"], High, LOADS), ("numpy.lib.format", &[], High, LOADS), ("numpy.lib.utils", &["safe_eval"], Critical, RUNS), ("numpy.f2py", &[], Critical, RUNS), ("numpy.distutils", &[], Critical, RUNS), ("numpy.testing", &[], Critical, RUNS), ("numpy.ctypeslib", &[], Critical, LOADS), ("numpy.ma.mrecords", &["openfile"], High, FILES),
    ("joblib", &["load", "dump", "_pickle_load", "Parallel", "delayed", "Memory", "memory", "externals"], Critical, LOADS), ("joblib.numpy_pickle", &["load", "dump", "_unpickle", "load_temporary_memmap"], Critical, LOADS), ("joblib.externals", &[], Critical, RUNS), ("joblib.memory", &[], High, FILES), ("sklearn.externals.joblib", &["load"], Critical, LOADS), ("sklearn.utils._testing", &[], High, RUNS), ("sklearn.datasets", &["fetch_20newsgroups", "fetch_20newsgroups_vectorized", "fetch_california_housing", "fetch_covtype", "fetch_file", "fetch_kddcup99", "fetch_lfw_pairs", "fetch_lfw_people", "fetch_mldata", "fetch_olivetti_faces", "fetch_openml", "fetch_rcv1", "fetch_species_distributions", "load_files", "load_svmlight_file", "load_svmlight_files", "dump_svmlight_file", "clear_data_home", "_openml"], High, NETWORK),
    ("pandas", &["read_pickle", "read_csv", "read_table", "read_json", "read_html", "read_excel", "read_hdf", "read_parquet", "read_sql", "read_feather", "read_orc", "read_xml", "read_clipboard", "read_sas", "read_spss", "read_stata", "eval"], Critical, LOADS), ("pandas.io", &[], Critical, LOADS), ("pandas.core.computation", &[], Critical, RUNS), ("pandas._testing", &[], High, RUNS),
    ("torch", &["load", "save", "compile"], Critical, LOADS), ("torch.serialization", &["load", "_load", "_legacy_load", "save", "add_safe_globals"], Critical, LOADS), ("torch.hub", &[], Critical, LOADS), ("torch.jit", &["load", "save", "script", "trace", "unsupported_tensor_ops", "CompilationUnit"], Critical, RUNS), ("torch.jit._serialization", &[], Critical, LOADS), ("torch.jit.annotations", &[], Critical, RUNS), ("torch.jit.unsupported_tensor_ops", &[], Critical, RUNS), ("torch.jit.frontend", &[], Critical, RUNS), ("torch.storage", &["_load_from_bytes"], High, LOADS),
    ("torch._dynamo", &[], Critical, RUNS), ("torch._inductor", &[], Critical, RUNS), ("torch.fx.experimental", &[], Critical, RUNS), ("torch.fx.graph_module", &["_forward_from_src", "_exec_with_source", "reduce_graph_module", "reduce_package_graph_module", "_deserialize_graph_module"], Critical, RUNS), ("torch.utils._config_module", &[], Critical, LOADS), ("torch.utils.bottleneck", &[], Critical, RUNS), ("torch.utils.collect_env", &[], Critical, RUNS), ("torch.utils.data.datapipes", &[], Critical, CALLS), ("torch.utils.cpp_extension", &[], Critical, RUNS), ("torch.utils.model_zoo", &[], Critical, LOADS), ("torch.utils.show_pickle", &[], High, LOADS), ("torch.package", &[], Critical, LOADS), ("torch.distributed", &[], High, NETWORK), ("torch.multiprocessing", &[], Critical, RUNS), ("torch.testing", &[], High, RUNS), ("torch.ops", &["load_library"], Critical, RUNS), ("torch._ops", &[], Critical, RUNS), ("torch.classes", &["load_library"], Critical, RUNS), ("torch._C", &["import_ir_module", "import_ir_module_from_buffer"], Critical, LOADS), ("torch.cuda.nvrtc", &[], High, RUNS),
    ("tensorflow", &["io", "py_function", "numpy_function", "load_library", "load_op_library", "saved_model", "keras"], Critical, LOADS), ("tensorflow.io", &[], High, FILES), ("tensorflow.python.framework.load_library", &[], Critical, RUNS), ("keras", &["models"], High, LOADS), ("keras.models", &["load_model", "model_from_json", "model_from_config"], Critical, LOADS), ("keras.saving", &["load_model", "deserialize_keras_object"], Critical, LOADS), ("keras.utils", &["get_file"], High, NETWORK), ("keras.src.utils", &["get_file"], High, NETWORK), ("tensorflow.keras.models", &["load_model"], Critical, LOADS), ("tensorflow.python.keras.saving", &[], Critical, LOADS),
    ("mlflow", &[], Critical, LOADS), ("transformers", &["pipeline"], High, LOADS), ("transformers.pipelines", &[], High, LOADS), ("transformers.dynamic_module_utils", &[], Critical, LOADS), ("huggingface_hub", &[], High, NETWORK), ("datasets", &["load_dataset"], High, LOADS), ("hydra", &[], Critical, CALLS), ("hydra.utils", &[], Critical, CALLS), ("cv2", &["imread", "dnn"], High, FILES), ("scipy.io", &[], High, LOADS), ("IPython", &[], Critical, RUNS), ("jupyter_client", &[], Critical, RUNS), ("nltk.data", &[], High, LOADS), ("sympy", &["sympify", "parse_expr", "lambdify"], Critical, RUNS), ("numexpr", &[], Critical, RUNS), ("setuptools.sandbox", &[], Critical, RUNS), ("jax.experimental.host_callback", &[], Critical, CALLS), ("numba", &["jit", "njit", "cfunc"], High, RUNS), ("llvmlite", &[], Critical, RUNS), ("triton", &[], Critical, RUNS), ("cupy", &["RawKernel", "load"], Critical, RUNS), ("django", &[], High, RUNS), ("flask", &[], High, NETWORK), ("jinja2", &[], High, RUNS), ("pyarrow", &[], High, LOADS), ("dask", &[], High, CALLS), ("ray", &[], Critical, CALLS), ("pyspark", &[], Critical, RUNS), ("psutil", &["Popen"], Critical, RUNS), ("sh", &[], Critical, RUNS), ("plumbum", &[], Critical, RUNS), ("invoke", &[], Critical, RUNS), ("win32com", &[], Critical, RUNS), ("win32api", &[], Critical, RUNS),
    ("fickling", &[], Critical, SCANNERS), ("picklescan", &[], Critical, SCANNERS), ("modelscan", &[], Critical, SCANNERS), ("model_unpickler", &[], Critical, SCANNERS), ("saferpickle", &[], Critical, SCANNERS), ("modelaudit", &[], Critical, SCANNERS),
];

/// Parts of dotted names through which anything is reached: `pathlib` + `os.system`.
const REACHING: &[&str] = &[
    "os",
    "sys",
    "posix",
    "nt",
    "subprocess",
    "builtins",
    "__builtins__",
    "__globals__",
    "__class__",
    "__base__",
    "__bases__",
    "__mro__",
    "__subclasses__",
    "__dict__",
    "__code__",
    "__func__",
    "__self__",
    "__import__",
    "__getattribute__",
    "__loader__",
    "__spec__",
    "__init__",
    "__reduce__",
    "__reduce_ex__",
    "f_globals",
    "gi_frame",
    "system",
    "popen",
    "importlib",
    "shutil",
    "socket",
    "ctypes",
    "runpy",
    "marshal",
    "eval",
    "exec",
];

/// Functions and classes by their full name.
#[rustfmt::skip] // a table
const ALLOWED: &[(&str, &[&str])] = &[
    ("builtins", &["set", "frozenset", "bytearray", "bytes", "complex", "list", "dict", "tuple", "int", "float", "str", "bool", "object", "range", "slice", "NoneType", "Ellipsis", "NotImplemented", "len", "abs", "sum", "min", "max", "round", "sorted", "repr", "ord", "chr", "hash", "Exception", "ValueError", "TypeError", "KeyError", "RuntimeError"]),
    ("argparse", &["Namespace"]), ("collections", &["OrderedDict", "Counter", "defaultdict", "deque", "ChainMap", "UserDict", "UserList", "UserString"]),
    ("_codecs", &["encode"]), ("datetime", &["datetime", "date", "time", "timedelta", "timezone"]), ("decimal", &["Decimal"]), ("fractions", &["Fraction"]), ("uuid", &["UUID", "SafeUUID"]), ("zoneinfo", &["ZoneInfo._unpickle", "ZoneInfo"]),
    ("pathlib", &["Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath"]), ("pathlib._local", &["Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath"]), ("re", &["_compile"]), ("types", &["SimpleNamespace", "MappingProxyType", "GenericAlias"]), ("argparse", &["Namespace"]), ("array", &["array", "_array_reconstructor"]), ("ipaddress", &["IPv4Address", "IPv6Address"]), ("random", &["Random"]), ("math", &["sqrt", "log", "exp", "floor", "ceil", "sin", "cos", "tanh"]), ("enum", &["Enum", "IntEnum"]), ("operator", &["itemgetter", "add", "mul", "sub", "truediv", "neg"]), ("_operator", &["itemgetter", "add", "mul", "sub", "truediv", "neg"]), ("io", &["BytesIO", "StringIO"]), ("_io", &["BytesIO", "StringIO"]),
    ("numpy", &["dtype", "ndarray", "generic", "number", "bool_", "bool", "int8", "int16", "int32", "int64", "intc", "intp", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64", "float128", "longdouble", "complex64", "complex128", "str_", "bytes_", "object_", "void", "datetime64", "timedelta64", "matrix", "recarray", "record", "nan", "log", "log2", "log10", "log1p", "exp", "expm1", "sqrt", "cbrt", "square", "abs", "absolute", "sin", "cos", "tan", "tanh", "arctan", "sign", "floor", "ceil", "rint", "negative", "reciprocal", "maximum", "minimum", "add", "subtract", "multiply", "divide", "power", "mean", "median", "sum", "std", "var", "min", "max", "amin", "amax", "prod", "argmax", "argmin", "clip", "ravel", "isnan", "isfinite", "nan_to_num", "logical_not", "logical_and", "logical_or", "float_power", "sinh", "cosh", "arcsinh", "degrees", "radians", "nanmean", "nanmedian", "nanmax", "nanmin", "nansum", "nanstd", "array", "asarray", "zeros", "ones", "unique"]),
    ("numpy.core.multiarray", &["_reconstruct", "scalar"]), ("numpy._core.multiarray", &["_reconstruct", "scalar"]), ("numpy.core.numeric", &["_frombuffer"]), ("numpy._core.numeric", &["_frombuffer"]), ("numpy.core._internal", &["_convert_to_stringdtype_kwargs"]), ("numpy._core._internal", &["_convert_to_stringdtype_kwargs"]), ("numpy.core", &["_ufunc_reconstruct"]), ("numpy._core", &["_ufunc_reconstruct"]), ("numpy.dtypes", &["StringDType"]), ("numpy.rec", &["recarray", "record"]), ("numpy.matrixlib.defmatrix", &["matrix"]), ("numpy.core.defmatrix", &["matrix"]), ("numpy.core.defchararray", &["chararray"]), ("numpy._core.defchararray", &["chararray"]), ("numpy.char", &["chararray"]), ("numpy.core", &["multiarray._reconstruct", "multiarray.scalar"]), ("multiarray", &["_reconstruct", "scalar"]), ("numpy.core.records", &["recarray", "record"]),
    ("numpy.random._pickle", &["__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor"]), ("numpy.random", &["__RandomState_ctor"]), ("numpy.ma", &["MaskedArray"]), ("numpy.ma.core", &["MaskedArray", "_mareconstruct", "MaskedConstant"]),
    ("torch", &["Size", "Tensor", "device", "Generator", "dtype", "layout", "memory_format", "strided", "sparse_coo", "sparse_csr", "contiguous_format", "channels_last", "per_tensor_affine", "per_channel_affine", "float64", "double", "float32", "float", "float16", "half", "bfloat16", "int64", "long", "int32", "int", "int16", "short", "int8", "uint8", "uint16", "uint32", "uint64", "bool", "complex32", "complex64", "complex128", "quint8", "qint8", "qint32", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu", "relu", "tanh", "sigmoid"]),
    ("torch.nn.parameter", &["Parameter", "Buffer", "UninitializedParameter", "UninitializedBuffer"]), ("torch.serialization", &["_get_layout"]), ("torch.storage", &["UntypedStorage", "TypedStorage", "_UntypedStorage", "_TypedStorage"]), ("torch.functional", &["Tensor"]), ("torch._C", &["_nn.gelu", "_nn.linear"]),
    ("torch._utils", &["_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter", "_rebuild_parameter_with_state", "_rebuild_qtensor", "_rebuild_sparse_tensor", "_rebuild_sparse_csr_tensor", "_rebuild_nested_tensor", "_rebuild_meta_tensor_no_storage", "_rebuild_device_tensor_from_numpy", "_rebuild_device_tensor_from_cpu_tensor", "_rebuild_xla_tensor"]),
    ("torch.jit._pickle", &["build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "build_tensor_from_id", "restore_type_tag"]), ("torch.nn.functional", &["relu", "gelu", "silu", "softmax", "tanh", "sigmoid", "leaky_relu", "elu", "mish", "cross_entropy", "mse_loss"]),
    ("joblib.numpy_pickle", &["NumpyArrayWrapper", "NDArrayWrapper", "ZNDArrayWrapper"]), ("joblib.numpy_pickle_compat", &["NDArrayWrapper", "ZNDArrayWrapper"]), ("sklearn.externals.joblib.numpy_pickle", &["NumpyArrayWrapper", "NDArrayWrapper"]),
    ("scipy.special", &["expit", "logit", "softmax", "boxcox"]), ("pandas._libs.internals", &["_unpickle_block"]), ("pandas._libs.arrays", &["__pyx_unpickle_NDArrayBacked"]), ("pandas._libs.tslibs.timestamps", &["_unpickle_timestamp"]), ("pandas._libs.tslibs.timedeltas", &["_timedelta_unpickle"]), ("pandas._libs.tslibs.nattype", &["_nat_unpickle", "__nat_unpickle"]), ("pandas.core.indexes.base", &["_new_Index", "Index"]), ("pandas.core.indexes.datetimes", &["_new_DatetimeIndex", "DatetimeIndex"]), ("pandas.core.indexes.period", &["_new_PeriodIndex", "PeriodIndex"]), ("pandas.core.internals.managers", &["BlockManager", "SingleBlockManager"]), ("pandas.core.internals.blocks", &["new_block"]),
    ("pandas", &["DataFrame", "Series", "Index", "RangeIndex", "MultiIndex", "DatetimeIndex", "TimedeltaIndex", "PeriodIndex", "CategoricalIndex", "IntervalIndex", "Categorical", "Timestamp", "Timedelta", "Period", "Interval", "StringDtype", "BooleanDtype", "DatetimeTZDtype", "CategoricalDtype", "PeriodDtype", "IntervalDtype", "SparseDtype", "Int8Dtype", "Int16Dtype", "Int32Dtype", "Int64Dtype", "UInt8Dtype", "UInt16Dtype", "UInt32Dtype", "UInt64Dtype", "Float32Dtype", "Float64Dtype"]),
    ("gensim.models.ldaseqmodel", &["sslm"]), ("gensim.models.tfidfmodel", &["smartirs_normalize", "smartirs_wglobal", "smartirs_wlocal", "df2idf"]),
    ("sklearn.metrics._scorer", &["_passthrough_scorer"]), ("sklearn.feature_selection._mutual_info", &["mutual_info_classif", "mutual_info_regression"]), ("sklearn.feature_selection._univariate_selection", &["f_classif", "f_regression", "chi2"]), ("sklearn.feature_extraction.text", &["strip_accents_unicode", "strip_accents_ascii"]), ("sklearn.metrics._regression", &["r2_score", "mean_squared_error", "mean_absolute_error"]), ("sklearn.metrics._classification", &["accuracy_score", "f1_score", "log_loss"]), ("sklearn.metrics.pairwise", &["euclidean_distances", "cosine_similarity", "rbf_kernel"]),
];

/// Packages and modules (with their submodules) whose classes are allowed: names that begin with a capital letter, and the
/// constructors that Cython writes.
#[rustfmt::skip] // a table
const CLASSES: &[&str] = &[
    "sklearn", "scipy.sparse", "scipy.interpolate", "scipy.spatial", "scipy.stats", "numpy.random", "numpy.polynomial",
    "torch.nn", "torch.optim", "torch.quantization", "torch.ao", "torch.distributions", "torch.amp", "torch.cuda.amp", "torch.torch_version", "torch.utils.hooks", "torch._tensor", "torch.fx.immutable_collections", "torchvision.models", "torchvision.transforms", "torchvision.ops", "torchaudio.models",
    "pandas.core", "pandas._libs", "pandas.arrays", "pandas.tseries", "lightgbm.sklearn", "lightgbm.basic", "lightgbm.callback", "xgboost.sklearn", "xgboost.core", "catboost.core", "imblearn", "category_encoders", "statsmodels",
    "transformers.training_args", "transformers.training_args_seq2seq", "transformers.trainer_utils", "transformers.trainer_pt_utils", "transformers.utils.generic", "transformers.integrations", "transformers.models", "transformers.tokenization_utils", "transformers.tokenization_utils_base", "transformers.tokenization_utils_fast", "transformers.configuration_utils", "transformers.generation", "transformers.feature_extraction_utils", "transformers.image_processing_utils", "transformers.activations", "transformers.debug_utils", "transformers.hf_argparser", "transformers.pytorch_utils",
    "accelerate.state", "accelerate.utils", "accelerate.parallelism_config", "trl.trainer", "peft.utils", "peft.tuners", "tokenizers", "omegaconf", "ultralytics.nn", "timm.models", "timm.layers", "sentence_transformers", "pytorch_lightning.callbacks", "pytorch_lightning.utilities", "lightning_fabric.utilities", "fairseq.data.dictionary", "fastai", "spacy.vocab", "networkx.classes", "gensim.models", "gensim.corpora", "morfessor.baseline", "deepspeed.runtime", "deepspeed.utils", "__torch__",
];

/// What calls or builds what its arguments name: judged by these.
const FORWARDS: &[(&str, &[&str])] = &[
    ("functools", &["partial", "reduce"]),
    ("_functools", &["partial", "reduce"]),
    ("builtins", &["map", "filter", "type", "super", "zip", "enumerate", "iter", "reversed"]),
    ("copyreg", &["_reconstructor", "__newobj__", "__newobj_ex__"]),
    ("torch._tensor", &["_rebuild_from_type_v2"]),
    ("torch._utils", &["_rebuild_wrapper_subclass"]),
    ("numpy.ma.core", &["_mareconstruct"]),
    ("sklearn.metrics._scorer", &["make_scorer"]),
];

/// What `module.name` can do, by its own name and by what Python 3 makes of it.
pub fn verdict(module: &str, name: &str) -> Verdict {
    let (new_module, new_name) = renamed(module, name);
    let verdicts = [one_verdict(module, name), one_verdict(new_module, new_name)];
    let worst = |a: Verdict, b: Verdict| match (a, b) {
        (Verdict::Denied(a, why), Verdict::Denied(b, _)) if a >= b => Verdict::Denied(a, why),
        (_, denied @ Verdict::Denied(..)) | (denied @ Verdict::Denied(..), _) => denied,
        (Verdict::Forwards, _) | (_, Verdict::Forwards) => Verdict::Forwards,
        (Verdict::Allowed, _) | (_, Verdict::Allowed) => Verdict::Allowed,
        _ => Verdict::Unknown,
    };
    worst(verdicts[0], verdicts[1])
}

fn one_verdict(module: &str, name: &str) -> Verdict {
    if let Some((_, _, severity, does)) = denied(module, name) {
        return Verdict::Denied(*severity, does);
    }
    let is_allowed = has(ALLOWED, module, name);
    if !is_allowed && reaches(module, name) {
        return Verdict::Denied(Critical, IMPORTS);
    }
    match () {
        () if has(FORWARDS, module, name) => Verdict::Forwards,
        () if is_allowed || is_storage(module, name) || is_class(module, name) => Verdict::Allowed,
        () => Verdict::Unknown,
    }
}

/// The worst entry for the name. A denied name is denied with every part that follows it, and where a name can be
/// imported as a module (`numpy.f2py` is `numpy` + `f2py` as well).
fn denied(module: &str, name: &str) -> Option<&'static Denied> {
    let full = format!("{module}.{name}");
    let matches = |entry: &&Denied| {
        let &(denied, names, ..) = *entry;
        let Some(rest) = full.strip_prefix(denied).and_then(|rest| rest.strip_prefix('.')) else { return false };
        names.is_empty()
            || names
                .iter()
                .any(|&name| rest.strip_prefix(name).is_some_and(|more| more.is_empty() || more.starts_with('.')))
    };
    let whole_module = |entry: &&Denied| entry.1.is_empty() && entry.0 == full;
    let found = DENIED.iter().filter(|entry| matches(entry) || whole_module(entry));
    found.max_by_key(|entry| entry.2)
}

/// Denied modules whose names are in words: lists have `cos`, `cnt` and `cray`.
const MODULES_IN_WORDS: &[&str] = &["os", "nt", "ray"];

/// Words that follow these in lists. None of the modules has anything of that name, so that a machine stops at the import.
#[rustfmt::skip] // a table
const WORDS: &[&str] = &[
    "sin", "tan", "cot", "sec", "csc", "asin", "acos", "atan", "sinh", "cosh", "tanh", "sqrt", "exp", "log", "abs",
    "total", "sum", "mean", "median", "avg", "min", "max", "count", "freq", "zuse", "cosine", "cost", "cosmos", "cosy",
    "cow", "crazy", "cream", "credit", "coal", "coast", "coat", "code", "coffee", "cold", "come",
];

/// Whether a denied name is only a word behind another in a list, of which there is nothing to import.
pub fn is_by_chance(full_name: &str) -> bool {
    full_name.split_once('.').is_some_and(|(module, name)| MODULES_IN_WORDS.contains(&module) && WORDS.contains(&name))
}

fn has(table: &[(&str, &[&str])], module: &str, name: &str) -> bool {
    table.iter().any(|(known, names)| *known == module && names.contains(&name))
}

fn is_storage(module: &str, name: &str) -> bool {
    let known_module = matches!(module, "torch" | "torch.cuda" | "torch.storage");
    known_module && name.ends_with("Storage") && name.starts_with(|first: char| first.is_ascii_uppercase())
}

fn is_class(module: &str, name: &str) -> bool {
    let is_cythons = !name.contains('.') && (name == "newObj" || name.starts_with("__pyx_unpickle_"));
    let is_capital = |part: &str| part.trim_start_matches('_').starts_with(|first: char| first.is_ascii_uppercase());
    // A part in small letters is a method: `DataFrame.query` evaluates a text.
    is_in(CLASSES, module)
        && (is_cythons || name.split('.').all(is_capital))
        && !name.split('.').any(|part| RUNNING.contains(&part))
}

/// Classes that make programs of what they hold, wherever they are imported from.
const RUNNING: &[&str] = &["GraphModule", "GraphModuleImpl"];

/// Packages and modules whose constructors evaluate texts or open files that they are given. Pickles of their objects make them
/// without calling these.
const CONSTRUCTED: &[&str] = &[
    "ultralytics.nn",
    "statsmodels",
    "gensim.models",
    "gensim.corpora",
    "xgboost.core",
    "catboost.core",
    "lightgbm.basic",
    "transformers.models",
    "timm.models",
    "sentence_transformers",
    "fairseq.data.dictionary",
    "fastai",
    "tokenizers",
];

/// Whether calling what is allowed as a class, not by its own name, may do more than make an object.
pub fn constructs(module: &str, name: &str) -> bool {
    is_in(CONSTRUCTED, module) && !has(ALLOWED, module, name)
}

/// Whether a module is one of `packages`, or in one of them.
fn is_in(packages: &[&str], module: &str) -> bool {
    packages.iter().any(|known| module.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// Whether a part of the name leads out of its module. `transformers.utils.logging` is a module; `pathlib` + `os.system`
/// is not a name of pathlib's.
fn reaches(module: &str, name: &str) -> bool {
    let inner_modules = module.split('.').skip(1);
    inner_modules.chain(name.split('.')).any(|part| REACHING.contains(&part)) && !name.starts_with("__pyx")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_denied(module: &str, name: &str) -> bool {
        matches!(verdict(module, name), Verdict::Denied(..))
    }

    #[test]
    fn what_is_denied_and_what_only_looks_alike() {
        for (module, name) in [
            ("os", "system"),
            ("__builtin__", "eval"),
            ("cPickle", "loads"),
            ("asyncio.unix_events", "_UnixSubprocessTransport._start"),
            ("pathlib", "os.system"),
            ("torch.serialization", "os.system"),
            ("numpy", "f2py.getlincoef"),
            ("importlib", "import_module"),
            ("sklearn.base", "os.system"),
            ("urllib2", "urlopen"),
            ("torch.utils.collect_env", "run"),
            ("thread", "start_new_thread"),
            ("posixpath", "os.system"),
            ("sklearn.datasets", "fetch_openml"),
            ("torch", "hub.load"),
            ("collections", "_sys.modules.__class__"),
        ] {
            assert!(is_denied(module, name), "{module}.{name}");
        }
        for (module, name) in [
            ("collections", "OrderedDict"),
            ("torch", "FloatStorage"),
            ("torch.cuda", "HalfStorage"),
            ("sklearn.tree._tree", "Tree"),
            ("numpy.random._mt19937", "MT19937"),
            ("sklearn.neighbors._kd_tree", "newObj"),
            ("uuid", "UUID"),
            ("operator", "itemgetter"),
            ("transformers.training_args", "OptimizerNames"),
            ("osmium", "Reader"),
            ("sysml", "Model"),
        ] {
            assert!(!is_denied(module, name), "{module}.{name}");
        }
        assert_eq!(verdict("copy_reg", "_reconstructor"), Verdict::Forwards);
        assert_eq!(verdict("sklearn.tree._tree", "Tree"), Verdict::Allowed);
        assert_eq!(verdict("sklearn.tree._tree", "helper"), Verdict::Unknown);
        assert_eq!(verdict("sklearnx", "Tree"), Verdict::Unknown);
    }

    #[test]
    fn nothing_that_is_allowed_is_denied() {
        for (module, names) in ALLOWED.iter().chain(FORWARDS) {
            for name in *names {
                assert!(!is_denied(module, name), "{module}.{name} is on both lists");
            }
        }
        assert!(CLASSES.iter().all(|module| !is_denied(module, "Class")), "an allowed module is denied");
    }
}
