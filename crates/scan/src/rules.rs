//! Every rule: a stable id, how bad it is, why it matters, and what to do. The reference page is made of this table.

use crate::finding::Severity;

/// One kind of finding. The id never changes its meaning.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Stable name.
    pub id: &'static str,
    /// How bad it usually is.
    pub severity: Severity,
    /// What it finds, in a few words.
    pub title: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// What to do.
    pub fix: &'static str,
    /// Advisories of this mechanism.
    pub references: &'static [&'static str],
}

macro_rules! rules {
    ($($name:ident $id:literal $severity:ident $title:literal, $why:literal, $fix:literal, [$($reference:literal),*];)*) => {
        $(#[doc = $title]
        pub static $name: Rule = Rule {
            id: $id,
            severity: Severity::$severity,
            title: $title,
            why: $why,
            fix: $fix,
            references: &[$($reference),*],
        };)*

        /// Every rule, in the order of the page.
        pub static ALL: &[&Rule] = &[$(&$name),*];
    };
}

rules! {
    DANGEROUS_IMPORT "pickle-dangerous-import" Critical "a pickle imports something that runs code or reaches out of the process",
        "Loading a pickle imports and calls what it names; this name runs commands or code, opens files or connections, or loads other files that do.",
        "do not load the file; ask its author for safetensors, or take it from another source",
        ["CVE-2025-1716", "CVE-2025-10157", "CVE-2025-32434", "CVE-2024-34997", "CVE-2020-13092", "CVE-2019-6446"];
    UNKNOWN_CALL "pickle-unknown-call" Medium "a pickle calls something that no known library writes",
        "A pickle's calls happen while it is loaded. This one is on neither list, so nobody has looked at what it does with these arguments.",
        "look at what the name does; if the file is yours, load it in a sandbox and save it as safetensors",
        [];
    UNKNOWN_IMPORT "pickle-unknown-import" Low "a pickle names a class or function that no known library writes, but does not call it",
        "Importing a module runs its top level, once; the object is only passed on.",
        "check that the package is one that you have installed on purpose",
        [];
    COMPUTED_CALL "pickle-computed-call" High "a pickle calls something that it computes first",
        "What is called has no name in the file: it is looked up, unpacked or returned by another call, which is how lists of bad names are evaded.",
        "do not load the file",
        ["GHSA-955r-x9j8-7rhh", "GHSA-46h3-79wf-xr6c"];
    OPAQUE_IMPORT "pickle-opaque-import" High "a pickle imports by a name or number that is not in the file",
        "The module or name is computed, or is a number that the loading process has registered: the file alone does not say what is imported.",
        "do not load the file",
        ["GHSA-9gvj-pp9x-gcfr"];
    OBJECT_WRITE "pickle-object-write" High "a pickle changes something that it did not make",
        "The pickle writes attributes or items of an imported module, class or tensor, which replaces code of the loading process or confuses its native code.",
        "do not load the file",
        ["CVE-2026-24747"];
    FRAME "pickle-frame" High "a pickle's frames do not fit its opcodes",
        "Readers of files take a frame as a whole, readers of bytes ignore it: the two see different programs.",
        "do not load the file; no writer makes this",
        ["python/cpython#154848"];
    BROKEN_PICKLE "pickle-broken" Medium "a pickle cannot be read to its end",
        "What stands before the error has already run when a loader meets it, and a loader of another version may read on.",
        "fetch the file again; if it stays broken, do not load it",
        ["GHSA-9gvj-pp9x-gcfr"];
    PICKLE_JUNK "pickle-junk" Low "bytes of a pickle file belong to no pickle",
        "Other bytes between or behind pickles are how a second program is hidden from tools that stop at the first.",
        "look at what these bytes are",
        [];
    NESTED_PICKLE "nested-pickle" High "a pickle with calls is hidden in a text or in bytes",
        "Data holds another pickle, plain or encoded, that would call something; it waits for a second load.",
        "do not load the file",
        [];
    PERSISTENT "pickle-persistent" Medium "a pickle asks its loader for an object in a way that PyTorch does not",
        "What a persistent id becomes is decided by the program that loads the file.",
        "load it only with the program that it was written for",
        [];
    BROKEN_FILE "broken-file" Medium "a file is not what its format wants",
        "Parsers differ in what they make of broken files; some read beyond their memory.",
        "fetch the file again; if it stays broken, do not load it",
        ["CVE-2024-21802", "CVE-2025-53630", "CVE-2026-27940", "CVE-2026-7482"];
    UNKNOWN_FORMAT "unknown-format" Medium "a file is named like a model but is none that can be read",
        "What cannot be read cannot be judged.",
        "check where the file is from, and fetch it again",
        ["CVE-2025-10155"];
    LFS_POINTER "lfs-pointer" Medium "a file is a pointer of Git LFS, and not the file itself",
        "The repository was fetched without its large files: what will lie here was not looked at.",
        "`git lfs pull` fetches the file; scan it then",
        [];
    FORMAT_MISMATCH "format-mismatch" Low "a file's content is of another format than its name says",
        "Tools that go by names look at the wrong thing or at nothing.",
        "rename the file, or ask why it is named so",
        ["CVE-2025-1889", "CVE-2025-10155"];
    ARCHIVE_FAULT "archive-fault" High "an archive contradicts itself",
        "A zip says most things twice. Where the two differ, a scanner sees one archive and a loader another.",
        "do not load the file; ask for it packed again by an ordinary tool",
        ["CVE-2025-1944", "CVE-2025-1945", "CVE-2025-10156"];
    ARCHIVE_PATH "archive-path" High "an archive's member would be written outside of its folder",
        "Unpacking follows absolute paths, `..` and links out of the target folder and replaces other files.",
        "do not unpack the archive",
        ["CVE-2025-51480"];
    ARCHIVE_UNREADABLE "archive-unreadable" Medium "a member of an archive cannot be looked at",
        "It is encrypted, damaged, or packed by a method that is not known here.",
        "unpack it yourself and scan the result",
        ["CVE-2025-10156"];
    ARCHIVE_BOMB "archive-bomb" High "a file unpacks to very much more than it is",
        "Unpacking it fills memory or disk.",
        "do not unpack the archive",
        [];
    EXECUTABLE "executable" High "a program lies where a model should be",
        "Models do not need programs; a program is one step from being started.",
        "do not start it; ask what it is for",
        [];
    TEMPLATE_ESCAPE "template-escape" Critical "a chat template reaches for Python's internals",
        "A template that is rendered without a sandbox runs any code through such attributes.",
        "do not use the template; replace it by the one of the original model",
        ["CVE-2024-34359"];
    TEMPLATE_SUSPECT "template-suspect" Medium "a chat template does what no template needs",
        "It loads other templates, loops without end, or names functions of the system.",
        "read the template before you use the model",
        [];
    KERAS_CODE "keras-code" High "a Keras model carries code or names of code",
        "Lambda layers hold Python bytecode, and a configuration's module and name are imported and called when the model is loaded.",
        "load it only with safe_mode=True in Keras 3.11.3 or newer, or rebuild the model from its source",
        ["CVE-2024-3660", "CVE-2025-1550", "CVE-2025-8747", "CVE-2025-9905", "CVE-2025-9906", "CVE-2025-49655"];
    TENSORFLOW_OP "tensorflow-op" High "a TensorFlow graph has operators that touch files or run Python",
        "A graph runs when it is called; these operators read or write files of the machine, or call Python functions.",
        "do not run the graph outside of a sandbox",
        [];
    ONNX_EXTERNAL "onnx-external-data" High "an ONNX model names data outside of its folder",
        "The runtime reads (and some tools write) the path that the file gives.",
        "do not load the file",
        ["CVE-2022-25882", "CVE-2024-27318", "CVE-2025-51480"];
    ONNX_CUSTOM "onnx-custom-operator" Low "an ONNX model uses operators of its own",
        "They need a native library that somebody has to provide and that runs in your process.",
        "load such libraries only from a source that you trust",
        [];
    TFLITE_CUSTOM "tflite-custom-operator" Low "a TensorFlow Lite model uses operators of its own",
        "They need a native library that somebody has to provide and that runs in your process.",
        "load such libraries only from a source that you trust",
        [];
    OTHER_FILE "other-file" High "a file makes its reader open another file",
        "A link, a dataset or an entity leads to a path that the file gives; what lies there is read as if it were a part of the model, and leaves with it.",
        "do not load the file; no model's weights need this",
        ["CVE-2026-1669"];
    REMOTE_CODE "remote-code" Low "a configuration asks for code of the repository, or of a package that is not its loader's",
        "What it names is imported: with trust_remote_code Python files of the repository, otherwise whatever is installed under that name.",
        "leave trust_remote_code off, or read the files and pin their revision; install no package for it that you do not know",
        [];
    CONFIG_TARGET "config-target" Critical "a configuration names a dangerous function to call",
        "Hydra, NeMo and skops import and call what such fields name.",
        "do not load the configuration",
        ["CVE-2025-23304", "CVE-2025-54412", "CVE-2025-54413", "CVE-2025-54886"];
    UNSAFE_YAML "unsafe-yaml" High "a YAML file constructs Python objects",
        "yaml.load with an unsafe loader calls what such tags name.",
        "read it with yaml.safe_load only",
        [];
    PYTHON_FILE "python-beside-weights" Low "Python code lies beside weights",
        "Loaders that trust remote code import it.",
        "read it before you turn trust_remote_code on",
        [];
    SECRET "secret" Low "a file holds what looks like a key or a token",
        "Whoever has the file can use it.",
        "revoke it, and publish the file without it",
        [];
    EXTERNAL_PATH "config-path" High "a configuration names files outside of its model's folder",
        "Whoever loads the model reads the path that the file gives, and may load weights from there.",
        "do not load the model; take it from its author again",
        [];
    LIMIT "limit" Medium "not everything was looked at",
        "The file is larger or deeper than the scanner's limits, or could not be read.",
        "scan its parts one by one, or raise the limit",
        [];
    NOT_JUDGED "audit-not-judged" Medium "a configuration was not judged",
        "It is no text, cannot be read, or has nothing in it that the audit knows: that nothing was found says nothing.",
        "leave it out, or give the file that starts the server",
        [];
    EXPOSED_SERVER "audit-exposed-server" High "a server answers other machines without asking who they are",
        "Whoever reaches its address may read what it holds, change it, and use the machine.",
        "let it listen at 127.0.0.1, or ask for a key or a user (`--api-key`, `--app-name basic-auth`)",
        [];
    NO_TLS "audit-no-tls" Medium "keys and contents cross the network in the clear",
        "Whoever is on the way reads keys and passwords, and can answer in the server's place.",
        "put a proxy with TLS in front, and let the server itself listen at 127.0.0.1",
        [];
    WRITTEN_KEY "audit-written-key" Medium "a key or password is written out in a configuration",
        "It is in every copy of the file and in the history of its repository; on a command line every user of the machine sees it.",
        "take it from the environment or a store of secrets, and make a new one",
        [];
    DEFAULT_PASSWORD "audit-default-password" Critical "an account has the password that the software comes with",
        "It stands in the software's documentation, and is tried first.",
        "set another one before the server is reachable",
        [];
    OPEN_PERMISSION "audit-open-permission" High "every user may use what others made",
        "One account that is lost opens the whole registry.",
        "set `default_permission = NO_PERMISSIONS` and grant what is needed",
        [];
    CHECK_DISABLED "audit-check-disabled" High "a check of hosts or origins is turned off",
        "A page in the browser of somebody who may reach the server can then use it.",
        "name the hosts and origins that are yours",
        ["CVE-2025-14279"];
    ARTIFACT_PATH "audit-artifact-path" Medium "artifacts lie in a folder of the server",
        "Flaws of the kind of path traversal, of which MLflow had many, then read and write the server's own files.",
        "keep artifacts in an object store, and let the server run as a user of its own",
        ["CVE-2023-1177", "CVE-2023-6831", "CVE-2024-1560", "CVE-2024-1593"];
    VULNERABLE_VERSION "audit-vulnerable-version" Critical "a server's version has known vulnerabilities",
        "They are published with the requests that use them, and searched for by machines.",
        "update it to a current release",
        ["CVE-2023-1177", "CVE-2023-2780", "CVE-2024-0520", "CVE-2025-11200", "CVE-2025-11201", "CVE-2026-2651"];
    OPEN_VERSION "audit-open-version" Low "a requirement allows versions with known vulnerabilities",
        "Which version is installed is decided elsewhere and later, so it was not judged.",
        "demand a current release (`mlflow>=X`), or give the lock file to the audit",
        [];
    BUCKET_PUBLIC "bucket-public" Critical "a bucket is open to everybody",
        "Models and data can be taken, or replaced by others that run code where they are loaded.",
        "name the accounts and roles that need it, and block public access",
        [];
    BUCKET_WIDE_ACTIONS "bucket-wide-actions" Medium "an account may do everything with a bucket",
        "Who has this account can delete the bucket or open it to everybody.",
        "name the actions that are needed (`s3:GetObject`, `s3:PutObject`)",
        [];
    BUCKET_TLS "bucket-no-tls" Medium "a bucket's policy does not demand TLS",
        "What is asked for over HTTP can be read and replaced on the way.",
        "deny every action where `aws:SecureTransport` is `false`",
        [];
    BUCKET_ACCESS_BLOCK "bucket-access-block" High "a bucket's block of public access is not complete",
        "One wrong policy or grant then opens it to everybody.",
        "turn on all four switches of the block of public access",
        [];
    BUCKET_ENCRYPTION "bucket-no-encryption" Medium "a bucket does not encrypt what it holds",
        "Whoever gets hold of the disks or of a copy reads it.",
        "set encryption with a key of your own (SSE-KMS)",
        [];
    BUCKET_VERSIONING "bucket-no-versioning" Low "a bucket keeps no earlier versions",
        "A model that was replaced or deleted cannot be restored, nor compared with what it was.",
        "turn versioning on",
        [];
}

/// The rule of that id.
pub fn find(id: &str) -> Option<&'static Rule> {
    ALL.iter().copied().find(|rule| rule.id == id)
}

/// The reference page: a section for each rule.
pub fn page() -> String {
    let mut page = "# Rules of `tsumugi scan` and `tsumugi audit`\n\nGenerated from `crates/scan/src/rules.rs`; \
        `UPDATE_GOLDEN=1 cargo test -p tsumugi-scan` writes it again. An id keeps its meaning.\n"
        .to_owned();
    for rule in ALL {
        let Rule { id, title, why, fix, references, .. } = rule;
        let severity = rule.severity.name();
        page.push_str(&format!("\n## {id}\n\nUsually **{severity}**: {title}.\n\n{why} To do: {fix}.\n"));
        if !references.is_empty() {
            page.push_str(&format!("\nKnown cases: {}.\n", references.join(", ")));
        }
    }
    page
}
