//! Wrong decoding is undone, what was meant stays, and nothing is done twice.

use std::borrow::Cow;

use tsumugi_data::clean::lines::{LineRules, LinesRemoved};
use tsumugi_data::clean::repair::{Form, Repair, undo};

/// What a reader of Windows-1252 sees where a writer meant UTF-8; the five bytes without a character stay controls.
fn misread(text: &str) -> String {
    const HIGH: &str = "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8d}Ž\u{8f}\u{90}‘’“”•–—˜™š›œ\u{9d}žŸ";
    let high: Vec<char> = HIGH.chars().collect();
    text.bytes()
        .map(|byte| if (0x80..0xa0).contains(&byte) { high[usize::from(byte) - 0x80] } else { byte as char })
        .collect()
}

const SENTENCES: [&str; 9] = [
    "It’s “fine” — really… 5 € or 3 £, © 2020",
    "Übermäßig schöne Größen",
    "L’été dernier, à Noël, ça coûtait très cher. Où ?",
    "El niño comió piñas ¿verdad?",
    "Все люди рождаются свободными и равными",
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι",
    "人人生而自由，在尊严和权利上一律平等。",
    "🙂 and 👩‍👩‍👧 and 🇩🇪",
    "žluťoučký kůň",
];

#[test]
fn misread_text_is_read_again() {
    for sentence in SENTENCES {
        let once = misread(sentence);
        assert_ne!(once, sentence);
        assert_eq!(undo(&once).expect("it is repaired").0, sentence);
        assert_eq!(undo(&misread(&once)).expect("it is repaired").0, sentence, "read wrongly twice");
    }
}

#[test]
fn text_that_was_meant_stays() {
    for sentence in SENTENCES.into_iter().chain([
        "SÃO PAULO, NÃO, CAFÉ™, Ñ… «Â», “Ã”, Å, ÖÄÜ, Æ",
        "Â£ is mojibake, ÂÃ is not", // shown below
        "PARIS À… É“ Ñ™",
        "x² ± 3°, ¼ ½ ¾, ª º",
    ]) {
        if sentence.contains("Â£") {
            assert_eq!(undo(sentence).unwrap().0, "£ is mojibake, ÂÃ is not");
            continue;
        }
        assert_eq!(undo(sentence), None, "{sentence}");
    }
}

#[test]
fn controls_line_ends_and_the_invisible_go_and_are_counted() {
    let (text, repairs) = Repair::default().apply("\u{feff}a\0b\r\nc\rd\u{2028}e\u{85}\tf\u{200b}g\u{ad}h\u{1b}");
    assert_eq!(text, "ab\nc\nd\ne\n\tfgh");
    assert_eq!((repairs.controls, repairs.line_ends, repairs.invisible, repairs.mojibake), (2, 4, 3, 0));
    let family = "👩\u{200d}👧 می\u{200c}خواهم";
    assert!(
        matches!(Repair::default().apply(family), (Cow::Borrowed(same), repairs) if same == family && repairs == Default::default())
    );
}

#[test]
fn forms_are_unicodes() {
    let repair = |form, text| Repair { form, ..Repair::default() }.apply(text).0.into_owned();
    assert_eq!(repair(Some(Form::Nfc), "e\u{301}ﬁ①"), "éﬁ①");
    assert_eq!(repair(Some(Form::Nfkc), "e\u{301}ﬁ①"), "éfi1");
    assert_eq!(repair(None, "e\u{301}"), "e\u{301}");
}

#[test]
fn a_repaired_text_is_repaired() {
    let all = SENTENCES.map(misread).join("\r\n") + "\u{200b}e\u{301}\u{7f}";
    let (once, _) = Repair::default().apply(&all);
    assert!(matches!(Repair::default().apply(&once), (Cow::Borrowed(_), repairs) if repairs == Default::default()));
}

#[test]
fn lines_go_by_their_rules() {
    let long = "This is a line of text that is long enough to be seen again as a repetition.";
    let text = format!("Skip to content\n{long}\n\nThe same paragraph.\n\nThe same paragraph.\n\nEnd.\n{long}\nEnd.\n");
    let (kept, removed) = LineRules::default().apply(&text).unwrap();
    assert_eq!(kept, format!("{long}\n\nThe same paragraph.\n\nThe same paragraph.\n\nEnd.\nEnd.\n"));
    assert_eq!(removed, LinesRemoved { boilerplate: 1, repeated_lines: 1, repeated_paragraphs: 0 });
    let rules = LineRules { repeated_paragraph_characters: Some(10), ..LineRules::default() };
    let (kept, removed) = rules.apply(&text).unwrap();
    assert_eq!(kept, format!("{long}\n\nThe same paragraph.\n\nEnd.\nEnd.\n"));
    assert_eq!(removed.repeated_paragraphs, 1);
    assert_eq!(LineRules::default().apply("A line.\n\nAnother line.\n"), None);
}
