use bytes::Bytes;

use super::*;
use crate::server::tests::part::Bench;

const KEY: usize = 0;

fn accepted(options: &Options) -> (Bench, Lines, StreamId) {
    let (mut bench, mut lines) = (Bench::new(), Lines::new(options));
    let (stream, _) = bench.opened(LineBegin {});
    bench.act(|cx| lines.accept(cx, stream));
    (bench, lines, stream)
}

fn handle(
    bench: &mut Bench,
    lines: &mut Lines,
    stream: StreamId,
    frame: Frame,
) -> Option<LineEvent> {
    bench.rig.send(bench.client, stream, frame);
    let (_, _, frame) = bench.next();
    bench.act(|cx| lines.on_frame(cx, KEY, frame))
}

fn message(text: &'static str) -> Frame {
    Frame::data(Bytes::from_static(text.as_bytes()))
}

#[test]
fn a_line_ends_after_its_input_and_its_last_response() {
    let (mut bench, mut lines, stream) = accepted(&Options::default());
    lines.begin_session(KEY, 3, false);
    let event = handle(&mut bench, &mut lines, stream, message("{}"));
    assert!(matches!(event, Some(LineEvent::Message(_))), "{event:?}");
    lines.expect_answer(KEY);
    let event = handle(&mut bench, &mut lines, stream, Frame::end());
    let Some(LineEvent::InputEnded(kept)) = event else {
        panic!("{event:?}")
    };
    assert_eq!((kept.session, kept.listens), (Some(3), vec![]));
    assert!(bench.act(|cx| lines.end_if_done(cx, KEY)).is_none());
    let answer = Parts::from(Bytes::from_static(b"{\n}"));
    let ended = bench.act(|cx| {
        lines.write(cx, KEY, answer);
        lines.settle(cx, KEY)
    });
    assert_eq!(ended.expect("that was the last").session, Some(3));
    assert_eq!(bench.at_client(stream), ("{ }".to_owned(), true));
    assert_eq!(lines.len(), 0);
    bench.rig.assert_idle();
}

#[test]
fn a_batch_is_read_only_in_a_session_with_batches() {
    let (mut bench, mut lines, stream) = accepted(&Options::default());
    let event = handle(&mut bench, &mut lines, stream, message("[1]"));
    assert!(matches!(event, Some(LineEvent::BatchRefused)), "{event:?}");
    lines.begin_session(KEY, 3, true);
    let event = handle(&mut bench, &mut lines, stream, message("[1]"));
    assert!(matches!(event, Some(LineEvent::Message(_))), "{event:?}");
    assert_eq!(lines.end_session(KEY), Vec::<usize>::new());
    let event = handle(&mut bench, &mut lines, stream, message("[1]"));
    assert!(matches!(event, Some(LineEvent::BatchRefused)), "{event:?}");
}

#[test]
fn a_message_over_the_limit_is_refused_and_the_next_one_is_read() {
    let options = Options {
        max_message_size: 4,
        ..Options::default()
    };
    let (mut bench, mut lines, stream) = accepted(&options);
    let event = handle(&mut bench, &mut lines, stream, message("{    }"));
    assert!(matches!(event, Some(LineEvent::Refused(_))), "{event:?}");
    let event = handle(&mut bench, &mut lines, stream, message("{  }"));
    assert!(matches!(event, Some(LineEvent::Message(_))), "{event:?}");
}

#[test]
fn an_aborted_line_returns_its_running_requests() {
    let (mut bench, mut lines, stream) = accepted(&Options::default());
    lines.begin_session(KEY, 3, false);
    lines.register(KEY, Id::number(1), LineWork::Request(7));
    lines.register(KEY, Id::number(2), LineWork::Listen(8));
    lines.register(KEY, Id::number(3), LineWork::Request(9));
    lines.unregister(KEY, &Id::number(3));
    assert!(
        lines.check_room(KEY, &Id::number(1)).is_err(),
        "it is taken"
    );
    assert_eq!(lines.work(KEY, &Id::number(2)), Some(LineWork::Listen(8)));
    let client = bench.client;
    bench
        .rig
        .turn(client, |cx| cx.terminate(stream, None, None));
    let frame = bench.rig.outputs(bench.own).remove(0).frame;
    let event = bench.act(|cx| lines.on_frame(cx, KEY, frame));
    let Some(LineEvent::Disconnected(gone)) = event else {
        panic!("{event:?}")
    };
    assert_eq!(gone.session, Some(3));
    let running = [LineWork::Request(7), LineWork::Listen(8)];
    assert_eq!(gone.running, running);
    assert_eq!(lines.len(), 0);
}
