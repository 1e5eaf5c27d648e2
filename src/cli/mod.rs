//! The command line: `forebay run · check · explain · purge · stat · demo`. `forebay` alone is `forebay run`.
//!
//! Exit codes: 0 done; 1 the configuration has problems, or what was asked for did not work; 2 the command line is wrong,
//! or an address cannot be listened on.

mod event;
mod live;
mod local;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::Overrides;

/// A caching gateway for REST backends.
#[derive(Debug, Parser)]
#[command(name = "forebay", version, about, long_about = None, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the gateway (also without a command)
    Run(RunArgs),
    /// Reports every problem of a configuration, with file, line and a hint
    Check(CheckArgs),
    /// Tells why a URL is, or is not, cached; or what a message of the backend would change
    Explain(ExplainArgs),
    /// Purges what a running gateway has stored
    Purge(PurgeArgs),
    /// Shows hit ratios, latencies and backends of a running gateway
    Stat(StatArgs),
    /// Runs a sample backend with a gateway in front of it; needs no set-up
    Demo(DemoArgs),
}

/// Where the configuration comes from, and what overrides it.
#[derive(Args, Clone, Debug)]
struct RunArgs {
    /// The configuration file [default: config.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The address to serve on; also `FOREBAY_LISTEN`
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// The backend's URL, or `demo`; also `FOREBAY_ORIGIN`
    #[arg(long, value_name = "URL")]
    origin: Option<String>,
    /// The admin listener's address; also `FOREBAY_ADMIN`
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// The Redis that the fleet shares; also `FOREBAY_REDIS`
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
}

#[derive(Args, Debug)]
struct CheckArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Prints every setting there is, with unit, default and a sentence
    #[arg(long)]
    reference: bool,
}

#[derive(Args, Debug)]
struct ExplainArgs {
    #[command(flatten)]
    run: RunArgs,
    /// The request's method
    #[arg(short = 'X', long, default_value = "GET", value_name = "M")]
    method: String,
    /// A request field; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Asks the gateway that runs with this admin address what it has stored, instead of the configuration alone
    #[arg(long)]
    live: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    /// The channel that the message was published on [default: every rule is tried]
    #[arg(long, value_name = "NAME", requires = "event", conflicts_with = "url")]
    channel: Option<String>,
    #[command(flatten)]
    of: Explained,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Explained {
    /// Tells what the message in this file would change; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["live", "method", "headers"])]
    event: Option<PathBuf>,
    /// A path, or a URL
    url: Option<String>,
}

#[derive(Args, Debug)]
struct Remote {
    /// The admin listener of the running gateway; also `FOREBAY_ADMIN`
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// The admin token; also `FOREBAY_ADMIN_TOKEN`, which does not show in the list of processes
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
}

#[derive(Args, Debug)]
struct PurgeArgs {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    what: What,
    /// Counts as stale instead of gone: served once more while it is refreshed
    #[arg(long)]
    soft: bool,
    /// Returns when every node has applied it
    #[arg(long, value_name = "fleet")]
    wait: Option<String>,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct What {
    /// A URL, or a path on every host, with all variants
    #[arg(long)]
    url: Option<String>,
    /// Everything with this tag
    #[arg(long)]
    tag: Option<String>,
    /// Everything below this path
    #[arg(long)]
    prefix: Option<String>,
    /// Everything
    #[arg(long)]
    all: bool,
}

#[derive(Args, Debug)]
struct StatArgs {
    #[command(flatten)]
    remote: Remote,
    /// Shows it again every second
    #[arg(long)]
    watch: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct DemoArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Only the sample backend, on --listen
    #[arg(long)]
    backend_only: bool,
}

/// Parses the command line, does what it says, and says how it went.
pub fn main() -> ExitCode {
    let Cli { command, run } = Cli::parse();
    // One provider for the whole process, before anything makes a TLS configuration.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let done = match command {
        None => local::run(&run),
        Some(Command::Run(run)) => local::run(&run),
        Some(Command::Check(args)) => local::check(&args),
        Some(Command::Explain(args)) => explain(&args),
        Some(Command::Purge(args)) => live::purge(args),
        Some(Command::Stat(args)) => live::stat(&args),
        Some(Command::Demo(args)) => local::demo(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { message, code }) => {
            eprintln!("{message}");
            ExitCode::from(code)
        }
    }
}

fn explain(args: &ExplainArgs) -> Result<(), Failure> {
    match &args.of {
        Explained { event: Some(file), .. } => event::explain(args, file),
        Explained { url: Some(url), .. } if args.live => live::explain(args, url),
        Explained { url: Some(url), .. } => local::explain(args, url),
        Explained { url: None, event: None } => {
            Err(Failure { message: String::from("name a URL, or a message with --event"), code: 2 })
        }
    }
}

/// Says something on standard output. If nobody listens there, nothing is lost.
pub fn say(text: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Why a command did not do what was asked.
#[derive(Debug)]
struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    #[allow(clippy::needless_pass_by_value)] // So that it fits `map_err`.
    fn new(message: impl ToString) -> Self {
        Self { message: message.to_string(), code: 1 }
    }
}

impl RunArgs {
    /// Flags override the environment, which overrides the file.
    fn overrides(&self) -> Overrides {
        Overrides::gather(self.listen.clone(), self.origin.clone(), self.admin.clone(), self.redis.clone())
    }
}

impl Remote {
    fn address(&self) -> String {
        let given = self.admin.clone().or_else(|| std::env::var("FOREBAY_ADMIN").ok());
        given.unwrap_or_else(|| String::from("127.0.0.1:9090"))
    }

    fn token(&self) -> Option<String> {
        self.token.clone().or_else(|| std::env::var("FOREBAY_ADMIN_TOKEN").ok())
    }
}

/// A runtime for commands that ask one thing.
fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::new)?;
    Ok(runtime.block_on(future))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_url_is_explained_or_a_message() {
        for (line, expected) in [
            ("explain /a", true),
            ("explain -X HEAD -H a:b --live /a", true),
            ("explain --event -", true),
            ("explain --event m.json --channel c --json --config f", true),
            ("explain", false),
            ("explain /a --event -", false),
            ("explain /a --channel c", false),
            ("explain --event - --live", false),
            ("explain --event - -X HEAD", false),
            ("explain --event - -H a:b", false),
        ] {
            let words = ["forebay"].into_iter().chain(line.split(' '));
            assert_eq!(Cli::try_parse_from(words).is_ok(), expected, "{line}");
        }
    }
}
