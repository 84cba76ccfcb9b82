//! Property tests: a printed frame parses to the same frame.

use bytes::Bytes;
use bytestring::ByteString;
use proptest::prelude::*;
use tidegate_streams::{Data, DataFlags, Frame, FrameKind, Protocol, Value, Window};

use crate::captures::Captures;
use crate::statement::{Statement, statement};
use crate::{compare, print};

fn value() -> impl Strategy<Value = Value> {
    let text = any::<String>().prop_map(|text| Value::Text(ByteString::from(text)));
    let word = prop_oneof![
        Just("true"),
        Just("false"),
        Just("null"),
        Just("OK"),
        Just("ERROR"),
        Just("RETAIN"),
        Just("SERVER_TOOLS|CLIENT_ROOTS"),
        Just("public"),
        Just("TEXT"),
        Just("possible"),
        Just("unavailable"),
    ];
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::Integer),
        (0_i64..300).prop_map(Value::Integer),
        text,
        word.prop_map(|word| Value::Word(word.to_owned())),
        any::<Vec<u8>>().prop_map(|bytes| Value::Hex(Bytes::from(bytes))),
    ];
    let filter = (any::<String>(), 0_i64..3).prop_map(|(pattern, qos)| {
        let pattern = Value::Text(ByteString::from(pattern));
        let fields = [("pattern", pattern), ("qos", Value::Integer(qos))];
        Value::Record(fields.map(|(name, value)| (name.to_owned(), value)).into())
    });
    let header = (any::<String>(), any::<String>()).prop_map(|(name, value)| {
        let text = |text: String| Value::Text(ByteString::from(text));
        let fields = [("name", text(name)), ("value", text(value))];
        Value::Record(fields.map(|(name, value)| (name.to_owned(), value)).into())
    });
    let list = prop_oneof![leaf.clone(), filter, header];
    prop_oneof![
        4 => leaf,
        1 => prop::collection::vec(list, 0..3).prop_map(Value::List),
    ]
}

/// A frame with random values in some of its fields.
fn frame() -> impl Strategy<Value = (Frame, Protocol)> {
    let values = prop::collection::vec(value(), 40);
    let which = prop::sample::select(FrameKind::extensions().collect::<Vec<_>>());
    let payload = any::<Vec<u8>>();
    (which, values, payload).prop_filter_map(
        "a frame",
        |((kind, protocol, word), values, payload)| {
            let mut frame = Frame::blank(kind, protocol, word)?;
            let mut values = values.into_iter();
            if let Some(extension) = frame.extension() {
                for field in extension.known() {
                    // Several attempts for each field, since most values have another type.
                    for value in values.by_ref().take(4) {
                        let _ = extension.set(field.name, &value);
                    }
                }
            }
            if let Frame::Data(data) = &mut frame {
                data.payload = Bytes::from(payload);
            }
            Some((frame, protocol))
        },
    )
}

fn read(line: &str) -> Statement {
    match statement(line) {
        Ok(("", statement)) => statement,
        other => panic!("{line:?} cannot be read: {other:?}"),
    }
}

proptest! {
    #[test]
    fn a_printed_frame_parses_to_the_same_frame(frame in frame()) {
        let (mut frame, protocol) = frame;
        let line = format!("side.1 {}", print::frame(&mut frame, protocol));
        let statement = read(&line);
        prop_assert_eq!(&statement.verb, frame.kind().word());
        let mut captures = Captures::default();
        prop_assert_eq!(compare::frame(&statement, &mut frame, protocol, &mut captures), Ok(()));
        // Sending it gives the printed frame.
        let word = statement.words.first().map_or("", String::as_str);
        let mut again = match &frame {
            Frame::Data(data) => Frame::Data(Data { payload: Bytes::new(), ..data.clone() }),
            frame => Frame::blank(frame.kind(), protocol, word).expect("a frame"),
        };
        if let Some(extension) = again.extension() {
            for (name, pattern) in &statement.fields {
                let value = pattern.resolve(&captures).expect("a plain value");
                extension.set(name, &value).expect("a field's value");
            }
        }
        if let Frame::Data(data) = &mut again {
            data.payload = match &statement.payload {
                Some(payload) => payload.resolve(&captures).expect("a plain payload"),
                None => Bytes::new(),
            };
        }
        prop_assert_eq!(again, frame);
    }

    #[test]
    fn a_window_is_printed_with_all_its_fields(
        acknowledge in any::<u32>(), maximum in any::<u32>(), padding in any::<u32>()
    ) {
        let window = Window { acknowledge: acknowledge.into(), maximum, padding };
        let line = print::frame(&mut Frame::Window(window), Protocol::Mcp);
        let statement = read(&format!("side.1 {line}"));
        prop_assert_eq!(statement.fields.len(), if padding > 0 { 3 } else { 2 });
    }

    #[test]
    fn a_part_of_a_message_is_printed_with_its_word(first in any::<bool>(), last in any::<bool>()) {
        let flags = DataFlags::of(first, last);
        let mut part = Frame::part(flags, Bytes::from_static(b"x"));
        let statement = read(&format!("side.1 {}", print::frame(&mut part, Protocol::Mcp)));
        let count = ["init", "mid", "fin"].iter().filter(|word| statement.has(word)).count();
        prop_assert_eq!(count, usize::from(!(first && last)));
    }

    #[test]
    fn parsing_never_panics(text in "\\PC{0,80}", lead in "[><+ a-z]{0,3}") {
        let path = std::path::Path::new("any.spec");
        let source = format!("binding b config=c.yaml\n{lead}{text}\n");
        if let Err(error) = crate::Script::parse(path, &source) {
            prop_assert!(error.line >= 1 && error.column >= 1);
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
