//! What becomes of requests, right and wrong ones.

use super::*;

#[tokio::test]
async fn requests_follow_each_other_on_a_connection() {
    let mut house = House::new();
    let mut client = house.client().await;
    for body in ["first", "second", ""] {
        client.post(body).await;
        let request = house.request().await;
        assert_eq!(request.body, body);
        assert_eq!(request.head.path, "/mcp");
        assert_eq!(request.head.method, "POST");
        assert_eq!(request.head.headers["host"], "localhost");
        assert_eq!(usize::try_from(request.head.content_length), Ok(body.len()));
        house.answer(request.stream, "an answer").await;
        let response = client.response().await;
        assert_eq!(
            (response.status, response.body.as_str()),
            (200, "an answer")
        );
        assert!(!response.head.contains("transfer-encoding"));
    }
    house.finish().await;
}

#[tokio::test]
async fn two_workers_share_one_port() {
    let mut house = House::with(options(), Limits::default(), 2, CALLEE_WINDOW);
    let mut clients = Vec::new();
    let mut served = [0, 0];
    // The kernel spreads connections by a hash: that one worker gets all 64 does not happen.
    for _ in 0..64 {
        let mut client = house.client().await;
        client.post("hello").await;
        let [first, second] = house.probes.as_mut_slice() else {
            panic!("two workers have two probes");
        };
        let (worker, at) = tokio::select! {
            (at, _) = first.next_but_window() => (0, at),
            (at, _) = second.next_but_window() => (1, at),
        };
        served[worker] += 1;
        answer(&house.probes[worker], at.stream, "hello").await;
        assert_eq!(client.response().await.body, "hello");
        while house.probes[worker].next_but_window().await.1 != Frame::end() {}
        clients.push(client);
    }
    assert!(served[0] > 0 && served[1] > 0, "{served:?}");
    house.finish().await;
}

#[tokio::test]
async fn only_the_configured_path_is_served() {
    let mut house = House::new();
    let mut client = house.client().await;
    for path in ["/", "/mcp/", "/mcpx", "/MCP", "/mcp/../mcp", "*"] {
        client.ask("GET", path).await;
        let response = client.response().await;
        assert_eq!(response.status, 404, "{path}");
        assert_eq!(response.body, "There is nothing at this path.");
    }
    client.ask("GET", "/mcp?a=b").await;
    let request = house.request().await;
    assert_eq!(request.head.path, "/mcp?a=b");
    house.answer(request.stream, "found").await;
    assert_eq!(client.response().await.body, "found");
    house.finish().await;
}

#[tokio::test]
async fn every_method_reaches_the_callee() {
    let mut house = House::new();
    let mut client = house.client().await;
    for method in ["GET", "DELETE", "OPTIONS", "HEAD", "PUT", "BREW"] {
        client.ask(method, "/mcp").await;
        let request = house.request().await;
        assert_eq!(request.head.method, method);
        let stream = request.stream;
        house
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
    house.finish().await;
}

#[tokio::test]
async fn a_head_request_gets_no_body_and_its_stream_ends() {
    let mut house = House::new();
    let mut client = house.client().await;
    client.ask("HEAD", "/mcp").await;
    let request = house.request().await;
    house.answer(request.stream, "not to be sent").await;
    assert_eq!(client.head().await.status, 200);
    client.post("next").await;
    let request = house.request().await;
    house.answer(request.stream, "sent").await;
    assert_eq!(client.response().await.body, "sent");
    house.finish().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let mut house = House::new();
    let mut client = house.client().await;
    let one = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n";
    client.send(format!("{one}one{one}two{one}six")).await;
    for body in ["one", "two", "six"] {
        let request = house.request().await;
        assert_eq!(request.body, body);
        house.answer(request.stream, body).await;
    }
    for body in ["one", "two", "six"] {
        assert_eq!(client.response().await.body, body);
    }
    house.finish().await;
}

#[tokio::test]
async fn what_is_no_http_gets_400_or_nothing_and_others_are_served() {
    let mut house = House::new();
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
        let mut client = house.client().await;
        client.send(bytes).await;
        let answer = client.rest().await;
        let answer = String::from_utf8_lossy(&answer);
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(refused, "{answer}");
        house.serves().await;
    }
    assert!(house.probe().seen().is_empty(), "no stream was opened");
    house.finish().await;
}

#[tokio::test]
async fn whoever_asks_before_sending_is_told_to_go_on() {
    let mut house = House::new();
    let mut client = house.client().await;
    client
        .send(
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\
             Content-Length: 4\r\n\r\n",
        )
        .await;
    assert_eq!(client.head().await.status, 100);
    client.send("body").await;
    let request = house.request().await;
    assert_eq!(request.body, "body");
    house.answer(request.stream, "taken").await;
    assert_eq!(client.response().await.body, "taken");
    house.finish().await;
}

#[tokio::test]
async fn a_client_of_the_old_kind_is_served_once() {
    let mut house = House::new();
    let mut client = house.client().await;
    client.send("GET /mcp HTTP/1.0\r\n\r\n").await;
    let request = house.request().await;
    house.answer(request.stream, "bye").await;
    let answer = String::from_utf8(client.rest().await).expect("a text");
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nbye"), "{answer}");
    house.finish().await;
}

#[tokio::test]
async fn a_stream_that_ends_without_a_response_is_answered_500() {
    let mut house = House::new();
    let mut client = house.client().await;
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
        let stream = house.request().await.stream;
        house.probe().turn(move |cx| end(cx, stream)).await;
        let response = client.response().await;
        assert_eq!(response.status, 500);
        assert_eq!(response.body, "The request could not be answered.");
    }
    house.finish().await;
}

#[tokio::test]
async fn a_worker_that_is_full_answers_503() {
    let limits = Limits {
        streams: 1,
        ..Limits::default()
    };
    let mut house = House::with(options(), limits, 1, CALLEE_WINDOW);
    let mut first = house.client().await;
    first.post("first").await;
    let request = house.request().await;
    let mut second = house.client().await;
    second.post("second").await;
    assert_eq!(second.response().await.status, 503);
    house.answer(request.stream, "done").await;
    assert_eq!(first.response().await.body, "done");
    second.post("again").await;
    let request = house.request().await;
    house.answer(request.stream, "done").await;
    assert_eq!(second.response().await.body, "done");
    house.finish().await;
}

#[tokio::test]
async fn a_body_in_many_tiny_chunks_does_not_become_as_many_parts() {
    let mut house = House::new();
    let mut client = house.client().await;
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
    let request = house.request().await;
    assert_eq!(request.body, body);
    assert!(request.parts < 200, "{} parts", request.parts);
    house.answer(request.stream, "taken").await;
    assert_eq!(client.response().await.body, "taken");
    house.finish().await;
}

#[tokio::test]
async fn a_body_is_sent_as_the_callee_takes_it() {
    let mut house = House::with(options(), Limits::default(), 1, 1_000);
    let mut client = house.client().await;
    let body: String = (b'a'..=b'z')
        .cycle()
        .take(100_000)
        .map(char::from)
        .collect();
    client.post(&body).await;
    let request = house.request().await;
    assert_eq!(request.body, body);
    assert!(request.parts >= 100, "{} parts", request.parts);
    house.answer(request.stream, "taken").await;
    assert_eq!(client.response().await.body, "taken");
    house.finish().await;
}
