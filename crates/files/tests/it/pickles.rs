//! The pickle machine against CPython's unpickler: `fixtures/pickle/` was made by `tools/goldens/make_pickle_goldens.py`.

use std::fs;
use std::path::PathBuf;

use tsumugi_files::pickle::joblib::{Inline, inline_array};
use tsumugi_files::pickle::opcode::{self, Argument};
use tsumugi_files::pickle::{Event, Kind, Limits, Machine, Problem, Symbol, WriteKind};

pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// The events of one pickle, and what it makes.
fn read(bytes: &[u8]) -> (Vec<Event>, String) {
    let mut machine = Machine::new(bytes, Limits::default());
    let events: Vec<Event> = machine.by_ref().collect();
    let values = events.iter().filter_map(|event| match event {
        Event::Stop { value, .. } => Some(machine.heap().expression(*value, usize::MAX)),
        _ => None,
    });
    let text = values.collect::<Vec<_>>().join(" | ");
    (events, text)
}

fn problems(bytes: &[u8]) -> Vec<(usize, String)> {
    let told = |event| match event {
        Event::Problem { offset, problem } => Some((offset, problem.to_string())),
        _ => None,
    };
    Machine::new(bytes, Limits::default()).filter_map(told).collect()
}

#[test]
fn the_opcodes_are_cpythons() {
    let expected = fs::read_to_string(fixture("pickle/opcodes.txt")).unwrap();
    let mut found: Vec<String> = opcode::ALL
        .iter()
        .map(|opcode| {
            // As `pickletools.ArgumentDescriptor.n`.
            let argument = match opcode.argument {
                Argument::None => 0,
                Argument::Fixed(bytes) => i32::from(bytes),
                Argument::Line | Argument::TwoLines => -1,
                Argument::Counted(1) => -2,
                Argument::SignedCounted => -3,
                Argument::Counted(4) => -4,
                Argument::Counted(_) => -5,
            };
            format!("{:02x}\t{}\t{}\t{argument}", opcode.byte, opcode.name, opcode.protocol)
        })
        .collect();
    let mut expected: Vec<&str> = expected.lines().collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn every_value_is_what_cpython_makes_of_it() {
    let cases = fs::read_to_string(fixture("pickle/values.txt")).unwrap();
    let mut opcodes_seen = [false; 256];
    for case in cases.lines() {
        let (hex, expected) = case.split_once('\t').unwrap();
        let bytes = from_hex(hex);
        let (events, found) = read(&bytes);
        assert_eq!(found, expected, "{hex}");
        let told: Vec<_> = events.iter().filter(|event| matches!(event, Event::Problem { .. })).collect();
        // What lies on the stack beside the result is CPython's silence; two cases by hand leave something there.
        assert!(
            told.iter().all(|event| matches!(event, Event::Problem { problem: Problem::StackLeft { .. }, .. })),
            "{hex}: {told:?}"
        );
        assert!(matches!(events.last(), Some(Event::Stop { offset, .. }) if offset + 1 == bytes.len()), "{hex}");
        bytes.iter().for_each(|&byte| opcodes_seen[byte as usize] = true);
    }
    let unseen: Vec<_> = opcode::ALL.iter().filter(|opcode| !opcodes_seen[opcode.byte as usize]).collect();
    assert!(
        unseen.iter().all(|opcode| matches!(opcode.byte, opcode::NEXT_BUFFER | opcode::READONLY_BUFFER)),
        "{unseen:?}"
    );
    assert_eq!(read(b"\x80\x05\x97\x98.").1, "buffer");
}

#[test]
fn events_have_the_places_of_their_opcodes() {
    let bytes = b"\x80\x04(cos\nsystem\n\x8c\x02lso0\x8c\x01m\x8c\x01f\x93)R}b.";
    let mut machine = Machine::new(bytes, Limits::default());
    let events: Vec<Event> = machine.by_ref().collect();
    let heap = machine.heap();
    let shown: Vec<String> = events
        .iter()
        .map(|event| match event {
            Event::Start { offset } => format!("{offset} start"),
            Event::Import { offset, global } => format!("{offset} import {}", heap.expression(*global, 99)),
            Event::Call { offset, kind, result, .. } => {
                format!("{offset} {kind:?} {}", heap.expression(*result, 99))
            }
            Event::Write { offset, kind, target, content } => {
                format!("{offset} {kind:?} {} <- {}", heap.expression(*target, 99), heap.expression(*content, 99))
            }
            Event::Stop { offset, .. } => format!("{offset} stop"),
            other => format!("{other:?}"),
        })
        .collect();
    // The call that is popped from the stack again was made all the same.
    assert_eq!(
        shown,
        [
            "0 start",
            "3 import os.system",
            "18 Object os.system('ls')",
            "26 import m.f",
            "28 Reduce m.f().build({})",
            "30 Build m.f().build({}) <- {}",
            "31 stop",
        ]
    );
    let Event::Call { callee, arguments, .. } = events[2] else { panic!() };
    assert_eq!((heap.offset(callee), heap.offset(arguments)), (Some(3), Some(18)));
    assert_eq!(heap.offset(heap.tuple(arguments).unwrap()[0]), Some(14));
}

#[test]
fn writes_to_what_is_no_container_are_told() {
    let written = |bytes: &[u8]| {
        let event = Machine::new(bytes, Limits::default()).find(|event| matches!(event, Event::Write { .. }));
        event.map(|event| match event {
            Event::Write { kind, .. } => kind,
            _ => unreachable!(),
        })
    };
    assert_eq!(written(b"]K\x01a."), None);
    assert_eq!(written(b"}K\x01K\x02s."), None);
    assert_eq!(written(b"]K\x01K\x02s."), Some(WriteKind::SetItems));
    assert_eq!(written(b"}K\x01a."), Some(WriteKind::Append));
    assert_eq!(written(b"cm\nf\nK\x01K\x02s."), Some(WriteKind::SetItems));
    assert_eq!(written(b"](K\x01\x90."), Some(WriteKind::Add));
    assert_eq!(written(b"K\x05}b."), Some(WriteKind::Build));
}

#[test]
fn each_fault_has_its_sentence_and_the_rest_is_read() {
    let cases: [(&[u8], usize, &str); 24] = [
        (b"\xff", 0, "0xff is no opcode"),
        (b"X\x05\x00\x00\x00abc", 0, "BINUNICODE needs 9 more bytes, but 7 are left"),
        (
            b"\x8e\xff\xff\xff\xff\xff\xff\xff\xffabc",
            0,
            "BINBYTES8 needs 18446744073709551615 more bytes, but 11 are left",
        ),
        (b"I12", 0, "INT needs 3 more bytes, but 2 are left"),
        (b"cos\nsystem", 0, "GLOBAL needs 10 more bytes, but 9 are left"),
        (b"\x8b\xff\xff\xff\xff.", 0, "LONG4 has a length of -1"),
        (b"T\x00\x00\x00\x80.", 0, "BINSTRING has a length of -2147483648"),
        (b"N", 1, "the pickle ends without STOP"),
        (b"Ix\n.", 0, "the argument of INT cannot be decoded"),
        (b"S'a\n.", 0, "the argument of STRING cannot be decoded"),
        (b"S'\\x4'\n.", 0, "the argument of STRING cannot be decoded"),
        (b"V\\u12\n.", 0, "the argument of UNICODE cannot be decoded"),
        (b"\x8c\x02\xc3(.", 0, "the argument of SHORT_BINUNICODE cannot be decoded"),
        (b"N\x86.", 1, "TUPLE2 needs 2 items on the stack, but finds 1"),
        (b"N(N\x86.", 3, "TUPLE2 needs 2 items on the stack, but finds 1"),
        (b"Nt.", 1, "TUPLE needs a mark on the stack"),
        (b"(NNNd.", 4, "DICT finds a key without a value"),
        (b"h\x05.", 0, "memo entry 5 was never made"),
        (b"NN\x93.", 2, "STACK_GLOBAL imports by something that is no text of at most 4096 bytes"),
        (b"\x80\x06N.", 0, "protocol 6 does not exist; the newest is 5"),
        (b"N\x80\x02.", 1, "PROTO stands in the middle of the pickle"),
        (b"NN.", 2, "1 items are left on the stack"),
        (b"N(.", 2, "a mark is left on the stack"),
        (b".", 0, "STOP needs 1 items on the stack, but finds 0"),
    ];
    for (bytes, offset, sentence) in cases {
        assert_eq!(problems(bytes)[0], (offset, sentence.to_owned()), "{bytes:?}");
    }
    // What stands behind a fault of the stack is executed all the same.
    let (events, _) = read(b"h\x05cos\nsystem\n(S'ls'\ntR.");
    assert!(events.iter().any(|event| matches!(event, Event::Call { offset: 21, .. })), "{events:?}");
}

#[test]
fn frames_are_checked() {
    let frame = |len: u8, rest: &[u8]| [b"\x80\x04\x95", &[len, 0, 0, 0, 0, 0, 0, 0][..], rest].concat();
    assert!(problems(&frame(2, b"N.")).is_empty());
    // Large objects stand between frames.
    assert!(problems(&[frame(1, b"N"), b"\x8c\x01a\x95\x02\0\0\0\0\0\0\0\x86.".to_vec()].concat()).is_empty());
    let told = |bytes: Vec<u8>| problems(&bytes)[0].clone();
    assert_eq!(told(frame(3, b"N.")), (2, "a frame of 3 bytes begins, but 2 are left".into()));
    assert_eq!(
        told(frame(2, b"\x8c\x01a.")),
        (11, "SHORT_BINUNICODE and its argument reach over the frame's end at byte 13".into())
    );
    assert_eq!(
        told(frame(11, b"\x95\x01\0\0\0\0\0\0\0N.")),
        (11, "a frame begins before the last one ends, at byte 22".into())
    );
    assert_eq!(told(frame(3, b"N.N.")), (12, "STOP stands before the frame's end at byte 14".into()));
}

#[test]
fn several_pickles_and_junk_between_them() {
    assert_eq!(read(b"K\x01.K\x02.\x80\x02K\x03.").1, "1 | 2 | 3");
    let (events, text) = read(b"K\x01.\0\0junk\x80\x02K\x03.");
    assert_eq!(text, "1 | 3");
    assert!(events.contains(&Event::Skipped { bytes: 3..9 }), "{events:?}");
    // A payload in the words of protocol 0 behind junk, behind a broken opcode, and behind a cut argument.
    for before in [&b"K\x01.\xfe\xfe"[..], b"\xff\xff", b"\x8e\0\0\0\0\0\0\0\x7f", b"\x80\x02X\xff\xff\xff\x7f"] {
        let (events, _) = read(&[before, b"cos\nsystem\n(S'ls'\ntR."].concat());
        assert!(events.iter().any(|event| matches!(event, Event::Call { .. })), "{events:?}");
        assert!(events.iter().any(|event| matches!(event, Event::Problem { .. } | Event::Skipped { .. })));
    }
    // Letters without end hold no import; one at their end is found.
    let letters = [b"K\x01.\0".to_vec(), vec![b'c'; 200_000]].concat();
    assert!(!read(&letters).0.iter().any(|event| matches!(event, Event::Import { .. })));
    let named = [&letters[..], b"\0icos\nsystem\n."].concat();
    assert!(read(&named).0.iter().any(|event| matches!(event, Event::Import { .. })));
    let zeros = [b"K\x01.".to_vec(), vec![0; 100]].concat();
    assert_eq!(read(&zeros).0.last(), Some(&Event::Skipped { bytes: 3..103 }));
}

#[test]
fn the_memo_counts_like_cpythons() {
    // A hostile index takes no memory and is found again.
    assert_eq!(read(b"K\x07r\xff\xff\xff\xff0j\xff\xff\xff\xff.").1, "7");
    assert_eq!(read(b"K\x07p99999999999999999990\n.").1, "7");
    // Index 3000 is far away at first, and near later: both ways to it are one entry.
    let mut bytes = b"K\x07r\xb8\x0b\0\0".to_vec();
    (0..2999u32).for_each(|_| bytes.extend(b"K\x01\x940"));
    bytes.extend(b"K\x09\x940j\xb8\x0b\0\0\x86.");
    // MEMOIZE counts entries, of which there was one before it began: the last one is number 3000 and replaces 7.
    assert_eq!(read(&bytes).1, "(7, 9)");
}

#[test]
fn limits_stop_or_fold_but_hide_no_call() {
    let many = |limits: Limits, bytes: &[u8]| Machine::new(bytes, limits).last();
    let problem = |event: Option<Event>| match event {
        Some(Event::Problem { problem, .. }) => problem.to_string(),
        other => panic!("{other:?}"),
    };
    let none = Limits::default();
    assert_eq!(problem(many(Limits { opcodes: 5, ..none }, &[b'N'; 9])), "more than 5 opcodes");
    assert_eq!(problem(many(Limits { stack: 5, ..none }, &[b'N'; 9])), "more than 5 stack items");
    assert_eq!(problem(many(Limits { stack: 5, ..none }, &[b'('; 9])), "more than 5 marks");
    assert_eq!(
        problem(many(Limits { memo: 5, ..none }, &[b"N".as_slice(), &[0x94; 9]].concat())),
        "more than 5 memo entries"
    );

    let folding = Limits { kept: 2, ..none };
    let mut machine = Machine::new(b"](K\x01K\x02K\x03ecos\nsystem\n(S'ls'\ntRa}b.", folding);
    let events: Vec<Event> = machine.by_ref().collect();
    let heap = machine.heap();
    let call = events.iter().find_map(|event| match event {
        Event::Call { callee, arguments, result, .. } => Some((*callee, *arguments, *result)),
        _ => None,
    });
    let (callee, arguments, result) = call.unwrap();
    assert_eq!(heap.expression(callee, 99), "os.system");
    assert_eq!(heap.symbol(arguments), Symbol::Folded(Kind::Tuple));
    assert_eq!(heap.symbol(result), Symbol::Folded(Kind::Call));
    assert!(events.iter().any(|event| matches!(event, Event::Write { kind: WriteKind::Build, .. })));
    let Some(Event::Stop { value, .. }) = events.last() else { panic!() };
    assert_eq!(heap.expression(*value, 99), "[ and 4 more]");
    // A folded call is still something else than a list.
    let events: Vec<Event> = Machine::new(b"]0]0cm\nf\n)RK\x01a.", folding).collect();
    assert!(events.iter().any(|event| matches!(event, Event::Write { kind: WriteKind::Append, .. })));
}

#[test]
fn expressions_are_cut() {
    let mut machine = Machine::new(b"]\x94(h\0h\0h\0e.", Limits::default());
    let Some(Event::Stop { value, .. }) = machine.by_ref().last() else { panic!() };
    let text = machine.heap().expression(value, 1000); // the list holds itself three times
    assert!((1000..1200).contains(&text.len()), "{}", text.len());
    let deep = [&[b'N'][..], &[0x85; 100], b"."].concat();
    let mut machine = Machine::new(&deep, Limits::default());
    let Some(Event::Stop { value, .. }) = machine.by_ref().last() else { panic!() };
    assert!(machine.heap().expression(value, 1000).contains("(...,)"));
}

/// Each of these took the square of its length before there was a limit: minutes, not milliseconds.
#[test]
fn what_is_used_again_and_again_is_short() {
    let long = 2_000_000u32;
    let text =
        [b"\x80\x04X".to_vec(), long.to_le_bytes().to_vec(), vec![b'a'; long as usize], b"\x94".to_vec()].concat();
    let (imports, told) = (300_000, |bytes: &[u8]| Machine::new(bytes, Limits::default()).count());
    assert!(told(&[&text[..], &b"h\0h\0\x930".repeat(imports), b"."].concat()) >= 2 * imports);
    // No line feed anywhere: each opcode that wants a line would look through all that is left.
    assert!(told(&b"\x80\x02I".repeat(imports)) >= 2 * imports);
    assert!(told(&b"\x80\x02N.I".repeat(imports)) >= 2 * imports);
    // A long name in lines, called many times.
    let name = [b"c".to_vec(), vec![b'a'; long as usize], b"\nb\nq\0".to_vec()].concat();
    let bytes = [&name[..], &b"h\0)R0".repeat(imports), b"."].concat();
    let mut machine = Machine::new(&bytes, Limits::default());
    let mut calls = 0;
    while let Some(event) = machine.next() {
        if let Event::Call { result, .. } = event {
            assert!(machine.heap().expression(result, 50).len() < 100);
            calls += 1;
        }
    }
    assert_eq!(calls, imports);
    // A long text, shown many times.
    let bytes = [&text[..], &b"0h\0".repeat(imports), b"."].concat();
    let mut machine = Machine::new(&bytes, Limits::default());
    let Some(Event::Stop { value, .. }) = machine.by_ref().last() else { panic!() };
    (0..100_000).for_each(|_| assert!(machine.heap().expression(value, 50).len() < 100));
}

#[test]
fn joblibs_arrays_are_passed_over() {
    let bytes = fs::read(fixture("pickle/arrays.joblib")).unwrap();
    let mut machine = Machine::new(&bytes, Limits::default());
    let mut arrays = 0;
    let mut text = String::new();
    while let Some(event) = machine.next() {
        assert!(!matches!(event, Event::Problem { .. } | Event::Skipped { .. }), "{event:?}");
        if let Some(Inline::Bytes(len)) = inline_array(machine.heap(), &event, &bytes, machine.offset()) {
            assert!(machine.pass_over(len));
            arrays += 1;
        }
        if let Event::Stop { value, .. } = event {
            text = machine.heap().expression(value, usize::MAX);
        }
    }
    assert_eq!(arrays, 2);
    assert!(text.ends_with("'last': 'behind'}"), "{text}");
    assert!(!machine.pass_over(1));

    let bytes = fs::read(fixture("pickle/objects.joblib")).unwrap();
    let mut machine = Machine::new(&bytes, Limits::default());
    let mut inner = String::new();
    while let Some(event) = machine.next() {
        assert!(!matches!(event, Event::Problem { .. } | Event::Skipped { .. }), "{event:?}");
        if inline_array(machine.heap(), &event, &bytes, machine.offset()) == Some(Inline::Pickle) {
            let mut nested = Machine::at(&bytes, machine.offset(), Limits::default());
            let Some(Event::Stop { value, .. }) = nested.find(|event| matches!(event, Event::Stop { .. })) else {
                panic!()
            };
            inner = nested.heap().expression(value, usize::MAX);
            assert!(machine.pass_over(nested.offset() - machine.offset()));
        }
        if let Event::Stop { value, .. } = event {
            assert!(machine.heap().expression(value, usize::MAX).ends_with("'behind']"));
        }
    }
    assert!(inner.contains("[1, 'a', None]"), "{inner}");
}

#[test]
fn long_texts_and_bytes_are_told_where_they_are_asked_for() {
    let limits = Limits { told_bytes: 3, ..Limits::default() };
    let mut machine = Machine::new(b"S'abc'\nU\x02ab\x8c\x03abcC\x04abcdL123456L\nN.", limits);
    let told: Vec<usize> = std::iter::from_fn(|| machine.next())
        .filter_map(|event| if let Event::Content { offset, .. } = event { Some(offset) } else { None })
        .collect();
    assert_eq!(told, [0, 11, 16]);
}
