//! Each switch of the proxy does what it says, in front of a server that sends back what it is sent.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::chaos::Proxy;
use super::redis::Redis;

/// Long enough for what comes at once to have come.
const A_WHILE: Duration = Duration::from_millis(100);
const SOON: Duration = Duration::from_secs(10);

async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = socket.into_split();
                let _ = copy(&mut from, &mut to).await;
            });
        }
    });
    address
}

/// A proxy in front of the echo, and a connection through both.
async fn set_up() -> (Proxy, TcpStream) {
    let proxy = Proxy::start(echo().await).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    assert_eq!(says(&mut stream, "hello").await, "hello");
    (proxy, stream)
}

/// Sends this, and reads as much.
async fn says(stream: &mut TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    hears(stream, text.len()).await
}

async fn hears(stream: &mut TcpStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    timeout(SOON, stream.read_exact(&mut bytes)).await.expect("nothing comes").unwrap();
    // A byte that was inverted is no UTF-8.
    bytes.iter().map(|&byte| if byte.is_ascii() { char::from(byte) } else { '?' }).collect()
}

/// Whatever comes until the end.
async fn rest(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut text = String::new();
    timeout(SOON, stream.read_to_string(&mut text)).await.expect("no end comes")?;
    Ok(text)
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    timeout(A_WHILE, stream.read_u8()).await.is_err()
}

#[tokio::test]
async fn without_a_fault_everything_passes_and_ends_pass_too() {
    let (proxy, mut stream) = set_up().await;
    let much = "0123456789abcdef".repeat(64 * 1024);
    let (mut from, mut to) = stream.split();
    let mut back = String::new();
    let (sent, received) = tokio::join!(
        async {
            to.write_all(much.as_bytes()).await.unwrap();
            to.shutdown().await
        },
        from.read_to_string(&mut back)
    );
    assert!(sent.is_ok() && received.is_ok() && back == much);
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn a_delay_holds_back_one_way_and_keeps_the_throughput() {
    for up in [true, false] {
        let (proxy, mut stream) = set_up().await;
        let way = if up { &proxy.up } else { &proxy.down };
        way.delay(A_WHILE * 3);
        stream.write_all(b"1").await.unwrap();
        assert!(is_silent(&mut stream).await);
        for _ in 0..20 {
            stream.write_all(b"2").await.unwrap();
        }
        // One after the other they would take six seconds.
        let all = timeout(Duration::from_secs(3), hears(&mut stream, 21)).await;
        assert_eq!(all.expect("it takes turns"), format!("1{}", "2".repeat(20)));
        way.heal();
        assert_eq!(timeout(A_WHILE * 2, says(&mut stream, "3")).await.expect("it is still slow"), "3");
    }
}

#[tokio::test]
async fn jitter_keeps_the_order() {
    let (proxy, mut stream) = set_up().await;
    proxy.up.jitter(Duration::from_millis(20), 1);
    proxy.down.jitter(Duration::from_millis(20), 2);
    for digit in 0..10 {
        stream.write_all(digit.to_string().as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(hears(&mut stream, 10).await, "0123456789");
}

#[tokio::test]
async fn what_is_stalled_comes_when_it_is_released() {
    for up in [true, false] {
        let (proxy, mut stream) = set_up().await;
        let way = if up { &proxy.up } else { &proxy.down };
        way.stall();
        stream.write_all(b"held").await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(is_silent(&mut stream).await);
        way.release();
        assert_eq!(rest(&mut stream).await.unwrap(), "held");
    }
}

#[tokio::test]
async fn a_connection_is_cut_after_so_many_bytes() {
    let (proxy, mut stream) = set_up().await;
    proxy.down.cut_after(7);
    assert_eq!(says(&mut stream, "1234").await, "1234");
    stream.write_all(b"567890").await.unwrap();
    assert_eq!(rest(&mut stream).await.unwrap(), "567");
    // The next one has its own count.
    let mut next = TcpStream::connect(proxy.address).await.unwrap();
    next.write_all(b"abcdefghi").await.unwrap();
    assert_eq!(rest(&mut next).await.unwrap(), "abcdefg");
    proxy.heal().await;
    let mut healed = TcpStream::connect(proxy.address).await.unwrap();
    assert_eq!(says(&mut healed, "abcdefghi").await, "abcdefghi");
    proxy.up.cut_after(2);
    healed.write_all(b"xyz").await.unwrap();
    // What had come up before the cut may come back or not.
    assert!("xy".starts_with(&rest(&mut healed).await.unwrap()));
}

#[tokio::test]
async fn one_byte_is_inverted() {
    let (proxy, mut stream) = set_up().await;
    proxy.down.flip_at(3);
    assert_eq!(says(&mut stream, "ab").await, "ab");
    assert_eq!(says(&mut stream, "cdef").await, "c?ef");
    assert_eq!(says(&mut stream, "ghijkl").await, "ghijkl");
    proxy.heal().await;
    proxy.up.flip_at(0);
    assert_eq!(says(&mut stream, "mn").await, "?n");
}

#[tokio::test]
async fn a_reset_is_a_reset_and_the_next_connection_is_well() {
    let (proxy, mut stream) = set_up().await;
    proxy.reset();
    assert_eq!(rest(&mut stream).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let mut next = TcpStream::connect(proxy.address).await.unwrap();
    assert_eq!(says(&mut next, "again").await, "again");
}

#[tokio::test]
async fn a_way_is_closed_and_the_other_goes_on() {
    let (proxy, mut stream) = set_up().await;
    proxy.down.stall();
    stream.write_all(b"before").await.unwrap();
    assert!(is_silent(&mut stream).await);
    // The echo ends when its way in does: what it had sent back still comes.
    proxy.up.half_close();
    proxy.down.release();
    assert_eq!(rest(&mut stream).await.unwrap(), "before");

    let mut next = TcpStream::connect(proxy.address).await.unwrap();
    assert_eq!(says(&mut next, "open").await, "open");
    proxy.down.half_close();
    assert_eq!(rest(&mut next).await.unwrap(), "");
    next.write_all(b"nobody hears").await.unwrap();
    assert!(timeout(A_WHILE, next.writable()).await.is_ok());
}

#[tokio::test]
async fn new_connections_are_refused_and_open_ones_stay() {
    let (proxy, mut stream) = set_up().await;
    proxy.refuse().await;
    let refused = TcpStream::connect(proxy.address).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(says(&mut stream, "still").await, "still");
    proxy.heal().await;
    let mut next = TcpStream::connect(proxy.address).await.unwrap();
    assert_eq!(says(&mut next, "again").await, "again");
    assert_eq!(proxy.accepted(), 2);
}

#[tokio::test]
async fn nothing_is_left_when_the_proxy_is_dropped() {
    let (proxy, mut stream) = set_up().await;
    let address = proxy.address;
    drop(proxy);
    assert_eq!(rest(&mut stream).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let gone = async { while TcpStream::connect(address).await.is_ok() {} };
    assert!(timeout(SOON, gone).await.is_ok());
}

#[tokio::test]
async fn it_stands_in_front_of_redis() {
    let redis = Redis::start().await;
    let proxy = Proxy::start(redis.address()).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    assert_eq!(says(&mut stream, "PING\r\n").await, "+PONG\r");
}
