//! A text as sentences of words, in constant memory: a line is a sentence, words are apart by spaces, tabs, carriage
//! returns or zero bytes, and may be of any other bytes.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use tsumugi_base::FileError;
use tsumugi_base::limits::NGRAM_WORD_BYTES_MAX;

use super::NgramError;

/// Bytes that are read at once.
const BLOCK_BYTES: usize = 1 << 20;

/// Whether a byte ends a word; a line feed ends the sentence too.
#[inline]
pub(super) fn is_delimiter(byte: u8) -> bool {
    byte <= b' ' && matches!(byte, b' ' | b'\n' | b'\t' | b'\r' | 0)
}

/// The words of one line.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| is_delimiter(byte)).filter(|word| !word.is_empty())
}

/// What a text consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Word(&'a [u8]),
    /// The line ends. A last line without a line feed ends too.
    EndOfLine,
}

/// Calls `token` with all of a file in order; `read` is told the bytes of each block before its tokens.
pub(super) fn for_each_token(
    path: &Path,
    mut read: impl FnMut(u64) -> Result<(), NgramError>,
    mut token: impl FnMut(Token) -> Result<(), NgramError>,
) -> Result<(), NgramError> {
    let failed = |source| FileError::read(path, source);
    let mut file = File::open(path).map_err(failed)?;
    let mut buffer = Vec::new();
    let mut line = 1;
    let mut is_open = false;
    loop {
        let rest = buffer.len();
        let count = (&mut file).take(BLOCK_BYTES as u64).read_to_end(&mut buffer).map_err(failed)?;
        read(count as u64)?;
        if count == 0 {
            if rest > 0 {
                token(Token::Word(&buffer))?;
            }
            return if is_open || rest > 0 { token(Token::EndOfLine) } else { Ok(()) };
        }
        let mut begin = 0;
        for (i, &byte) in buffer.iter().enumerate().skip(rest) {
            if !is_delimiter(byte) {
                continue;
            }
            if begin < i {
                token(Token::Word(&buffer[begin..i]))?;
                is_open = true;
            }
            begin = i + 1;
            if byte == b'\n' {
                token(Token::EndOfLine)?;
                is_open = false;
                line += 1;
            }
        }
        buffer.drain(..begin);
        if buffer.len() > NGRAM_WORD_BYTES_MAX {
            return Err(NgramError::LongWord { path: path.to_owned(), line });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &[u8]) -> Result<String, NgramError> {
        let folder = tsumugi_base::testing::temporary_folder();
        let path = folder.path().join("text");
        std::fs::write(&path, text).unwrap();
        let mut out = String::new();
        for_each_token(
            &path,
            |_| Ok(()),
            |token| {
                match token {
                    Token::Word(word) => out.push_str(&format!("{} ", String::from_utf8_lossy(word))),
                    Token::EndOfLine => out.push_str("/ "),
                }
                Ok(())
            },
        )?;
        Ok(out)
    }

    #[test]
    fn lines_and_words() {
        assert_eq!(tokens(b"a  b\tc\r\n\n d\0e\x0bf\n").unwrap(), "a b c / / d e\u{b}f / ");
        assert_eq!(tokens(b"a\nb").unwrap(), "a / b / ");
        assert_eq!(tokens(b"a\nb ").unwrap(), "a / b / ");
        assert_eq!(tokens(b"").unwrap(), "");
        assert_eq!(tokens(b" ").unwrap(), "");
    }

    #[test]
    fn words_across_blocks() {
        let mut text = vec![b'x'; BLOCK_BYTES - 3];
        text.fill(b' ');
        text.extend_from_slice(b"abcdefg h\n");
        assert_eq!(tokens(&text).unwrap(), "abcdefg h / ");
    }

    #[test]
    fn a_word_without_end_is_an_error() {
        let text = vec![b'x'; NGRAM_WORD_BYTES_MAX + BLOCK_BYTES];
        assert!(matches!(tokens(&text), Err(NgramError::LongWord { line: 1, .. })));
    }
}
