//! Where a request's body ends: what two readers of the same bytes could read differently is refused.

use super::*;

/// A request that would be taken for another one, if what is before it were read differently.
const SMUGGLED: &str = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\nsmuggled";

#[tokio::test]
async fn a_transfer_coding_other_than_chunked_is_refused() {
    let mut house = House::new();
    let codings = "Only the transfer coding 'chunked' is supported.";
    let twice = "The transfer coding 'chunked' is applied more than once.";
    for (fields, status, sentence) in [
        ("Transfer-Encoding: gzip, chunked", 501, codings),
        (
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
            501,
            codings,
        ),
        ("Transfer-Encoding: identity, chunked", 501, codings),
        ("Transfer-Encoding: chunked;q=1, chunked", 501, codings),
        ("Transfer-Encoding: , chunked", 501, codings),
        ("Transfer-Encoding: chunked, chunked", 400, twice),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            400,
            twice,
        ),
        // These hyper refuses by itself.
        ("Transfer-Encoding: gzip", 400, ""),
        ("Transfer-Encoding: chunked, identity", 400, ""),
        ("Transfer-Encoding: chunked;q=1", 400, ""),
        ("Transfer-Encoding:", 400, ""),
        ("Content-Length: 5, 5", 400, ""),
        ("Content-Length: +5", 400, ""),
        ("Content-Length: 5\r\nContent-Length: 6", 400, ""),
    ] {
        let mut client = house.client().await;
        let head = format!("POST /mcp HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n");
        client
            .send(format!("{head}5\r\nhello\r\n0\r\n\r\n{SMUGGLED}"))
            .await;
        let answer = String::from_utf8(client.rest().await).expect("a text");
        let expected = format!("HTTP/1.1 {status}");
        assert!(answer.starts_with(&expected), "{fields}: {answer}");
        assert!(
            answer.ends_with(&format!("\r\n\r\n{sentence}")),
            "{fields}: {answer}"
        );
        assert!(answer.contains("connection: close"), "{fields}: {answer}");
    }
    assert!(
        house.probe().seen().is_empty(),
        "nothing reached the callee"
    );
    house.finish().await;
}

#[tokio::test]
async fn a_length_beside_a_transfer_coding_is_refused() {
    const LENGTH: &str = "content-length: 5\r\n";
    const CODING: &str = "Transfer-Encoding: chunked\r\n";
    let mut house = House::new();
    let sentence = "There are both Transfer-Encoding and Content-Length; send one.";
    let rest = format!("\r\n0\r\n\r\n{SMUGGLED}");
    for [one, other] in [[LENGTH, CODING], [CODING, LENGTH]] {
        let at_once = vec![format!("{one}{other}{rest}")];
        let in_parts = vec![one.to_owned(), format!("{other}{rest}")];
        for parts in [at_once, in_parts] {
            // The head of a later request, behind one that is in order.
            let mut client = house.client().await;
            client.post("before").await;
            let request = house.request().await;
            house.answer(request.stream, "served").await;
            assert_eq!(client.response().await.body, "served");
            client
                .send("POST /mcp HTTP/1.1\r\nHost: localhost\r\n")
                .await;
            for part in parts {
                house.serves().await;
                client.send(part).await;
            }
            let answer = String::from_utf8(client.rest().await).expect("a text");
            assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
            assert!(answer.ends_with(&format!("\r\n\r\n{sentence}")), "{answer}");
        }
    }
    assert!(
        house.probe().seen().is_empty(),
        "nothing reached the callee"
    );
    house.finish().await;
}

#[tokio::test]
async fn a_length_beside_a_transfer_coding_that_is_not_seen_ends_the_connection() {
    let mut house = House::new();
    let mut client = house.client().await;
    let first = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nfirst";
    let second = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\
                  Transfer-Encoding: chunked\r\n\r\n6\r\nsecond\r\n0\r\n\r\n";
    client.send(format!("{first}{second}{SMUGGLED}")).await;
    for body in ["first", "second"] {
        let request = house.request().await;
        assert_eq!(request.body, body);
        house.answer(request.stream, "served").await;
        assert_eq!(client.response().await.body, "served");
    }
    assert!(client.rest().await.is_empty());
    assert!(house.probe().seen().is_empty(), "nothing was smuggled");
    house.finish().await;
}

#[tokio::test]
async fn a_transfer_coding_of_http_1_0_is_refused() {
    let mut house = House::new();
    let mut client = house.client().await;
    let head = "POST /mcp HTTP/1.0\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n";
    client.send(format!("{head}0\r\n\r\n{SMUGGLED}")).await;
    let answer = String::from_utf8(client.rest().await).expect("a text");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(house.probe().seen().is_empty());
    house.finish().await;
}

#[tokio::test]
async fn a_chunked_body_is_taken_in_any_case_of_the_word() {
    let mut house = House::new();
    let mut client = house.client().await;
    for coding in ["chunked", "Chunked", "CHUNKED"] {
        let head = format!("POST /mcp HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: {coding}");
        client
            .send(format!("{head}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"))
            .await;
        let request = house.request().await;
        assert_eq!(request.body, "hello");
        house.answer(request.stream, "taken").await;
        assert_eq!(client.response().await.body, "taken");
    }
    house.finish().await;
}
