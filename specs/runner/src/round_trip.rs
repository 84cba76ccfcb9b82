//! What is printed can be played, and is the same again.

use bytes::Bytes;
use bytestring::ByteString;
use proptest::prelude::*;
use tidegate_streams::{Data, DataFlags, Frame, FrameKind, Protocol, Value, Window};

use crate::captures::Captures;
use crate::said::{Said, said};
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

/// A frame with some of its fields at values that they take.
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
                    // Several tries for each, since most values are of another type.
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

fn read(line: &str) -> Said {
    match said(line) {
        Ok(("", said)) => said,
        other => panic!("{line:?} cannot be read: {other:?}"),
    }
}

proptest! {
    #[test]
    fn a_frame_that_is_printed_is_read_as_the_same(frame in frame()) {
        let (mut frame, protocol) = frame;
        let line = format!("side.1 {}", print::frame(&mut frame, protocol));
        let said = read(&line);
        prop_assert_eq!(&said.verb, frame.kind().word());
        let mut captures = Captures::default();
        prop_assert_eq!(compare::frame(&said, &mut frame, protocol, &mut captures), Ok(()));
        // And played, it is the frame that was printed.
        let word = said.words.first().map_or("", String::as_str);
        let mut again = match &frame {
            Frame::Data(data) => Frame::Data(Data { payload: Bytes::new(), ..data.clone() }),
            frame => Frame::blank(frame.kind(), protocol, word).expect("a frame"),
        };
        if let Some(extension) = again.extension() {
            for (name, pattern) in &said.fields {
                let value = pattern.resolve(&captures).expect("a plain value");
                extension.set(name, &value).expect("a field's value");
            }
        }
        if let Frame::Data(data) = &mut again {
            data.payload = match &said.payload {
                Some(payload) => payload.resolve(&captures).expect("a plain payload"),
                None => Bytes::new(),
            };
        }
        prop_assert_eq!(again, frame);
    }

    #[test]
    fn a_window_is_printed_with_all_its_numbers(
        acknowledge in any::<u32>(), maximum in any::<u32>(), padding in any::<u32>()
    ) {
        let window = Window { acknowledge: acknowledge.into(), maximum, padding };
        let line = print::frame(&mut Frame::Window(window), Protocol::Mcp);
        let said = read(&format!("side.1 {line}"));
        prop_assert_eq!(said.fields.len(), if padding > 0 { 3 } else { 2 });
    }

    #[test]
    fn a_part_of_a_message_is_printed_as_one(first in any::<bool>(), last in any::<bool>()) {
        let flags = DataFlags::of(first, last);
        let mut part = Frame::part(flags, Bytes::from_static(b"x"));
        let said = read(&format!("side.1 {}", print::frame(&mut part, Protocol::Mcp)));
        let told = ["init", "mid", "fin"].iter().filter(|word| said.has(word)).count();
        prop_assert_eq!(told, usize::from(!(first && last)));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,80}", lead in "[><+ a-z]{0,3}") {
        let path = std::path::Path::new("any.spec");
        let source = format!("binding b config=c.yaml\n{lead}{text}\n");
        if let Err(error) = crate::Script::parse(path, &source) {
            prop_assert!(error.line >= 1 && error.column >= 1);
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
