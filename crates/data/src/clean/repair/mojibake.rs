//! UTF-8 that was read as Windows-1252 or Latin-1: "â€™" for "’", "Ã©" for "é".
//!
//! Characters are turned back into the bytes that they were read from; where these are UTF-8, the character that it
//! stands for takes their place, if nobody is likely to have written such a sequence himself. Sequences are judged one by one,
//! so that a page of mixed encodings is repaired too. ftfy (Speer 2019) does more: other code pages, bytes that got lost.

/// Text that was wrongly read more often stays so.
const PASSES_MAX: usize = 4;

/// The text read again, and how many sequences were; nothing if none was.
///
/// ```
/// use tsumugi_data::clean::repair::undo;
/// assert_eq!(undo("Ã¢â‚¬â„¢"), Some(("’".to_owned(), 4)), "three sequences, then one: it was read wrongly twice");
/// assert_eq!(undo("SÃO PAULO™, Ñandú, «Â»"), None);
/// ```
pub fn undo(text: &str) -> Option<(String, u64)> {
    let (mut fixed, mut total) = undo_once(text)?;
    for _ in 1..PASSES_MAX {
        let Some((better, count)) = undo_once(&fixed) else { break };
        (fixed, total) = (better, total + count);
    }
    Some((fixed, total))
}

/// A character that UTF-8 was read as.
struct Sequence {
    character: char,
    /// Bytes in the text as it is.
    text_bytes: usize,
    /// Whether it is beyond doubt alone; else it needs one beside it.
    is_certain: bool,
}

fn undo_once(text: &str) -> Option<(String, u64)> {
    let mut fixed = String::new();
    let (mut done, mut count, mut place) = (0, 0, 0);
    while let Some(found) = text.as_bytes()[place..].iter().position(|byte| *byte >= 0x80) {
        place += found;
        let Some(first) = sequence(&text[place..]) else {
            place += text[place..].chars().next().map_or(1, char::len_utf8);
            continue;
        };
        // All that follow without a gap are judged together: two make each other certain.
        let mut run = vec![first];
        let mut end = place + run[0].text_bytes;
        while let Some(next) = sequence(&text[end..]) {
            end += next.text_bytes;
            run.push(next);
        }
        if run.len() > 1 || run[0].is_certain {
            fixed.push_str(&text[done..place]);
            fixed.extend(run.iter().map(|sequence| sequence.character));
            count += run.len() as u64;
            done = end;
        }
        place = end;
    }
    if count == 0 {
        return None;
    }
    fixed.push_str(&text[done..]);
    Some((fixed, count))
}

/// The sequence at the front of the text.
fn sequence(text: &str) -> Option<Sequence> {
    let mut characters = text.chars();
    let mut bytes = [0; 4];
    bytes[0] = byte_of(characters.next()?)?;
    let length = match bytes[0] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    for byte in &mut bytes[1..length] {
        *byte = byte_of(characters.next()?)?;
    }
    let character = std::str::from_utf8(&bytes[..length]).ok()?.chars().next()?;
    let rest = characters.as_str();
    let last = text[..text.len() - rest.len()].chars().next_back()?;
    // Inside of a word no sign of punctuation was meant.
    let is_inside = rest.starts_with(char::is_alphabetic);
    let is_certain = match bytes[0] {
        // "Â" or "Ã" before a symbol; a closing quote may well stand behind a letter that is quoted.
        0xc2 | 0xc3 => is_inside || !matches!(last, '»' | '”' | '’'),
        // Other capitals before a sign of punctuation may be the end of a word.
        0xc4..=0xdf => is_inside || !is_punctuation(last),
        _ => true,
    };
    Some(Sequence { character, text_bytes: text.len() - rest.len(), is_certain })
}

/// What may stand right behind a word.
fn is_punctuation(character: char) -> bool {
    matches!(character, '‚'..='„' | '…' | '†' | '‡' | '‰' | '‹' | '‘'..='”' | '•' | '–' | '—' | '™' | '›' | '®' | '»' | '«' | '·' | '¹'..='º' | '²' | '³')
        || character == '\u{a0}'
}

/// The byte that was read as this character by Windows-1252, or by Latin-1 where that has none.
fn byte_of(character: char) -> Option<u8> {
    match character {
        '\u{80}'..='\u{ff}' => Some(character as u8),
        _ => WINDOWS_1252.iter().position(|known| *known == character).map(|place| 0x80 + place as u8),
    }
}

/// Bytes 0x80 to 0x9f; five have no character.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];
