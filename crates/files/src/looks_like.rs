//! What a file is that has another format's name, by its first bytes: for the hint of an error.

/// What looks like another kind of file than its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LooksLike {
    /// A pointer of Git LFS: the real file was not fetched.
    GitLfsPointer,
    /// A page of a web server, usually an error.
    WebPage,
    /// A zip archive, as `torch.save` makes them.
    Zip,
    /// A bare pickle.
    Pickle,
    /// A GGUF file.
    Gguf,
    /// A safetensors file.
    Safetensors,
}

impl LooksLike {
    /// What the first bytes are instead of `expected`, where they are known.
    pub(crate) fn instead_of(expected: Self, bytes: &[u8]) -> Option<Self> {
        Self::of(bytes).filter(|&found| found != expected)
    }

    /// What the first bytes are, where they are known.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let start = bytes.get(..bytes.len().min(64)).unwrap_or_default().trim_ascii_start();
        let starts = |words: &[u8]| start.len() >= words.len() && start[..words.len()].eq_ignore_ascii_case(words);
        let is_pointer =
            [b"version https://git-lfs".as_slice(), b"version https://hawser", b"version http://git-media"]
                .into_iter()
                .any(starts);
        if is_pointer {
            Some(Self::GitLfsPointer)
        } else if starts(b"<!doctype") || starts(b"<html") {
            Some(Self::WebPage)
        } else if starts(b"PK\x03\x04") {
            Some(Self::Zip)
        } else if starts(b"GGUF") {
            Some(Self::Gguf)
        } else if start.len() >= 2 && start[0] == 0x80 && (2..=5).contains(&start[1]) {
            Some(Self::Pickle)
        } else if bytes.get(8..10) == Some(b"{\"") {
            Some(Self::Safetensors)
        } else {
            None
        }
    }

    /// What it is and what to do.
    pub fn hint(self) -> &'static str {
        match self {
            Self::GitLfsPointer => "it is a Git LFS pointer, not the file: run `git lfs pull` there",
            Self::WebPage => "it is a web page, usually an error of the server; fetch the file again",
            Self::Zip | Self::Pickle => "it is a PyTorch file under a wrong name: call it pytorch_model.bin",
            Self::Gguf => "it is a GGUF file under a wrong name",
            Self::Safetensors => "it is a safetensors file under a wrong name",
        }
    }
}
