//! What is personal or secret is found; what only looks like it is not.

use tsumugi_data::clean::mask::{Kind, find, mask};

fn found(text: &str) -> Vec<(&'static str, &str)> {
    find(text, &Kind::ALL).into_iter().map(|finding| (finding.kind.name(), &text[finding.range])).collect()
}

#[test]
fn personal_data_is_found() {
    for (text, kind, part) in [
        ("to: <ann.b+c@mail.example.co.uk>.", "email", "ann.b+c@mail.example.co.uk"),
        ("(o'neil@example.org)", "email", "o'neil@example.org"),
        ("from 8.8.8.8:53, yes", "ip", "8.8.8.8"),
        ("at 2606:4700:4700::1111.", "ip", "2606:4700:4700::1111"),
        ("Tel.: 030 901820", "phone", "030 901820"),
        ("+1 (415) 555-0132", "phone", "+1 (415) 555-0132"),
        ("(415) 555-0132.", "phone", "(415) 555-0132"),
        ("415.555.0132", "phone", "415.555.0132"),
        ("+4930901820", "phone", "+4930901820"),
        ("card 4111 1111 1111 1111 ok", "card", "4111 1111 1111 1111"),
        ("5500-0000-0000-0004", "card", "5500-0000-0000-0004"),
        ("340000000000009", "card", "340000000000009"),
        ("IBAN DE89 3704 0044 0532 0130 00.", "iban", "DE89 3704 0044 0532 0130 00"),
        ("GB82WEST12345698765432", "iban", "GB82WEST12345698765432"),
    ] {
        assert_eq!(found(text), [(kind, part)], "in {text:?}");
    }
}

#[test]
fn secrets_are_found() {
    let github = format!("ghp_{}", "a1B2".repeat(9));
    let token = format!("eyJ{}.eyJ{}.{}", "hbGciOiJIUzI1NiJ9", "zdWIiOiIxIn0xx", "c2lnbmF0dXJl");
    let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nAbc+/=\n-----END RSA PRIVATE KEY-----";
    for (text, part) in [
        (format!("key={github};"), github.clone()),
        ("AKIAIOSFODNN7EXAMPLE".to_owned(), "AKIAIOSFODNN7EXAMPLE".to_owned()),
        (format!("Bearer {token}\n"), token),
        (format!("x\n{pem}\ny"), pem.to_owned()),
        ("postgres://user:hunter2@db.example.org/x".to_owned(), "hunter2".to_owned()),
        (format!("sk-proj-{}", "x".repeat(48)), format!("sk-proj-{}", "x".repeat(48))),
        (format!("hf_{}", "Q".repeat(34)), format!("hf_{}", "Q".repeat(34))),
    ] {
        let secrets: Vec<_> = find(&text, &[Kind::Secret]).into_iter().map(|finding| &text[finding.range]).collect();
        assert_eq!(secrets, [part], "in {text:?}");
    }
}

#[test]
fn what_only_looks_like_it_stays() {
    for text in [
        "a@b, @name, name@, x@localhost, 5@3.14, a@-b.org, me@home..org",
        "127.0.0.1 10.0.0.1 192.168.1.1 256.1.1.1 1.2.3 1.2.3.4.5 ::1 fe80::1 12:30:45 2001:db8::1",
        "2024-01-02 10:30, 1,234,567, 3.14159265, 555-0132, 1 000 000, call 2020",
        "4111 1111 1111 1112, 1234 5678 9012 3456, 0000000000000000, order 41111111111111111111111",
        "DE89 3704 0044 0532 0130 01, DE8937040044053201300, XX89370400440532013000",
        "ghp_short AKIA1234 AKIAiosfodnn7example xAKIAIOSFODNN7EXAMPLE eyJ.eyJ.x sk-learn -----BEGIN PUBLIC KEY----- http://a:80/x",
    ] {
        assert_eq!(found(text), [], "in {text:?}");
    }
}

#[test]
fn masks_are_counted_and_nothing_else_changes() {
    let text = "Ann <a@example.org>, Bob <b@example.org>; 8.8.4.4 – é";
    let (masked, counts) = mask(text, &Kind::ALL).unwrap();
    assert_eq!(masked, "Ann <<email>>, Bob <<email>>; <ip> – é");
    assert_eq!(counts, [(Kind::Email, 2), (Kind::Ip, 1)]);
    assert_eq!(mask(&masked, &Kind::ALL), None);
    assert_eq!(mask(text, &[Kind::Card]), None);
}

#[test]
fn no_text_takes_more_than_its_length() {
    for piece in
        ["@", "a@", "1 ", "1.", "eyJ", "eyJ-", "-----BEGIN ", "://", "a:", "DE1", "(", "+1", "sk-", "1", "ghp_a", "fe:"]
    {
        let text = piece.repeat(1 << 19);
        find(&text, &Kind::ALL);
    }
}
