//! The gateway's process: started with a configuration, killed when dropped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long anything may take that should happen at once. Generous, because machines that run tests are busy.
pub const SOON: Duration = Duration::from_secs(10);

/// A file that is gone when this is dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str, content: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("forebay-wire-{}-{count}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A process that may or may not have come up.
pub struct Process {
    child: Child,
    output: Output,
    _config: Scratch,
}

/// A gateway that listens.
pub struct Gateway {
    process: Process,
    /// Where it serves: in the clear first, then on TLS.
    pub data: Vec<SocketAddr>,
    pub admin: SocketAddr,
}

/// The lines a process has printed, on either stream.
#[derive(Clone)]
struct Output {
    lines: Arc<Mutex<Vec<String>>>,
    count: watch::Sender<usize>,
}

impl Output {
    fn collect(&self, from: impl AsyncRead + Unpin + Send + 'static) {
        let this = self.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(from).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                this.lines.lock().unwrap().push(line);
                this.count.send_modify(|count| *count += 1);
            }
        });
    }

    fn text(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    fn after(&self, prefix: &str) -> Vec<SocketAddr> {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter_map(|line| line.strip_prefix(prefix)).map(|rest| rest.parse().unwrap()).collect()
    }
}

impl Process {
    /// Starts `forebay run` with this configuration and these further arguments.
    pub fn start(config: &str, arguments: &[&str]) -> Self {
        let config = Scratch::new("config.toml", config);
        // As many files as the system allows: a crowd of clients comes with some tests.
        let mut child = Command::new("sh")
            .args([
                "-c",
                "ulimit -n $(ulimit -Hn); exec \"$0\" \"$@\"",
                env!("CARGO_BIN_EXE_forebay"),
                "run",
                "--config",
            ])
            .arg(config.path())
            .args(arguments)
            .env_remove("FOREBAY_LISTEN")
            .env_remove("FOREBAY_ORIGIN")
            .env_remove("FOREBAY_ADMIN")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let output = Output { lines: Arc::default(), count: watch::Sender::new(0) };
        output.collect(child.stdout.take().unwrap());
        output.collect(child.stderr.take().unwrap());
        Self { child, output, _config: config }
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        self.output.text()
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let Ok(status) = timeout(SOON * 2, self.child.wait()).await else {
            panic!("the gateway has not ended; it says:\n{}", self.output())
        };
        status.unwrap()
    }

    /// Waits until it has printed something that contains `text`; its last words may come after its end.
    pub async fn says(&self, text: &str) {
        let mut count = self.output.count.subscribe();
        let said = count.wait_for(|_| self.output().contains(text));
        assert!(timeout(SOON, said).await.is_ok(), "it does not say {text:?} but:\n{}", self.output());
    }
}

impl Gateway {
    /// Starts a gateway on free ports in front of `origin`, and waits until it listens.
    pub async fn start(config: &str, origin: SocketAddr) -> Self {
        let listeners = if config.contains("https = ") { 2 } else { 1 };
        let mut config = config.to_owned();
        if !config.contains("[log]") {
            config.push_str("\n[log]\nlevel = \"warn\"\naccess = \"off\"\nto = \"stderr\"\n");
        }
        let origin = format!("http://{origin}");
        let on = "127.0.0.1:0";
        let process = Process::start(&config, &["--origin", &origin, "--listen", on, "--admin", on]);
        process.says("admin on http://").await;
        let (data, admin) = (process.output.after("forebay listens on "), process.output.after("admin on http://"));
        assert_eq!((data.len(), admin.len()), (listeners, 1), "{}", process.output());
        Self { process, data, admin: admin[0] }
    }

    /// Where it serves in the clear.
    pub fn address(&self) -> SocketAddr {
        self.data[0]
    }

    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Sends it a signal, by its name.
    pub async fn signal(&self, name: &str) {
        let id = self.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().await.unwrap().success());
    }

    pub async fn ended(&mut self) -> ExitStatus {
        self.process.ended().await
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.process.child.id().expect("it has ended")
    }

    /// How many files it has open.
    pub fn open_files(&self) -> usize {
        let id = self.id();
        std::fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count)
    }

    /// Fails if it has ended or has panicked.
    #[track_caller]
    pub fn is_well(&self) {
        let output = self.output();
        assert!(self.process.child.id().is_some() && !output.contains("panicked"), "it is not well:\n{output}");
    }
}
