//! A client that is small enough to be believed: RESP2 over a plain connection, one question at a time.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::SOON;

/// What a server has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`.
    Simple(String),
    /// `-ERR …`: the whole line.
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    Array(Vec<Reply>),
    Nil,
}

/// One connection to a server.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Reply {
    /// The text of a simple or a bulk string. Fails on anything else.
    #[track_caller]
    pub fn text(&self) -> String {
        match self {
            Self::Simple(text) => text.clone(),
            Self::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("not a string: {other:?}"),
        }
    }

    /// The number. Fails on anything else.
    #[track_caller]
    pub fn int(&self) -> i64 {
        match self {
            Self::Int(number) => *number,
            other => panic!("not a number: {other:?}"),
        }
    }

    /// The parts of an array. Fails on anything else.
    #[track_caller]
    pub fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            other => panic!("not an array: {other:?}"),
        }
    }

    /// Fails unless the answer is `OK`.
    #[track_caller]
    pub fn is_ok(&self) {
        assert_eq!(*self, Self::Simple("OK".to_owned()));
    }
}

impl Connection {
    /// Connects; an error if nobody listens there.
    pub async fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = within(SOON, TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends a command and reads its answer, within `patience` for each of the two.
    pub async fn ask<A: AsRef<[u8]>>(&mut self, command: &[A], patience: Duration) -> std::io::Result<Reply> {
        self.send(command).await?;
        within(patience, self.reply()).await
    }

    /// Sends a command.
    pub async fn send<A: AsRef<[u8]>>(&mut self, command: &[A]) -> std::io::Result<()> {
        let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
        for part in command {
            let part = part.as_ref();
            bytes.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
            bytes.extend_from_slice(part);
            bytes.extend_from_slice(b"\r\n");
        }
        within(SOON, self.stream.get_mut().write_all(&bytes)).await
    }

    /// Reads what comes next, an answer or what is pushed to a subscriber. Waits for ever if nothing comes.
    pub async fn reply(&mut self) -> std::io::Result<Reply> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let Some((kind, rest)) = line.trim_end().split_at_checked(1) else { return Err(odd(&line)) };
        let number = || rest.parse::<i64>().map_err(|_| odd(&line));
        match kind {
            "+" => Ok(Reply::Simple(rest.to_owned())),
            "-" => Ok(Reply::Error(rest.to_owned())),
            ":" => Ok(Reply::Int(number()?)),
            "$" => {
                let Ok(length) = usize::try_from(number()?) else { return Ok(Reply::Nil) };
                let mut bytes = vec![0; length + 2];
                self.stream.read_exact(&mut bytes).await?;
                bytes.truncate(length);
                Ok(Reply::Bulk(bytes))
            }
            "*" => {
                let Ok(length) = usize::try_from(number()?) else { return Ok(Reply::Nil) };
                let mut items = Vec::new();
                for _ in 0..length {
                    items.push(Box::pin(self.reply()).await?);
                }
                Ok(Reply::Array(items))
            }
            _ => Err(odd(&line)),
        }
    }
}

fn odd(line: &str) -> std::io::Error {
    std::io::Error::other(format!("not RESP: {line:?}"))
}

async fn within<T>(patience: Duration, work: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    timeout(patience, work).await.map_err(|_| std::io::ErrorKind::TimedOut)?
}
