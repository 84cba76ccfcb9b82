//! Valid and invalid requests.

use super::*;

#[tokio::test]
async fn requests_follow_each_other_on_a_connection() {
    let mut harness = Harness::new();
    let mut client = harness.client().await;
    for body in ["first", "second", ""] {
        client.post(body).await;
        let request = harness.request().await;
        assert_eq!(request.body, body);
        assert_eq!(request.head.path, "/mcp");
        assert_eq!(request.head.method, "POST");
        assert_eq!(request.head.headers["host"], "localhost");
        assert_eq!(usize::try_from(request.head.content_length), Ok(body.len()));
        harness.answer(request.stream, "an answer").await;
        let response = client.response().await;
        assert_eq!(
            (response.status, response.body.as_str()),
            (200, "an answer")
        );
        assert!(!response.head.contains("transfer-encoding"));
    }
    harness.finish().await;
}

#[tokio::test]
async fn two_workers_share_one_port() {
    let mut harness = Harness::with(options(), Limits::default(), 2, CALLEE_WINDOW);
    let mut clients = Vec::new();
    let mut served = [0, 0];
    // The kernel distributes connections by a hash: it is practically impossible that one worker
    // gets all 64.
    for _ in 0..64 {
        let mut client = harness.client().await;
        client.post("hello").await;
        let [first, second] = harness.probes.as_mut_slice() else {
            panic!("two workers have two probes");
        };
        let (worker, at) = tokio::select! {
            (at, _) = first.next_but_window() => (0, at),
            (at, _) = second.next_but_window() => (1, at),
        };
        served[worker] += 1;
        answer(&harness.probes[worker], at.stream, "hello").await;
        assert_eq!(client.response().await.body, "hello");
        while harness.probes[worker].next_but_window().await.1 != Frame::end() {}
        clients.push(client);
    }
    assert!(served[0] > 0 && served[1] > 0, "{served:?}");
    harness.finish().await;
}

#[tokio::test]
async fn only_the_configured_path_is_served() {
    let mut harness = Harness::new();
    let mut client = harness.client().await;
    for path in ["/", "/mcp/", "/mcpx", "/MCP", "/mcp/../mcp", "*"] {
        client.ask("GET", path).await;
        let response = client.response().await;
        assert_eq!(response.status, 404, "{path}");
        assert_eq!(response.body, "Unknown path.");
    }
    client.ask("GET", "/mcp?a=b").await;
    let request = harness.request().await;
    assert_eq!(request.head.path, "/mcp?a=b");
    harness.answer(request.stream, "found").await;
    assert_eq!(client.response().await.body, "found");
    harness.finish().await;
}

#[tokio::test]
async fn every_method_reaches_the_callee() {
    let mut harness = Harness::new();
    let mut client = harness.client().await;
    for method in ["GET", "DELETE", "OPTIONS", "HEAD", "PUT", "BREW"] {
        client.ask(method, "/mcp").await;
        let request = harness.request().await;
        assert_eq!(request.head.method, method);
        let stream = request.stream;
        harness
            .probe()
            .turn(move |cx| {
                let head = head_of(StatusCode::METHOD_NOT_ALLOWED, 0);
                cx.send(stream, Frame::begin(head));
                cx.end(stream, Frame::end());
            })
            .await;
        let response = client.response().await;
        assert_eq!((response.status, response.body.len()), (405, 0), "{method}");
    }
    harness.finish().await;
}

#[tokio::test]
async fn a_head_request_gets_no_body_and_its_stream_ends() {
    let mut harness = Harness::new();
    let mut client = harness.client().await;
    client.ask("HEAD", "/mcp").await;
    let request = harness.request().await;
    harness.answer(request.stream, "not to be sent").await;
    assert_eq!(client.head().await.status, 200);
    client.post("next").await;
    let request = harness.request().await;
    harness.answer(request.stream, "sent").await;
    assert_eq!(client.response().await.body, "sent");
    harness.finish().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let mut harness = Harness::new();
    let mut client = harness.client().await;
    let one = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n";
    client.send(format!("{one}one{one}two{one}six")).await;
    for body in ["one", "two", "six"] {
        let request = harness.request().await;
        assert_eq!(request.body, body);
        harness.answer(request.stream, body).await;
    }
    for body in ["one", "two", "six"] {
        assert_eq!(client.response().await.body, body);
    }
    harness.finish().await;
}

#[tokio::test]
async fn invalid_http_gets_400_or_a_close_and_other_clients_are_served() {
    let mut harness = Harness::new();
    let too_long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70_000));
    let wrong: [&[u8]; 9] = [
        b"\0\0\0\0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET /mcp HTTP/9.9\r\n\r\n",
        b"GET /mcp HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        too_long.as_bytes(),
    ];
    for bytes in wrong {
        let mut client = harness.client().await;
        client.send(bytes).await;
        let answer = client.rest().await;
        let answer = String::from_utf8_lossy(&answer);
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(refused, "{answer}");
        harness.serves().await;
    }
    assert!(harness.probe().seen().is_empty(), "no stream was opened");
    harness.finish().await;
}

#[tokio::test]
async fn expect_continue_is_answered_with_100_continue() {
    let mut harness = Harness::new();
    let mut client = harness.client().await;
    client
        .send(
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\
             Content-Length: 4\r\n\r\n",
        )
        .await;
    assert_eq!(client.head().await.status, 100);
    client.send("body").await;
    let request = harness.request().await;
    assert_eq!(request.body, "body");
    harness.answer(request.stream, "taken").await;
    assert_eq!(client.response().await.body, "taken");
    harness.finish().await;
}

#[tokio::test]
async fn an_http_1_0_client_is_served_once() {
    let mut harness = Harness::new();
    let mut client = harness.client().await;
    client.send("GET /mcp HTTP/1.0\r\n\r\n").await;
    let request = harness.request().await;
    harness.answer(request.stream, "bye").await;
    let answer = String::from_utf8(client.rest().await).expect("a text");
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nbye"), "{answer}");
    harness.finish().await;
}

#[tokio::test]
async fn a_stream_that_ends_without_a_response_is_answered_500() {
    let mut harness = Harness::new();
    let mut client = harness.client().await;
    let ends: [fn(&mut tidegate_engine::Context<'_>, StreamId); 3] = [
        |cx, stream| cx.terminate(stream, None, None),
        |cx, stream| {
            cx.send(stream, Frame::reset());
            cx.abort(stream, None);
        },
        |cx, stream| cx.abort(stream, None),
    ];
    for end in ends {
        client.post("hello").await;
        let stream = harness.request().await.stream;
        harness.probe().turn(move |cx| end(cx, stream)).await;
        let response = client.response().await;
        assert_eq!(response.status, 500);
        assert_eq!(
            response.body,
            "Internal error; the request was not answered."
        );
    }
    harness.finish().await;
}

#[tokio::test]
async fn the_stream_limit_is_answered_503() {
    let limits = Limits {
        streams: 1,
        ..Limits::default()
    };
    let mut harness = Harness::with(options(), limits, 1, CALLEE_WINDOW);
    let mut first = harness.client().await;
    first.post("first").await;
    let request = harness.request().await;
    let mut second = harness.client().await;
    second.post("second").await;
    assert_eq!(second.response().await.status, 503);
    harness.answer(request.stream, "done").await;
    assert_eq!(first.response().await.body, "done");
    second.post("again").await;
    let request = harness.request().await;
    harness.answer(request.stream, "done").await;
    assert_eq!(second.response().await.body, "done");
    harness.finish().await;
}

#[tokio::test]
async fn tiny_chunks_of_a_body_are_merged() {
    let mut harness = Harness::new();
    let mut client = harness.client().await;
    let mut text =
        String::from("POST /mcp HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    let body: String = (b'a'..=b'z').cycle().take(50_000).map(char::from).collect();
    for byte in body.chars() {
        text.push_str("1\r\n");
        text.push(byte);
        text.push_str("\r\n");
    }
    text.push_str("0\r\n\r\n");
    client.send(text).await;
    let request = harness.request().await;
    assert_eq!(request.body, body);
    assert!(request.parts < 200, "{} parts", request.parts);
    harness.answer(request.stream, "taken").await;
    assert_eq!(client.response().await.body, "taken");
    harness.finish().await;
}

#[tokio::test]
async fn a_body_is_sent_as_credit_allows() {
    let mut harness = Harness::with(options(), Limits::default(), 1, 1_000);
    let mut client = harness.client().await;
    let body: String = (b'a'..=b'z')
        .cycle()
        .take(100_000)
        .map(char::from)
        .collect();
    client.post(&body).await;
    let request = harness.request().await;
    assert_eq!(request.body, body);
    assert!(request.parts >= 100, "{} parts", request.parts);
    harness.answer(request.stream, "taken").await;
    assert_eq!(client.response().await.body, "taken");
    harness.finish().await;
}

#[tokio::test]
async fn a_client_does_not_choose_the_worker_that_answers() {
    let mut harness = Harness::new();
    let mut client = harness.client().await;
    client
        .send(
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nTidegate-Worker: 0\r\nX-Other: 1\r\n\
             tidegate-worker: 1\r\nContent-Length: 2\r\n\r\nhi",
        )
        .await;
    let request = harness.request().await;
    assert!(!request.head.headers.contains_key("tidegate-worker"));
    assert_eq!(request.head.headers["x-other"], "1");
    harness.answer(request.stream, "an answer").await;
    assert_eq!(client.response().await.status, 200);
    harness.finish().await;
}
