use super::*;
use crate::server::tests::part::Bench;

fn text(text: &'static str) -> Parts {
    Parts::from(Bytes::from_static(text.as_bytes()))
}

fn source(sink: Sink) -> Source<'static> {
    Source {
        sink,
        headers: None,
        peer: None,
        session: None,
    }
}

fn begun(batches: &mut Batches, messages: usize) -> usize {
    let messages = vec![text("{}"); messages];
    batches.begin(
        &source(Sink::Http(1)),
        messages,
        "s".into(),
        CallContext::default(),
    )
}

fn step(bench: &mut Bench, batches: &mut Batches, key: usize) -> (usize, Option<Done>) {
    let served = std::iter::from_fn(|| batches.next(key)).count();
    let done = bench.act(|cx| batches.end_step(cx, key));
    (served, done)
}

#[test]
fn responses_are_collected_in_order_of_arrival() {
    let mut bench = Bench::new();
    let mut batches = Batches::default();
    let key = begun(&mut batches, 2);
    (0..2).for_each(|_| batches.expect_answer(key));
    let (served, done) = step(&mut bench, &mut batches, key);
    assert_eq!((served, done.is_none()), (2, true));
    assert!(batches.answer(key, text("\"b\"")).is_none());
    assert_eq!(batches.held(), 3);
    let done = batches.answer(key, text("\"a\"")).expect("it is whole");
    assert_eq!(done.sink, Sink::Http(1));
    assert_eq!(done.answers.expect("answers").contiguous(), "[\"b\",\"a\"]");
    assert_eq!((batches.len(), batches.held()), (0, 0));
}

#[test]
fn a_batch_without_responses_is_not_an_empty_array() {
    let mut bench = Bench::new();
    let mut batches = Batches::default();
    let key = begun(&mut batches, 1);
    batches.expect_answer(key);
    assert!(
        batches.settle(key).is_none(),
        "cancelled while it is served"
    );
    let (_, done) = step(&mut bench, &mut batches, key);
    assert_eq!(done.expect("it is whole").answers.map(|it| it.len()), None);
}

#[test]
fn a_turn_processes_a_bounded_part_of_a_batch() {
    let mut bench = Bench::new();
    let mut batches = Batches::default();
    let key = begun(&mut batches, STEP_MESSAGES + 1);
    let (served, done) = step(&mut bench, &mut batches, key);
    assert_eq!((served, done.is_none()), (STEP_MESSAGES, true));
    let (served, done) = step(&mut bench, &mut batches, key);
    assert_eq!((served, done.is_some()), (1, true));

    let large = Parts::from(Bytes::from(vec![b' '; STEP_BYTES]));
    let messages = vec![large; 2];
    let key = batches.begin(
        &source(Sink::Line(0)),
        messages,
        "s".into(),
        CallContext::default(),
    );
    assert_eq!(step(&mut bench, &mut batches, key).0, 1);
}

#[test]
fn a_stopped_batch_has_no_timer() {
    let mut bench = Bench::new();
    let mut batches = Batches::default();
    let key = begun(&mut batches, STEP_MESSAGES + 1);
    assert!(step(&mut bench, &mut batches, key).1.is_none());
    assert_eq!(batches.of(Sink::Http(1)), [key]);
    batches.detach(key);
    assert!(batches.of(Sink::Http(1)).is_empty());
    let done = bench
        .act(|cx| batches.cut_short(cx, key))
        .expect("it is over");
    assert_eq!(done.sink, Sink::Nowhere);
    bench.rig.assert_idle();
}
