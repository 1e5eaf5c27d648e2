//! Real Redis servers: started for one test, on free ports of the loopback, and killed when dropped.
//!
//! A server belongs to the thread that started it: it is killed when that thread ends, even if the test is killed. So a
//! test starts its servers on its own thread, and no two tests share one.

mod binary;
pub mod ports;
mod resp;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{interval, timeout};

use binary::binary;
pub use resp::{Connection, Reply};

/// How long anything may take that should happen at once. Generous, because machines that run tests are busy.
const SOON: Duration = Duration::from_secs(10);

/// A server.
pub struct Redis {
    port: u16,
    /// What it was started with, behind the port and the folder.
    arguments: Vec<String>,
    folder: Folder,
    child: Mutex<Option<Child>>,
}

/// A folder that is gone when this is dropped.
struct Folder(PathBuf);

impl Redis {
    /// A server with the settings that all have: nothing is saved unless the test says so.
    pub async fn start() -> Self {
        Self::start_with::<&str>(&[]).await
    }

    /// A server with further settings, as on the command line: `["--maxmemory", "2mb"]`.
    pub async fn start_with<A: AsRef<str>>(arguments: &[A]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|argument| argument.as_ref().to_owned()).collect();
        // Another process may take the port between the look and the start.
        for _ in 0..20 {
            let this = Self {
                port: ports::free(),
                arguments: arguments.clone(),
                folder: Folder::new(),
                child: Mutex::default(),
            };
            this.spawn();
            match this.comes_up().await {
                Ok(()) => return this,
                Err(log) => assert!(log.contains("in use"), "the server does not start; it says:\n{log}"),
            }
        }
        panic!("20 servers found their port taken")
    }

    pub fn address(&self) -> SocketAddr {
        ports::loopback(self.port)
    }

    /// Where clients find it, as `redis://…`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Asks on a connection of its own. Fails if there is no answer; an error is an answer.
    pub async fn command<A: AsRef<[u8]>>(&self, command: &[A]) -> Reply {
        match self.try_command(command, SOON).await {
            Ok(reply) => reply,
            Err(error) => panic!("no answer: {error}; the server says:\n{}", self.log()),
        }
    }

    /// Asks on a connection of its own, and waits no longer than `patience`.
    pub async fn try_command<A: AsRef<[u8]>>(&self, command: &[A], patience: Duration) -> std::io::Result<Reply> {
        Connection::open(self.address()).await?.ask(command, patience).await
    }

    /// One field of `INFO`.
    pub async fn info(&self, name: &str) -> Option<String> {
        let text = self.command(&["INFO", "all"]).await.text();
        text.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned()))
    }

    /// Stops it in its tracks: connections stay open, and nothing is answered any more.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Writes the state to disk, for a restart that finds it: later changes are then lost.
    pub async fn save(&self) {
        self.command(&["SAVE"]).await.is_ok();
    }

    /// Kills it. Its port is free when this returns.
    pub fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again on the same port, with what was last saved, or empty.
    pub async fn restart(&self) {
        self.kill();
        self.spawn();
        if let Err(log) = self.comes_up().await {
            panic!("the server does not start again; it says:\n{log}")
        }
    }

    /// Starts it again on the same port, with nothing.
    pub async fn restart_empty(&self) {
        self.kill();
        let _ = std::fs::remove_file(self.folder.0.join("dump.rdb"));
        self.restart().await;
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read(self.folder.0.join("log"))
            .map_or_else(|_| String::new(), |log| String::from_utf8_lossy(&log).into())
    }

    fn spawn(&self) {
        let folder = &self.folder.0;
        let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
        let mut command = binary().command();
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"]);
        command.args(["--port", &self.port.to_string(), "--dir"]).arg(folder);
        if binary().major >= 7 {
            command.args(["--enable-debug-command", "yes"]);
        }
        command.args(&self.arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        *self.child.lock().unwrap() = Some(command.spawn().unwrap());
    }

    /// Waits until it answers; what it has logged if it ends instead.
    async fn comes_up(&self) -> Result<(), String> {
        let id = self.child.lock().unwrap().as_ref().map(Child::id);
        let id = format!("process_id:{}\r", id.unwrap_or_default());
        let mut ticks = interval(Duration::from_millis(5));
        let up = async {
            loop {
                ticks.tick().await;
                let ended =
                    self.child.lock().unwrap().as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
                if ended {
                    return Err(self.log());
                }
                // Another process may have the port, and answer: it has to be this one.
                match self.try_command(&["INFO", "server"], SOON).await {
                    Ok(Reply::Bulk(text)) if String::from_utf8_lossy(&text).contains(&id) => return Ok(()),
                    _ => {}
                }
            }
        };
        timeout(SOON, up).await.unwrap_or_else(|_| Err(format!("it takes too long to start\n{}", self.log())))
    }

    fn signal(&self, name: &str) {
        let id = self.child.lock().unwrap().as_ref().expect("it was killed").id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("forebay-redis-{}-{count}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
