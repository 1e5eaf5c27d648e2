//! A raw client: exact bytes out, answers in, read to the letter.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::gateway::SOON;

/// One connection to the gateway.
pub struct Client<T = TcpStream> {
    stream: T,
    /// What was received and not yet read as an answer.
    buffer: Vec<u8>,
    /// The gateway has closed its side, or reset the connection.
    over: bool,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// The body came to its end by its own framing.
    pub complete: bool,
    /// The interim answers that came before it.
    pub interim: Vec<String>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = timeout(SOON, TcpStream::connect(address)).await.expect("connecting takes too long").unwrap();
        let _ = stream.set_nodelay(true);
        Self::on(stream)
    }

    /// Closes with RST.
    pub fn reset(self) {
        let _ = self.stream.set_zero_linger();
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Client<T> {
    /// A client on a stream that is open.
    pub fn on(stream: T) -> Self {
        Self { stream, buffer: Vec::new(), over: false }
    }

    /// Sends these bytes. That the gateway has closed is no failure: it may.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = timeout(SOON, self.stream.write_all(bytes.as_ref())).await;
        assert!(sent.is_ok(), "the gateway does not take what it is sent");
    }

    /// Sends a request without a body and without further fields.
    pub async fn ask(&mut self, method: &str, target: &str) {
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: t\r\n\r\n")).await;
    }

    /// Sends a GET and reads the answer.
    pub async fn get(&mut self, target: &str) -> Answer {
        self.ask("GET", target).await;
        self.answer().await
    }

    /// The next answer to something other than HEAD.
    pub async fn answer(&mut self) -> Answer {
        self.expect("GET").await
    }

    /// The next answer to `method`.
    pub async fn expect(&mut self, method: &str) -> Answer {
        match self.next(method).await {
            Some(answer) => answer,
            None => panic!("no answer; received {:?}", String::from_utf8_lossy(&self.buffer)),
        }
    }

    /// The next answer to `method`, or none if the connection ends before it has a head.
    pub async fn next(&mut self, method: &str) -> Option<Answer> {
        let mut interim = Vec::new();
        loop {
            let head = self.head().await?;
            let status = head.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or(0);
            if (100..200).contains(&status) {
                interim.push(head);
                continue;
            }
            let bodiless = method == "HEAD" || matches!(status, 204 | 304);
            let (body, complete) = if bodiless { (Vec::new(), true) } else { self.body(&head).await };
            return Some(Answer { status, head, body, complete, interim });
        }
    }

    /// The next head, interim or final, or none if the connection ends before.
    pub async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                return Some(String::from_utf8_lossy(&self.take(end + 4)).into_owned());
            }
            if !self.receive().await {
                return None;
            }
        }
    }

    /// Whether the gateway closes without saying anything more.
    pub async fn is_closed(&mut self) -> bool {
        while self.receive().await {}
        self.buffer.is_empty()
    }

    /// Whether the gateway has closed its side, so far as that has arrived. Reads what is there, and does not wait.
    pub async fn has_ended(&mut self) -> bool {
        if let Ok(Ok(0) | Err(_)) = timeout(Duration::ZERO, self.stream.read_buf(&mut self.buffer)).await {
            self.over = true;
        }
        self.over
    }

    /// What is left in the buffer when the gateway has closed.
    pub async fn rest(&mut self) -> String {
        while self.receive().await {}
        String::from_utf8_lossy(&self.buffer).into_owned()
    }

    async fn body(&mut self, head: &str) -> (Vec<u8>, bool) {
        if let Some(length) = field(head, "content-length") {
            assert!(field(head, "transfer-encoding").is_none(), "two framings: {head}");
            let length: usize = length.parse().unwrap_or_else(|_| panic!("an odd length: {head}"));
            while self.buffer.len() < length {
                if !self.receive().await {
                    return (std::mem::take(&mut self.buffer), false);
                }
            }
            return (self.take(length), true);
        }
        if field(head, "transfer-encoding").is_none() {
            while self.receive().await {}
            return (std::mem::take(&mut self.buffer), true);
        }
        let mut body = Vec::new();
        loop {
            let Some(line) = self.line().await else { return (body, false) };
            let size = usize::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("an odd chunk size {line:?}"));
            while self.buffer.len() < size + 2 {
                if !self.receive().await {
                    return (body, false);
                }
            }
            body.extend(self.take(size));
            assert_eq!(self.take(2), b"\r\n", "a chunk that does not end");
            if size == 0 {
                return (body, true);
            }
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line = self.take(end + 2);
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.receive().await {
                return None;
            }
        }
    }

    /// Receives something; whether there is anything more. Fails when the gateway neither speaks nor closes.
    async fn receive(&mut self) -> bool {
        if self.over {
            return false;
        }
        let Ok(received) = timeout(SOON, self.stream.read_buf(&mut self.buffer)).await else {
            panic!("the gateway hangs; received {:?}", String::from_utf8_lossy(&self.buffer))
        };
        self.over = !matches!(received, Ok(1..));
        !self.over
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        self.buffer.drain(..length).collect()
    }
}

impl Answer {
    /// A field's value; several lines are joined by a comma.
    pub fn field(&self, name: &str) -> Option<String> {
        field(&self.head, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The backend's number for it.
    pub fn seq(&self) -> Option<usize> {
        self.field("x-origin-seq").and_then(|seq| seq.parse().ok())
    }

    /// Whether it came from what is stored.
    pub fn is_hit(&self) -> bool {
        self.field("cache-status").is_some_and(|status| status.contains("; hit"))
    }
}

fn field(head: &str, name: &str) -> Option<String> {
    let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    let values: Vec<_> =
        fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|some| some == what)
}
