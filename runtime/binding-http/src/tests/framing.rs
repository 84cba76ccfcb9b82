//! Message framing: requests that two readers could interpret differently are refused.

use super::*;

/// A request hidden in a body, in case the framing is misinterpreted.
const SMUGGLED: &str = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\nsmuggled";

#[tokio::test]
async fn a_transfer_coding_other_than_chunked_is_refused() {
    let mut harness = Harness::new();
    let codings = "Unsupported transfer coding; only 'chunked' is supported.";
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
        // hyper refuses these itself.
        ("Transfer-Encoding: gzip", 400, ""),
        ("Transfer-Encoding: chunked, identity", 400, ""),
        ("Transfer-Encoding: chunked;q=1", 400, ""),
        ("Transfer-Encoding:", 400, ""),
        ("Content-Length: 5, 5", 400, ""),
        ("Content-Length: +5", 400, ""),
        ("Content-Length: 5\r\nContent-Length: 6", 400, ""),
    ] {
        let mut client = harness.client().await;
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
        harness.probe().seen().is_empty(),
        "no request reached the callee"
    );
    harness.finish().await;
}

#[tokio::test]
async fn a_length_with_a_transfer_coding_is_refused() {
    const LENGTH: &str = "content-length: 5\r\n";
    const CODING: &str = "Transfer-Encoding: chunked\r\n";
    let mut harness = Harness::new();
    let sentence = "Both Transfer-Encoding and Content-Length are present; send one of them.";
    let rest = format!("\r\n0\r\n\r\n{SMUGGLED}");
    for [one, other] in [[LENGTH, CODING], [CODING, LENGTH]] {
        let at_once = vec![format!("{one}{other}{rest}")];
        let in_parts = vec![one.to_owned(), format!("{other}{rest}")];
        for parts in [at_once, in_parts] {
            // The head of a later request, after a valid one.
            let mut client = harness.client().await;
            client.post("before").await;
            let request = harness.request().await;
            harness.answer(request.stream, "served").await;
            assert_eq!(client.response().await.body, "served");
            client
                .send("POST /mcp HTTP/1.1\r\nHost: localhost\r\n")
                .await;
            for part in parts {
                harness.serves().await;
                client.send(part).await;
            }
            let answer = String::from_utf8(client.rest().await).expect("a text");
            assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
            assert!(answer.ends_with(&format!("\r\n\r\n{sentence}")), "{answer}");
        }
    }
    assert!(
        harness.probe().seen().is_empty(),
        "no request reached the callee"
    );
    harness.finish().await;
}

#[tokio::test]
async fn an_undetected_length_with_a_transfer_coding_closes_the_connection() {
    let mut harness = Harness::new();
    let mut client = harness.client().await;
    let first = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nfirst";
    let second = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\
                  Transfer-Encoding: chunked\r\n\r\n6\r\nsecond\r\n0\r\n\r\n";
    client.send(format!("{first}{second}{SMUGGLED}")).await;
    for body in ["first", "second"] {
        let request = harness.request().await;
        assert_eq!(request.body, body);
        harness.answer(request.stream, "served").await;
        assert_eq!(client.response().await.body, "served");
    }
    assert!(client.rest().await.is_empty());
    assert!(harness.probe().seen().is_empty(), "nothing was smuggled");
    harness.finish().await;
}

#[tokio::test]
async fn a_transfer_coding_of_http_1_0_is_refused() {
    let mut harness = Harness::new();
    let mut client = harness.client().await;
    let head = "POST /mcp HTTP/1.0\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n";
    client.send(format!("{head}0\r\n\r\n{SMUGGLED}")).await;
    let answer = String::from_utf8(client.rest().await).expect("a text");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(harness.probe().seen().is_empty());
    harness.finish().await;
}

#[tokio::test]
async fn a_chunked_body_is_taken_in_any_case_of_the_word() {
    let mut harness = Harness::new();
    let mut client = harness.client().await;
    for coding in ["chunked", "Chunked", "CHUNKED"] {
        let head = format!("POST /mcp HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: {coding}");
        client
            .send(format!("{head}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"))
            .await;
        let request = harness.request().await;
        assert_eq!(request.body, "hello");
        harness.answer(request.stream, "taken").await;
        assert_eq!(client.response().await.body, "taken");
    }
    harness.finish().await;
}
