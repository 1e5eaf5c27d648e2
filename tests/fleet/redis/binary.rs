//! Which server the tests run: `$REDIS_SERVER`, else `redis-server` or `valkey-server` on the path, else what
//! `scripts/tools.sh test` has unpacked below the target directory. Without one the tests fail and say what to type.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A server that can be run.
#[derive(Debug)]
pub struct Binary {
    pub path: PathBuf,
    /// The first number of its version. Clusters need 7.
    pub major: u32,
    /// `setpriv` is there to have it killed when the test's thread ends, however that ends.
    pub with_setpriv: bool,
}

/// The server of this machine, looked for once.
pub fn binary() -> &'static Binary {
    static FOUND: OnceLock<Binary> = OnceLock::new();
    FOUND.get_or_init(find)
}

impl Binary {
    /// The beginning of a command that runs it.
    pub fn command(&self) -> Command {
        if !self.with_setpriv {
            return Command::new(&self.path);
        }
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.path);
        command
    }
}

fn find() -> Binary {
    let chosen = std::env::var_os("REDIS_SERVER").map(PathBuf::from);
    let candidates = match &chosen {
        Some(path) => vec![path.clone()],
        None => vec!["redis-server".into(), "valkey-server".into(), unpacked()],
    };
    let Some((path, major)) = candidates.iter().find_map(|path| Some((path, version(path)?))) else {
        let next = if chosen.is_some() { "Set REDIS_SERVER to one that does" } else { "Type: scripts/tools.sh test" };
        panic!("no Redis server to test with: none of {candidates:?} runs. {next}")
    };
    // Asked to do nothing but what is needed, because some systems forbid it and some versions do not know it.
    let with_setpriv = says("setpriv", &["--pdeathsig", "KILL", "--", "true"]).is_some();
    Binary { path: path.clone(), major, with_setpriv }
}

/// Where `scripts/tools.sh test` puts a server that it had to fetch.
fn unpacked() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |chosen| root.join(chosen));
    target.join("redis/valkey-server")
}

/// The first number of the version that this server says it has, as in `Redis server v=7.0.15 …`.
fn version(path: &Path) -> Option<u32> {
    let said = says(path, &["--version"])?;
    said.split_once("v=")?.1.split('.').next()?.parse().ok()
}

/// What this command prints, if it runs and succeeds.
fn says(command: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Option<String> {
    let output = Command::new(command).args(arguments).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
