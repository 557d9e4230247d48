//! Bytes to text: byte-order marks, UTF-8, what a page declares, and else a guess from the bytes themselves.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// Bytes that are looked at for a guess.
const GUESS_BYTES: usize = 1 << 16;

/// A text and the name of its encoding, if that is not UTF-8.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    pub text: String,
    pub encoding: Option<&'static str>,
}

/// Decodes a text. What is not text at all (a NUL, most bytes no characters) is refused with a reason.
pub(super) fn decode(bytes: Vec<u8>, declared: Option<&str>) -> Result<Decoded, String> {
    if let Some((encoding, mark)) = Encoding::for_bom(&bytes) {
        return decode_as(encoding, &bytes[mark..]);
    }
    if let Some(encoding) = utf_16_without_mark(&bytes) {
        return decode_as(encoding, &bytes);
    }
    if let Some(at) = memchr::memchr(0, &bytes) {
        return Err(format!("it is no text: a NUL is its byte {at}"));
    }
    // A text that is valid UTF-8 by chance is hardly ever met; a wrong declaration is.
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => return Ok(Decoded { text, encoding: None }),
        Err(error) => error.into_bytes(),
    };
    if is_damaged_utf_8(&bytes) {
        return decode_as(UTF_8, &bytes);
    }
    if let Some(encoding) = declared.and_then(|label| Encoding::for_label(label.trim().as_bytes()))
        && let Some(text) = encoding.decode_without_bom_handling_and_without_replacement(&bytes)
    {
        return Ok(Decoded { text: text.into_owned(), encoding: Some(encoding.name()) });
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(&bytes[..bytes.len().min(GUESS_BYTES)], bytes.len() <= GUESS_BYTES);
    decode_as(detector.guess(None, Utf8Detection::Deny), &bytes)
}

fn decode_as(encoding: &'static Encoding, bytes: &[u8]) -> Result<Decoded, String> {
    let (text, _) = encoding.decode_without_bom_handling(bytes);
    if let Some(at) = memchr::memchr(0, text.as_bytes()) {
        return Err(format!("it is no text: a NUL is byte {at} of it as {}", encoding.name()));
    }
    Ok(Decoded { text: text.into_owned(), encoding: (encoding != UTF_8).then_some(encoding.name()) })
}

/// Whether wrong bytes are few beside the characters that only UTF-8 writes so: then these are damaged, and all others right.
fn is_damaged_utf_8(bytes: &[u8]) -> bool {
    let (mut right, mut wrong) = (0_usize, 0_usize);
    for chunk in bytes.utf8_chunks() {
        right += chunk.valid().chars().filter(|character| !character.is_ascii()).count();
        wrong += usize::from(!chunk.invalid().is_empty());
    }
    right > 4 * wrong
}

/// UTF-16 of a mostly Latin text has a zero in almost every other byte.
fn utf_16_without_mark(bytes: &[u8]) -> Option<&'static Encoding> {
    let start = &bytes[..bytes.len().min(4096) & !1];
    if start.len() < 8 {
        return None;
    }
    let zeros = |odd: usize| start.iter().skip(odd).step_by(2).filter(|&&byte| byte == 0).count();
    let (even, odd, half) = (zeros(0), zeros(1), start.len() / 2);
    match () {
        () if odd * 10 > half * 7 && even * 20 < half => Some(UTF_16LE),
        () if even * 10 > half * 7 && odd * 20 < half => Some(UTF_16BE),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8], declared: Option<&str>) -> (String, Option<&'static str>) {
        let decoded = decode(bytes.to_vec(), declared).unwrap();
        (decoded.text, decoded.encoding)
    }

    #[test]
    fn each_encoding_is_found() {
        assert_eq!(
            decoded("naïve".as_bytes(), Some("windows-1252")),
            ("naïve".into(), None),
            "UTF-8 before what is said"
        );
        assert_eq!(decoded(b"\xef\xbb\xbfa", None), ("a".into(), None));
        assert_eq!(decoded(b"\xff\xfea\0\xe9\0", None), ("aé".into(), Some("UTF-16LE")));
        let wide: Vec<u8> = "plain words".encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(decoded(&wide, None), ("plain words".into(), Some("UTF-16BE")));
        assert_eq!(decoded(b"\x83e\x83X\x83g", Some("shift_jis")), ("テスト".into(), Some("Shift_JIS")));
        let french = b"D\xe9j\xe0 vu, na\xefve, \x93cit\xe9\x94, o\xf9 l\x92\xe9t\xe9 fut tr\xe8s chaud.";
        let text = "Déjà vu, naïve, “cité”, où l’été fut très chaud.";
        assert_eq!(decoded(french, None), (text.into(), Some("windows-1252")));
        assert_eq!(decoded(french, Some("no-such-encoding")).0, text);
    }

    #[test]
    fn a_wrong_byte_does_not_spoil_the_others() {
        let mut bytes = "Überall größere Übermäßigkeit".as_bytes().to_vec();
        bytes.push(0xff);
        assert_eq!(decoded(&bytes, None), ("Überall größere Übermäßigkeit\u{fffd}".into(), None));
    }

    #[test]
    fn what_is_no_text_is_refused() {
        assert!(decode(b"\x7fELF\x02\x01\x01\0\0\0\0".to_vec(), None).unwrap_err().contains("a NUL is its byte 7"));
        assert!(decode(b"\xff\xfe\0\0a\0".to_vec(), None).is_err());
    }
}
