//! HTTP/1.1 for those who ask and for the one who answers: one connection, one buffer, one message at a time, nothing
//! copied. It reads what a gateway or a client of this suite may send, and takes everything else for broken.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a request may take: longer than anything that a gateway may wait for by itself.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// A connection that is used for one message after the other.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// The ends of the head and of the message that was read last.
    head: usize,
    read: usize,
}

/// A request or an answer, as it lies in the buffer.
pub struct Message<'a> {
    head: &'a str,
    pub body: &'a [u8],
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let connecting = timeout(Duration::from_secs(2), TcpStream::connect(address));
        Ok(Self::on(connecting.await.map_err(|_| ErrorKind::TimedOut)??))
    }

    pub fn on(stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        Self { stream, buffer: Vec::with_capacity(4096), head: 0, read: 0 }
    }

    /// Asks, and waits no longer than [`PATIENCE`] for the answer.
    pub async fn ask(&mut self, request: &[u8]) -> Result<Message<'_>> {
        timeout(PATIENCE, async {
            self.send(request).await?;
            self.receive().await
        })
        .await
        .map_err(|_| ErrorKind::TimedOut)?
    }

    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The next message; an error at the end of the connection.
    pub async fn receive(&mut self) -> Result<Message<'_>> {
        self.buffer.drain(..self.read);
        (self.head, self.read) = (0, 0);
        let (head, length) = loop {
            if let Some(end) = end_of_head(&self.buffer) {
                let head = std::str::from_utf8(&self.buffer[..end]).map_err(Error::other)?;
                let length = field(head, "content-length").map_or(Ok(0), str::parse).map_err(Error::other)?;
                if field(head, "transfer-encoding").is_some() {
                    return Err(Error::other("an answer of unknown length"));
                }
                break (end, length);
            }
            self.fill().await?;
        };
        while self.buffer.len() < head + length {
            self.fill().await?;
        }
        (self.head, self.read) = (head, head + length);
        Ok(self.last())
    }

    /// The message that was read last.
    pub fn last(&self) -> Message<'_> {
        let head = std::str::from_utf8(&self.buffer[..self.head]).unwrap_or_default();
        Message { head, body: &self.buffer[self.head..self.read] }
    }

    async fn fill(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

impl Message<'_> {
    /// Method and target of a request.
    pub fn request_line(&self) -> Option<(&str, &str)> {
        let mut words = self.head.split(' ');
        Some((words.next()?, words.next()?))
    }

    /// The status of an answer.
    pub fn status(&self) -> u16 {
        self.head.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or_default()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        field(self.head, name)
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}
