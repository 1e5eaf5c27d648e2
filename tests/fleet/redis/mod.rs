//! Real Redis servers: started for one test, on free ports of the loopback, and killed when dropped.
//!
//! A server belongs to the thread that started it: it is killed when that thread ends, even if the test is killed. So a
//! test starts its servers on its own thread, and no two tests share one.

mod binary;
mod certificates;
mod cluster;
mod front;
pub mod ports;
mod resp;
mod sentinel;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{interval, timeout};

use binary::binary;
pub use certificates::Certificate;
pub use cluster::Cluster;
use front::Front;
pub use resp::{Connection, Reply};
pub use sentinel::{SERVICE, Sentinel};

/// How long anything may take that should happen at once. Generous, because machines that run tests are busy.
const SOON: Duration = Duration::from_secs(10);
/// How long a cluster or sentinels may take to agree.
const AGREED: Duration = Duration::from_secs(30);
/// What makes a replication quick: the master does not wait for more replicas, and is heard of each second.
const QUICKLY: [&str; 4] = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"];
/// A sentinel writes into its configuration what it learns.
const SENTINEL_FILE: &str = "sentinel.conf";

/// A server.
pub struct Redis {
    /// Where tests ask, always in the clear.
    port: u16,
    role: Role,
    folder: Folder,
    child: Mutex<Option<Child>>,
}

/// What a server is started as, with its further settings as on the command line.
enum Role {
    Server(Vec<String>),
    /// Clients come by this port, on TLS.
    Tls(u16, Vec<String>),
    /// Clients come by what stands before it, on TLS: the server knows none.
    Fronted(Front),
    Sentinel,
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
        let arguments: Vec<_> = arguments.iter().map(|argument| argument.as_ref().to_owned()).collect();
        Self::launch(|_| Role::Server(arguments.clone())).await.unwrap_or_else(|log| panic!("{log}"))
    }

    /// A server whose clients come by TLS, and which shows them this certificate. A server that was built without TLS has
    /// it put before it.
    pub async fn start_tls(certificate: &Certificate) -> Self {
        let started = Self::launch(|folder| {
            let port = ports::free();
            let mut arguments = vec!["--tls-port".to_owned(), port.to_string()];
            arguments.extend(["--tls-auth-clients", "no"].map(str::to_owned));
            for (option, content) in [
                ("--tls-cert-file", &certificate.chain),
                ("--tls-key-file", &certificate.key),
                ("--tls-ca-cert-file", &certificate.authority),
            ] {
                let file = folder.join(format!("{}.pem", option.trim_start_matches('-')));
                std::fs::write(&file, content).unwrap();
                arguments.extend([option.to_owned(), file.display().to_string()]);
            }
            Role::Tls(port, arguments)
        })
        .await;
        match started {
            Ok(server) => server,
            Err(log) if log.contains("TLS support") || log.contains("tls-port") => {
                let mut server = Self::start().await;
                server.role = Role::Fronted(Front::start(certificate, server.in_the_clear()).await);
                server
            }
            Err(log) => panic!("{log}"),
        }
    }

    /// A sentinel, with these lines in its configuration.
    async fn start_sentinel(lines: &str) -> Self {
        Self::launch(|folder| {
            std::fs::write(folder.join(SENTINEL_FILE), lines).unwrap();
            Role::Sentinel
        })
        .await
        .unwrap_or_else(|log| panic!("{log}"))
    }

    /// Starts a server on a free port; `prepare` is given its folder, and says what it shall be. Fails with what it logs.
    async fn launch(prepare: impl Fn(&Path) -> Role) -> Result<Self, String> {
        // Another process may take the port between the look and the start.
        for _ in 0..20 {
            let folder = Folder::new();
            let role = prepare(&folder.0);
            let this = Self { port: ports::free(), role, folder, child: Mutex::default() };
            this.spawn();
            match this.comes_up().await {
                Ok(()) => return Ok(this),
                Err(log) if log.contains("in use") => {}
                Err(log) => return Err(format!("the server does not start; it says:\n{log}")),
            }
        }
        Err("20 servers found their port taken".to_owned())
    }

    /// Where clients find it: on TLS, if it was started so.
    pub fn address(&self) -> SocketAddr {
        match self.role {
            Role::Tls(port, _) | Role::Fronted(Front { port, .. }) => ports::loopback(port),
            Role::Server(_) | Role::Sentinel => self.in_the_clear(),
        }
    }

    /// Where clients find it, as `redis://…`, or as `rediss://…` on TLS; with the password, if it has one.
    pub fn url(&self) -> String {
        let scheme = if matches!(self.role, Role::Tls(..) | Role::Fronted(_)) { "rediss" } else { "redis" };
        let password = self.password().map_or_else(String::new, |password| format!(":{password}@"));
        format!("{scheme}://{password}{}", self.address())
    }

    /// What was set by `--requirepass`.
    fn password(&self) -> Option<&str> {
        let Role::Server(arguments) = &self.role else { return None };
        let at = arguments.iter().position(|argument| argument == "--requirepass")?;
        arguments.get(at + 1).map(String::as_str)
    }

    fn in_the_clear(&self) -> SocketAddr {
        ports::loopback(self.port)
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
        self.connect().await?.ask(command, patience).await
    }

    /// A connection in the clear, on which the password has been said.
    pub async fn connect(&self) -> std::io::Result<Connection> {
        let mut connection = Connection::open(self.in_the_clear()).await?;
        if let Some(password) = self.password() {
            connection.ask(&["AUTH", password], SOON).await?;
        }
        Ok(connection)
    }

    /// Asks, and waits until a replica has what that has changed.
    pub async fn replicated<A: AsRef<[u8]>>(&self, command: &[A]) -> Reply {
        // WAIT speaks of what was written on its own connection.
        let mut connection = self.connect().await.unwrap();
        let reply = connection.ask(command, SOON).await.unwrap();
        assert_eq!(connection.ask(&["WAIT", "1", "8000"], SOON).await.unwrap(), Reply::Int(1), "no replica has it");
        reply
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

    /// It was started and has not ended.
    pub fn is_running(&self) -> bool {
        self.child.lock().unwrap().as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
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
        if matches!(self.role, Role::Sentinel) {
            command.arg(folder.join(SENTINEL_FILE)).arg("--sentinel");
        }
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--dir"]).arg(folder);
        if !matches!(self.role, Role::Sentinel) {
            command.args(["--save", "", "--appendonly", "no"]);
            if binary().major >= 7 {
                command.args(["--enable-debug-command", "yes"]);
            }
        }
        if let Role::Server(arguments) | Role::Tls(_, arguments) = &self.role {
            command.args(arguments);
        }
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

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Asks again and again until it is so. Fails after [`AGREED`].
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let mut ticks = interval(Duration::from_millis(20));
    let waiting = async {
        loop {
            ticks.tick().await;
            if is_so().await {
                return;
            }
        }
    };
    assert!(timeout(AGREED, waiting).await.is_ok(), "in vain waited for: {what}");
}
