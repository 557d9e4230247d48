//! Drama to conversations, and the split that every stage shares.

use tsumugi_data::dialogue::{DialogueConfig, Speech, characters, conversations, speeches, split};
use tsumugi_tokenizer::Message;

use crate::{PLAY, shakespeare};

#[test]
fn speeches_are_found() {
    let found = speeches(PLAY).expect("it is a play");
    assert_eq!(found.len(), 6);
    assert_eq!(found[0], Speech { speaker: "ROMEO", text: "Is the day so young?" });
    assert_eq!(found[2].text, "Ay me! sad hours seem long.\nWas that my father that went hence so fast?");
    assert_eq!(found[4].speaker, "First Citizen");
}

#[test]
fn odd_forms_are_read_with_care() {
    let text = "a preface: not a name\n\nKING:\r\nOne.\r\n\r\nTwo, the same speech:\r\n\r\nQUEEN:\n\nFOOL:\nThree: four.\n\n\n\nand: so on";
    let found = speeches(text).expect("it has speeches");
    let expected = [("KING", "One.\r\n\r\nTwo, the same speech:"), ("FOOL", "Three: four.\n\n\n\nand: so on")];
    assert_eq!(found, expected.map(|(speaker, text)| Speech { speaker, text }));
    assert_eq!(
        speeches("no drama\n\nat all").expect_err("it must fail").to_string(),
        "the text has no speeches: none of its 2 paragraphs begins with a line like `ROMEO:`"
    );
    assert!(speeches("").is_err());
    assert!(speeches("ROMEO:").is_err());
}

#[test]
fn each_answer_is_the_assistants_once() {
    let found = speeches(PLAY).expect("it is a play");
    let config = DialogueConfig { named_share: 1.0, ..DialogueConfig::default() };
    let named =
        |name: &str, content: &str| Message { role: "user".into(), content: content.into(), name: Some(name.into()) };
    let made = conversations(&found, &config);
    let expected = [
        vec![
            Message::new("system", "You are BENVOLIO."),
            named("ROMEO", found[0].text),
            Message::new("assistant", found[1].text),
            named("ROMEO", found[2].text),
            Message::new("assistant", found[3].text),
        ],
        vec![
            Message::new("system", "You are ROMEO."),
            named("BENVOLIO", found[1].text),
            Message::new("assistant", found[2].text),
        ],
        vec![
            Message::new("system", "You are First Citizen."),
            named("BENVOLIO", found[3].text),
            Message::new("assistant", found[4].text),
        ],
        vec![
            Message::new("system", "You are ROMEO."),
            named("First Citizen", found[4].text),
            Message::new("assistant", found[5].text),
        ],
    ];
    assert_eq!(made, expected);
    let single = conversations(&found, &DialogueConfig { exchanges_max: 1, ..config.clone() });
    assert!(single.iter().all(|messages| messages.len() == 3));
    assert_eq!(single.len(), 5);
    let nameless = conversations(&found, &DialogueConfig { named_share: 0.0, ..config });
    assert!(nameless.iter().flatten().all(|message| message.name.is_none()));
}

#[test]
fn shakespeare_has_its_people() {
    let text = shakespeare();
    assert_eq!(text.len(), 1_115_394);
    let found = speeches(&text).expect("it is drama");
    let people = characters(&found);
    assert_eq!(people[0].0, "GLOUCESTER");
    assert!(people.iter().any(|&(name, count)| name == "ROMEO" && count > 150));
    assert!(found.len() > 7000, "{}", found.len());
    let made = conversations(&found, &DialogueConfig::default());
    let answers = made.iter().flatten().filter(|message| message.role == "assistant").count();
    let expected = found.windows(2).filter(|pair| pair[0].speaker != pair[1].speaker).count();
    assert_eq!(answers, expected, "every answer once");
    let named = made.iter().filter(|messages| messages[1].name.is_some()).count() as f64 / made.len() as f64;
    assert!((named - 0.5).abs() < 0.05, "{named}");
    assert!(made.iter().any(|messages| messages.len() > 5), "some have several exchanges");
}

#[test]
fn the_last_tenth_is_held_out() {
    let text = shakespeare();
    let (train, held_out) = split(&text);
    assert_eq!([train, held_out].concat(), text);
    assert!(train.ends_with('\n'));
    let share = held_out.len() as f64 / text.len() as f64;
    assert!((0.1..0.1005).contains(&share), "{share}");
    assert_eq!(split(""), ("", ""));
    assert_eq!(split("0123456789"), ("012345678", "9"));
    assert_eq!(split("one line\n0123456789"), ("one line\n", "0123456789"));
    let wide = "é".repeat(100);
    let (train, held_out) = split(&wide);
    assert_eq!((train.len(), held_out.len()), (180, 20));
}
