//! Where log lines go: through a bounded channel to a thread of their own, which writes them.
//!
//! Whoever has a line hands it over and is gone. When the reader of the log is slow, the channel fills; when it is
//! full, lines are dropped and counted. A pipe that nobody reads, or a full disk, stops the log and nothing else.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::settings::LogTarget;

/// Lines that may wait to be written.
const CAPACITY: usize = 4_096;

/// Lines that are written in one go.
const BATCH: usize = 256;

/// The way to one target. Clones share it; the thread ends when the last one is gone.
#[derive(Clone, Debug)]
pub struct Lines {
    sender: mpsc::Sender<Message>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Debug)]
enum Message {
    /// With its line feed.
    Line(Vec<u8>),
    /// Says so when everything before it has been written.
    Flush(oneshot::Sender<()>),
}

impl Lines {
    /// Opens the target and starts its thread. A file is appended to, so that one that is copied and truncated by a
    /// rotation goes on at its beginning.
    pub fn open(target: &LogTarget) -> Result<Self, LogError> {
        let writer: Box<dyn Write + Send> = match target {
            LogTarget::Stdout => Box::new(io::stdout()),
            LogTarget::Stderr => Box::new(io::stderr()),
            LogTarget::File(path) => {
                let file = OpenOptions::new().append(true).create(true).open(path);
                Box::new(file.map_err(|source| LogError::File { path: path.clone(), source })?)
            }
        };
        Self::to_writer(writer)
    }

    /// Starts a thread that writes to `writer`.
    pub fn to_writer(writer: Box<dyn Write + Send>) -> Result<Self, LogError> {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(receiver, writer, &shared))
            .map_err(LogError::Thread)?;
        Ok(Self { sender, counts })
    }

    /// Hands over one line, its line feed included. Never waits.
    pub fn send(&self, line: Vec<u8>) {
        if self.sender.try_send(Message::Line(line)).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines written since the start.
    pub fn written(&self) -> u64 {
        self.counts.written.load(Ordering::Relaxed)
    }

    /// Lines dropped since the start, because the channel was full or writing failed.
    pub fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything handed over so far has been written, but no longer than `within`. Says whether it was.
    pub async fn flush(&self, within: Duration) -> bool {
        let flushed = async {
            let (done, written) = oneshot::channel();
            self.sender.send(Message::Flush(done)).await.is_ok() && written.await.is_ok()
        };
        tokio::time::timeout(within, flushed).await.unwrap_or(false)
    }
}

/// Runs on the thread until every [`Lines`] is gone.
fn write_all(mut receiver: mpsc::Receiver<Message>, mut writer: Box<dyn Write + Send>, counts: &Counts) {
    let mut messages = Vec::with_capacity(BATCH);
    let mut bytes = Vec::new();
    while receiver.blocking_recv_many(&mut messages, BATCH) > 0 {
        let mut lines = 0;
        let mut waiting = Vec::new();
        for message in messages.drain(..) {
            match message {
                Message::Line(line) => {
                    bytes.extend_from_slice(&line);
                    lines += 1;
                }
                Message::Flush(done) => waiting.push(done),
            }
        }
        let done = writer.write_all(&bytes).and_then(|()| writer.flush());
        let count = if done.is_ok() { &counts.written } else { &counts.dropped };
        count.fetch_add(lines, Ordering::Relaxed);
        bytes.clear();
        for done in waiting {
            // Nobody waits any more: nothing to tell.
            let _ = done.send(());
        }
    }
}

/// Why there can be no log.
#[derive(Debug)]
pub enum LogError {
    /// The file cannot be opened for appending.
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The writing thread cannot be started.
    Thread(io::Error),
    /// The filter (`level`) makes no sense; with what is wrong about it.
    Filter(String),
    /// The program's log has been set up already.
    AlreadySet,
}

impl fmt::Display for LogError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, source } => write!(out, "cannot append to the log file {}: {source}", path.display()),
            Self::Thread(source) => write!(out, "cannot start the thread that writes the log: {source}"),
            Self::Filter(reason) => write!(out, "the log level is no filter: {reason}"),
            Self::AlreadySet => out.write_str("the log has been set up already"),
        }
    }
}

impl std::error::Error for LogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } | Self::Thread(source) => Some(source),
            Self::Filter(_) | Self::AlreadySet => None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Keeps what is written, for looking at.
    #[derive(Clone, Default)]
    pub(in crate::telemetry) struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        pub(in crate::telemetry) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Says that it has been reached and blocks until it is let go.
    struct Blocked {
        reached: Sender<()>,
        released: Receiver<()>,
        kept: Kept,
    }

    impl Write for Blocked {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.reached.send(());
            let _ = self.released.recv();
            self.kept.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn lines_are_written_in_order() {
        let kept = Kept::default();
        let lines = Lines::to_writer(Box::new(kept.clone())).unwrap();
        (0..1_000).for_each(|number| lines.send(format!("{number}\n").into_bytes()));
        assert!(lines.flush(LONG).await);
        assert!(kept.text().lines().map(|line| line.parse::<u32>().unwrap()).eq(0..1_000));
        assert_eq!((lines.written(), lines.dropped()), (1_000, 0));
    }

    /// LG-04 of the catalogue of faults.
    #[tokio::test]
    async fn a_blocked_reader_costs_lines_and_holds_nobody_up() {
        let (reached, has_reached) = channel();
        let (release, released) = channel();
        let kept = Kept::default();
        let lines = Lines::to_writer(Box::new(Blocked { reached, released, kept: kept.clone() })).unwrap();
        lines.send(b"first\n".to_vec());
        has_reached.recv().unwrap();
        // The thread is stuck in a write: the channel takes what it can hold, and the rest is dropped.
        (0..CAPACITY + 100).for_each(|_| lines.send(b"more\n".to_vec()));
        assert_eq!((lines.written(), lines.dropped()), (0, 100));
        assert!(!lines.flush(Duration::from_millis(1)).await);
        drop(release);
        assert!(lines.flush(LONG).await);
        assert_eq!(lines.written(), u64::try_from(CAPACITY).unwrap() + 1);
        assert_eq!(kept.text().lines().count(), CAPACITY + 1);
    }

    #[tokio::test]
    async fn a_full_disk_is_counted() {
        let lines = Lines::open(&LogTarget::File("/dev/full".into())).unwrap();
        lines.send(b"x\n".to_vec());
        assert!(lines.flush(LONG).await);
        assert_eq!((lines.written(), lines.dropped()), (0, 1));
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let error = Lines::open(&LogTarget::File("/nowhere/access.log".into())).unwrap_err();
        assert!(error.to_string().starts_with("cannot append to the log file /nowhere/access.log: "), "{error}");
    }
}
