//! Unix sockets.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tokio::net::UnixStream;

use super::folder::Folder;
use super::*;

fn on_socket(path: &Path) -> Options {
    Options {
        listen: Listen::on(Address::Unix(path.to_owned())),
        ..options()
    }
}

async fn connect(path: &Path) -> Client<UnixStream> {
    Client::over(UnixStream::connect(path).await.expect("it listens"))
}

/// Starts an engine of which the start must fail; returns the reason.
fn refusal(options: &Options) -> String {
    let options = options.clone();
    let (_probe, edge) = probe();
    let engine = Engine::start(1, Limits::default(), move |assembly| {
        let exit = edge.attach(assembly, 0, None);
        crate::attach(assembly, options.clone(), exit, &Guards::default(), None).map(|_| ())
    });
    engine.err().expect("it cannot listen").to_string()
}

#[tokio::test]
async fn all_workers_accept_from_one_socket_which_is_removed_at_the_stop() {
    let folder = Folder::new();
    let path = folder.path("mcp.sock");
    let mut harness = Harness::with(on_socket(&path), Limits::default(), 2, CALLEE_WINDOW);
    let mode = std::fs::metadata(&path)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
    for _ in 0..20 {
        let mut client = connect(&path).await;
        // Any name may be used: pages of other sites cannot reach a socket.
        client
            .send("POST /mcp HTTP/1.1\r\nHost: gate.example\r\nContent-Length: 2\r\n\r\nhi")
            .await;
        let (first, second) = harness.probes.split_at_mut(1);
        tokio::select! {
            taken = request(&mut first[0]) => answer(&first[0], taken.stream, "one").await,
            taken = request(&mut second[0]) => answer(&second[0], taken.stream, "two").await,
        }
        assert_eq!(client.response().await.status, 200);
    }
    assert_eq!(
        harness.listening.urls().collect::<Vec<_>>(),
        [format!("unix:{} (path /mcp)", path.display())]
    );
    harness.finish().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_socket_that_nobody_listens_on_is_replaced() {
    let folder = Folder::new();
    let path = folder.path("mcp.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    assert!(path.exists(), "it was left behind");
    let mut options = on_socket(&path);
    let (owner, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let (owner, group) = (owner.as_raw(), group.as_raw());
    let access = format!(r#"{{ "mode": "0600", "owner": "{owner}", "group": "{group}" }}"#);
    options.unix = serde_json::from_str(&access).expect("options");
    let mut harness = Harness::of(options);
    let mode = std::fs::metadata(&path)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut client = connect(&path).await;
    client.post("hello").await;
    let request = harness.request().await;
    harness.answer(request.stream, "hello").await;
    assert_eq!(client.response().await.body, "hello");
    drop(client);
    harness.finish().await;
}

#[tokio::test]
async fn a_socket_in_use_and_other_files_are_left_alone() {
    let folder = Folder::new();
    let path = folder.path("mcp.sock");
    let first = Harness::of(on_socket(&path));
    let error = refusal(&on_socket(&path));
    assert!(error.starts_with("cannot listen on unix:"), "{error}");
    assert!(error.contains("another process listens on it"), "{error}");
    assert!(path.exists());
    // A socket that has replaced it is not removed.
    std::fs::remove_file(&path).expect("it is there");
    folder.write("mcp.sock", "precious");
    let error = refusal(&on_socket(&path));
    assert!(error.contains("is not a socket"), "{error}");
    first.finish().await;
    assert_eq!(std::fs::read(&path).expect("it is there"), b"precious");
}

#[tokio::test]
async fn an_unknown_owner_and_a_missing_folder_are_refused() {
    let folder = Folder::new();
    let mut options = on_socket(&folder.path("mcp.sock"));
    options.unix.owner = Some("nobody:here".to_owned());
    let error = refusal(&options);
    assert!(error.contains("unknown owner 'nobody:here'"), "{error}");
    assert!(!folder.path("mcp.sock").exists());
    let error = refusal(&on_socket(&folder.path("missing/mcp.sock")));
    assert!(error.contains("No such file or directory"), "{error}");
}

#[tokio::test]
async fn a_binding_listens_on_several_addresses() {
    let folder = Folder::new();
    let path = folder.path("mcp.sock");
    let listen = format!(
        r#"["127.0.0.1:0", "unix:{}", "127.0.0.1:0"]"#,
        path.display()
    );
    let mut harness = Harness::of(Options {
        listen: serde_json::from_str(&listen).expect("addresses"),
        max_connections: 1,
        ..options()
    });
    let urls: Vec<String> = harness.listening.urls().collect();
    assert_eq!(urls.len(), 3);
    // A single connection is enough for all of them, one after the other.
    for url in urls {
        if url.starts_with("unix:") {
            let mut client = connect(&path).await;
            client.post("hello").await;
            let request = harness.request().await;
            harness.answer(request.stream, "socket").await;
            assert_eq!(client.response().await.body, "socket");
            continue;
        }
        let address = url
            .strip_prefix("http://")
            .and_then(|it| it.strip_suffix("/mcp"));
        let address = address.and_then(|it| it.parse().ok()).expect("an address");
        let mut client = Client::connect(address).await;
        client.post("hello").await;
        let request = harness.request().await;
        harness.answer(request.stream, "address").await;
        assert_eq!(client.response().await.body, "address");
    }
    harness.finish().await;
}
