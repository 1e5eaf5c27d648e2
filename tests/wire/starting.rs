//! Coming up: fast if all is well; otherwise a sentence on stderr, an exit code, and nothing left listening.

use std::net::TcpListener;
use std::time::Duration;

use forebay::clock::Clock;

use super::backend::Backend;
use super::client::Client;
use super::gateway::{Gateway, Process};

const ON: &str = "127.0.0.1:0";

/// Starts with this configuration and these addresses: it ends with `code` and says all of `says`.
async fn check(config: &str, listen: &str, admin: &str, code: i32, says: &[&str]) {
    let origin = "http://127.0.0.1:9";
    let mut process = Process::start(config, &["--origin", origin, "--listen", listen, "--admin", admin]);
    let status = process.ended().await;
    for text in says {
        process.says(text).await;
    }
    let output = process.output();
    assert_eq!(status.code(), Some(code), "{config:?} {listen} {admin}: {output}");
    assert!(!output.contains("listens on") && !output.contains("panicked"), "{config:?}: {output}");
}

#[tokio::test]
async fn a_port_in_use_is_named_and_nothing_listens() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|address| (taken, address.to_string())).unwrap();
    check("", &taken.1, ON, 2, &[&taken.1, "in use"]).await;
    check("", ON, &taken.1, 2, &[&taken.1, "in use"]).await;
}

#[tokio::test]
async fn a_configuration_with_problems_is_refused_with_line_and_hint() {
    check("[listen\n", ON, ON, 1, &["config.toml:1"]).await;
    check("[memory]\ncapacitty = \"1GiB\"\n", ON, ON, 1, &["config.toml:2", "capacitty", "capacity"]).await;
    check("[memory]\ncapacity = \"many\"\n", ON, ON, 1, &["config.toml:2", "capacity"]).await;
    check("[listen]\nhttps = \"127.0.0.1:0\"\n", ON, ON, 1, &["https"]).await;
    check("[tls]\ncert = \"/nowhere.pem\"\nkey = \"/nowhere.pem\"\n", ON, ON, 1, &["/nowhere.pem"]).await;
    check("[[route]]\npath = \"no-slash\"\n", ON, ON, 1, &["config.toml:2", "no-slash"]).await;
    check("", "here", ON, 1, &["here"]).await;
    check("", ON, "0.0.0.0:0", 1, &["token"]).await;
    check("", ON, "[::]:0", 1, &["token"]).await;
}

#[tokio::test]
async fn no_configuration_at_that_place_is_said() {
    let mut process = Process::start("", &["--config", "/nowhere/at/all.toml"]);
    let status = process.ended().await;
    assert!(matches!(status.code(), Some(1 | 2)), "{status:?}: {}", process.output());
}

#[tokio::test]
async fn an_admin_listener_that_others_can_reach_wants_its_token() {
    let backend = Backend::start().await;
    let gateway = Gateway::start("[admin]\ntoken = \"s3cret\"\n", backend.address).await;
    for (fields, status) in
        [("", 401), ("Authorization: Bearer wrong\r\n", 401), ("Authorization: Bearer s3cret\r\n", 200)]
    {
        let mut client = Client::connect(gateway.admin).await;
        client.send(format!("GET /v1/stat HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")).await;
        assert_eq!(client.answer().await.status, status, "{fields}");
    }
}

#[tokio::test]
async fn the_first_answer_comes_soon_after_the_start() {
    let backend = Backend::start().await;
    let clock = Clock::system();
    let began = clock.now();
    let gateway = Gateway::start("", backend.address).await;
    assert_eq!(Client::connect(gateway.address()).await.get("/first").await.status, 200);
    let took = clock.now().since(began);
    println!("from the start to the first answer: {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}
