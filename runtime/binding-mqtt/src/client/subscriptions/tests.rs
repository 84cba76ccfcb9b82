use super::subscription::{GENERATIONS, UNANSWERED};
use super::*;

fn request(filter: &str, qos: u8, retained: bool) -> FilterRequest {
    FilterRequest {
        filter: TopicFilter::parse(filter).expect("legal"),
        qos,
        retained,
        no_local: false,
        as_published: false,
    }
}

const fn recipient(stream: usize) -> Recipient {
    Recipient { stream, index: 0 }
}

fn streams(recipients: &[Recipient]) -> Vec<usize> {
    recipients
        .iter()
        .map(|recipient| recipient.stream)
        .collect()
}

#[test]
fn a_replay_goes_to_the_new_member_and_other_messages_to_all() {
    let mut table = Subscriptions::default();
    assert_eq!(table.join(recipient(1), &request("a/+", 1, true)), None);
    let first = table.next_order().expect("the first one subscribes");
    assert!(first.replay && first.qos == 1);
    assert_eq!(
        table.answered(first.identifier, ReasonCode(1)).recipients[..],
        [(recipient(1), ReasonCode(1))],
        "granted"
    );

    assert_eq!(table.join(recipient(2), &request("a/+", 0, true)), None);
    let second = table.next_order().expect("the newcomer wants the replay");
    assert_eq!(second.qos, 1, "never lowered");
    assert_ne!(second.identifier, first.identifier);

    let by = |id: u32, retain| streams(&table.route(&[id], "a/b", retain));
    assert_eq!(by(first.identifier, true), [1]);
    assert_eq!(by(second.identifier, true), [2]);
    assert_eq!(
        by(first.identifier, false),
        [1],
        "the newcomer is not confirmed"
    );
    assert_eq!(by(second.identifier, false), [1, 2]);

    assert_eq!(
        table.answered(second.identifier, ReasonCode(1)).recipients[..],
        [(recipient(2), ReasonCode(0))]
    );
    let by = |id: u32, retain| streams(&table.route(&[id], "a/b", retain));
    assert_eq!(by(first.identifier, false), [1, 2]);
    assert_eq!(by(second.identifier, true), [2]);
}

#[test]
fn no_subscribe_is_sent_if_the_grant_suffices() {
    let mut table = Subscriptions::default();
    table.join(recipient(1), &request("a", 1, false));
    let order = table.next_order().expect("due");
    assert!(!order.replay);
    assert_eq!(
        table.join(recipient(2), &request("a", 1, false)),
        None,
        "not granted yet"
    );
    assert_eq!(table.next_order(), None);
    let answers = table.answered(order.identifier, ReasonCode(1)).recipients;
    assert_eq!(
        answers[..],
        [(recipient(1), ReasonCode(1)), (recipient(2), ReasonCode(1))]
    );
    assert_eq!(
        table.join(recipient(3), &request("a", 0, false)),
        Some(ReasonCode(0))
    );
    assert_eq!(table.join(recipient(4), &request("a", 2, false)), None);
    let raised = table.next_order().expect("a higher QoS must be asked for");
    assert!(
        raised.qos == 2 && !raised.replay,
        "without a replay to the others"
    );
}

#[test]
fn streams_that_join_together_share_one_subscribe() {
    let mut table = Subscriptions::default();
    table.join(recipient(1), &request("a", 0, true));
    table.join(recipient(2), &request("a", 1, true));
    let order = table.next_order().expect("due");
    assert_eq!((order.qos, table.next_order()), (1, None));
    assert_eq!(
        streams(&table.route(&[order.identifier], "a", true)),
        [1, 2]
    );
}

#[test]
fn removing_the_last_member_unsubscribes() {
    let mut table = Subscriptions::default();
    let filter = request("a", 0, true);
    table.join(recipient(1), &filter);
    table.join(recipient(2), &filter);
    let order = table.next_order().expect("due");
    assert!(
        table
            .remove_stream(1, [(0, &filter)].into_iter())
            .is_empty()
    );
    assert_eq!(
        table.remove_stream(2, [(0, &filter)].into_iter())[..],
        ["a"]
    );
    assert!(table.is_empty());
    assert_eq!(
        table.answered(order.identifier, ReasonCode(0)),
        Answer::default(),
        "too late"
    );
    assert!(table.route(&[order.identifier], "a", false).is_empty());

    table.join(recipient(3), &filter);
    assert!(
        table
            .remove_stream(3, [(0, &filter)].into_iter())
            .is_empty(),
        "no SUBSCRIBE was sent"
    );
    assert_eq!(table.next_order(), None);
}

#[test]
fn a_refusal_reaches_only_the_waiting_members() {
    let mut table = Subscriptions::default();
    table.join(recipient(1), &request("a", 0, true));
    let first = table.next_order().expect("due");
    table.answered(first.identifier, ReasonCode(0));
    table.join(recipient(2), &request("a", 2, true));
    let second = table.next_order().expect("due");
    let answer = table.answered(second.identifier, ReasonCode(0x87));
    assert_eq!(answer.recipients[..], [(recipient(2), ReasonCode(0x87))]);
    assert_eq!(answer.unsubscribe, None);
    assert_eq!(streams(&table.route(&[first.identifier], "a", false)), [1]);
    table.remove_stream(1, [(0, &request("a", 0, true))].into_iter());
    assert!(table.is_empty());
}

#[test]
fn a_message_without_an_identifier_is_routed_by_its_topic() {
    let mut table = Subscriptions::default();
    table.join(recipient(1), &request("a/+", 0, true));
    table.join(recipient(2), &request("b", 0, false));
    while table.next_order().is_some() {}
    assert_eq!(streams(&table.route(&[], "a/b", true)), [1]);
    assert_eq!(streams(&table.route(&[], "b", false)), [2]);
    assert!(table.route(&[], "b", true).is_empty());
    assert!(
        table.route(&[1], "b", false).is_empty(),
        "an identifier of another filter"
    );
}

#[test]
fn filters_that_can_share_a_connection() {
    let mut table = Subscriptions::default();
    table.join(recipient(1), &request("a/+", 0, true));
    table.join(recipient(2), &request("$share/g/s/#", 0, true));
    let no_local = FilterRequest {
        no_local: true,
        ..request("n", 0, true)
    };
    table.join(recipient(3), &no_local);
    let as_published = |filter| FilterRequest {
        as_published: true,
        ..request(filter, 0, true)
    };
    for (wanted, with, without) in [
        (request("b", 0, true), Fit::Here, Fit::Here),
        (request("a/+", 0, true), Fit::Here, Fit::Elsewhere),
        (request("a/b", 0, true), Fit::Here, Fit::Elsewhere),
        (
            request("$share/g/a/b", 0, true),
            Fit::Elsewhere,
            Fit::Elsewhere,
        ),
        (
            request("$share/g/s/#", 0, true),
            Fit::Elsewhere,
            Fit::Elsewhere,
        ),
        (request("s/x", 0, true), Fit::Elsewhere, Fit::Elsewhere),
        (as_published("a/+"), Fit::Elsewhere, Fit::Elsewhere),
        (as_published("c"), Fit::Here, Fit::Here),
        (request("n", 0, true), Fit::Elsewhere, Fit::Elsewhere),
        (no_local.clone(), Fit::Here, Fit::Elsewhere),
        (
            FilterRequest {
                no_local: true,
                ..request("a/+", 0, true)
            },
            Fit::Never,
            Fit::Never,
        ),
    ] {
        assert_eq!(table.fits(&wanted, true), with, "{wanted:?}");
        assert_eq!(table.fits(&wanted, false), without, "{wanted:?}");
    }
}

#[test]
fn old_generations_are_removed() {
    let mut table = Subscriptions::default();
    let filter = request("a", 0, true);
    table.join(recipient(0), &filter);
    let first = table.next_order().expect("due").identifier;
    for stream in 1..200 {
        table.join(recipient(stream), &filter);
        let order = table.next_order().expect("due");
        table.answered(order.identifier, ReasonCode(0));
        table.remove_stream(stream, [(0, &filter)].into_iter());
    }
    assert!(table.by_identifier.len() <= GENERATIONS + 1);
    assert!(
        table.by_identifier.contains_key(&first),
        "its stream is still there"
    );
}

#[test]
fn new_members_wait_while_the_limit_of_unanswered_subscribes_is_reached() {
    let mut table = Subscriptions::default();
    let filter = request("a", 1, true);
    let mut orders = Vec::new();
    for stream in 0..UNANSWERED {
        table.join(recipient(stream), &filter);
        orders.push(table.next_order().expect("nobody to wait for").identifier);
    }
    for stream in 10..14 {
        assert_eq!(table.join(recipient(stream), &filter), None);
        assert_eq!(table.next_order(), None, "enough is asked");
    }
    table.remove_stream(12, [(0, &filter)].into_iter());
    table.join(recipient(20), &request("b", 0, true));
    let other = table.next_order().expect("another filter waits for nobody");
    assert_eq!(other.filter, "b");

    table.answered(orders[0], ReasonCode(1));
    let shared = table.next_order().expect("there is room again");
    assert_eq!((shared.filter.as_ref(), table.next_order()), ("a", None));
    let replayed = table.route(&[shared.identifier], "a", true);
    assert_eq!(streams(&replayed), [10, 11, 13]);
    let answers = table.answered(shared.identifier, ReasonCode(1)).recipients;
    assert_eq!(answers.len(), 3);
}

#[test]
fn waiting_members_are_not_affected_by_a_refusal_or_removal_of_earlier_ones() {
    let mut table = Subscriptions::default();
    let filter = request("a", 1, true);
    let mut orders = Vec::new();
    for stream in 0..UNANSWERED {
        table.join(recipient(stream), &filter);
        orders.push(table.next_order().expect("due").identifier);
    }
    table.join(recipient(10), &filter);
    for stream in 0..UNANSWERED {
        assert!(
            table
                .remove_stream(stream, [(0, &filter)].into_iter())
                .is_empty()
        );
    }
    let answer = table.answered(orders[0], ReasonCode(0x87));
    assert_eq!(answer, Answer::default(), "nobody waited for it any more");
    let order = table.next_order().expect("the newcomer is asked for");
    let answer = table.answered(order.identifier, ReasonCode(0x87));
    assert_eq!(answer.recipients[..], [(recipient(10), ReasonCode(0x87))]);
    assert!(table.is_empty());
}

#[test]
fn a_subscribe_without_members_is_not_sent() {
    let mut table = Subscriptions::default();
    table.join(recipient(1), &request("a", 0, true));
    let first = table.next_order().expect("due");
    table.answered(first.identifier, ReasonCode(0));
    let newcomer = request("a", 0, true);
    table.join(recipient(2), &newcomer);
    table.remove_stream(2, [(0, &newcomer)].into_iter());
    assert_eq!(table.next_order(), None);
}

#[test]
fn a_new_member_does_not_wait_for_an_answered_subscribe() {
    let mut table = Subscriptions::default();
    table.join(recipient(1), &request("a", 0, false));
    let first = table.next_order().expect("due");
    table.join(recipient(2), &request("a", 1, true));
    let second = table.next_order().expect("due");
    table.answered(second.identifier, ReasonCode(0x97));
    assert_eq!(table.join(recipient(3), &request("a", 0, false)), None);
    let third = table
        .next_order()
        .expect("requested, or answered with the first");
    table.answered(first.identifier, ReasonCode(0));
    let answers = table.answered(third.identifier, ReasonCode(0)).recipients;
    assert_eq!(answers[..], [(recipient(3), ReasonCode(0))]);
}

#[test]
fn a_member_is_not_granted_less_than_a_pending_subscribe_requests() {
    let mut table = Subscriptions::default();
    let mut orders = Vec::new();
    for stream in 0..UNANSWERED {
        table.join(recipient(stream), &request("a", 0, true));
        orders.push(table.next_order().expect("due").identifier);
    }
    table.join(recipient(10), &request("a", 1, true));
    assert_eq!(table.join(recipient(11), &request("a", 1, false)), None);
    for order in orders {
        assert_eq!(table.answered(order, ReasonCode(0)).recipients.len(), 1);
    }
    assert_eq!(table.join(recipient(12), &request("a", 1, false)), None);
    let raised = table.next_order().expect("due");
    assert_eq!(raised.qos, 1);
    assert_eq!(
        table.join(recipient(13), &request("a", 1, false)),
        None,
        "waits too"
    );
    assert_eq!(
        table.join(recipient(14), &request("a", 0, false)),
        Some(ReasonCode(0)),
        "needs no more than was granted"
    );
    let answers = table.answered(raised.identifier, ReasonCode(1)).recipients;
    assert_eq!(
        answers[..],
        [10, 11, 12, 13].map(|stream| (recipient(stream), ReasonCode(1)))
    );
}

#[test]
fn a_subscription_that_may_still_be_granted_is_unsubscribed() {
    let mut table = Subscriptions::default();
    let filter = request("a", 0, true);
    table.join(recipient(1), &filter);
    let first = table.next_order().expect("due");
    table.join(recipient(2), &filter);
    table.next_order().expect("due");
    assert!(
        table
            .remove_stream(2, [(0, &filter)].into_iter())
            .is_empty()
    );
    let answer = table.answered(first.identifier, ReasonCode(0x87));
    assert_eq!(answer.unsubscribe.as_deref(), Some("a"));
    assert!(table.is_empty());
}

#[test]
fn unused_generations_are_removed_at_once() {
    let mut table = Subscriptions::default();
    let filter = request("a", 0, true);
    let join = |table: &mut Subscriptions, stream| {
        table.join(recipient(stream), &filter);
        let identifier = table.next_order().expect("due").identifier;
        table.answered(identifier, ReasonCode(0));
        identifier
    };
    let identifiers: Vec<u32> = (0..1_000).map(|stream| join(&mut table, stream)).collect();
    assert_eq!(table.by_identifier.len(), 1_000, "each is somebody's");
    for (stream, identifier) in identifiers.iter().enumerate() {
        assert_eq!(streams(&table.route(&[*identifier], "a", true)), [stream]);
    }
    for stream in 1..1_000 {
        table.remove_stream(stream, [(0, &filter)].into_iter());
    }
    let newest = join(&mut table, 1_000);
    assert!(table.by_identifier.len() <= GENERATIONS + 1);
    assert_eq!(streams(&table.route(&[newest], "a", true)), [1_000]);
    assert_eq!(streams(&table.route(&identifiers[..1], "a", true)), [0]);
    table.remove_stream(0, [(0, &filter)].into_iter());
    assert_eq!(
        table.remove_stream(1_000, [(0, &filter)].into_iter())[..],
        ["a"]
    );
    assert!(table.is_empty());
}
