//! Commands that work by themselves.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::{CheckArgs, DemoArgs, ExplainArgs, Failure, RunArgs, block_on, say};
use crate::app::{App, Stop};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::serve::admit::Client;
use crate::serve::body::Body;
use crate::telemetry;

/// The file that is read when none is named.
const DEFAULT_FILE: &str = "config.toml";

pub(super) fn run(args: &RunArgs) -> Result<(), Failure> {
    let config = load(args)?;
    telemetry::init(&config.log, Clock::system()).map_err(Failure::new)?;
    serve(config, args)
}

pub(super) fn demo(args: &DemoArgs) -> Result<(), Failure> {
    if args.backend_only {
        let address = args.run.listen.as_deref().unwrap_or("127.0.0.1:8081");
        let address: SocketAddr = address
            .parse()
            .map_err(|_| Failure { message: format!("--listen: `{address}` is no address"), code: 2 })?;
        return block_on(crate::app::backend_only(address))?
            .map_err(|error| Failure { message: error.to_string(), code: 2 });
    }
    let mut overrides = args.run.overrides();
    overrides.origin_unless_given("demo");
    let config = match &args.run.config {
        Some(file) => config::load(file, &overrides),
        None => config::parse("", "the demo's configuration", &overrides),
    };
    let config = config.map_err(Failure::new)?;
    telemetry::init(&config.log, Clock::system()).map_err(Failure::new)?;
    serve(config, &args.run)
}

pub(super) fn check(args: &CheckArgs) -> Result<(), Failure> {
    if args.reference {
        print!("{}", config::reference());
        return Ok(());
    }
    let (file, config) = read(&args.run);
    let config = config.map_err(Failure::new)?;
    if !config.warnings.is_empty() {
        say(format_args!("{}", config.warnings));
    }
    say(format_args!(
        "{}: {} route(s), {} origin(s), no errors",
        name(file.as_deref()),
        config.policy.routes.len(),
        config.origins.len()
    ));
    Ok(())
}

pub(super) fn explain(args: &ExplainArgs, url: &str) -> Result<(), Failure> {
    let config = load(&args.run)?;
    let request = request(args, url)?;
    let said = block_on(async {
        let app = App::build(config, Clock::system()).map_err(Failure::new)?;
        let client = Client { address: SocketAddr::from(([127, 0, 0, 1], 0)), secure: url.starts_with("https:") };
        Ok::<_, Failure>(app.gateway().explain(client, request, true).await)
    })??;
    if args.json {
        say(format_args!("{}", serde_json::to_string_pretty(&said).map_err(Failure::new)?));
    } else {
        say(format_args!("{}", said.text()));
    }
    Ok(())
}

fn request(args: &ExplainArgs, url: &str) -> Result<http::Request<Body>, Failure> {
    let wrong = |what: &str, error: String| Failure { message: format!("{what}: {error}"), code: 2 };
    let uri: http::Uri = url.parse().map_err(|error| wrong("URL", format!("{error}")))?;
    let host = uri.authority().map_or("localhost", http::uri::Authority::as_str).to_owned();
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
    let mut builder = http::Request::builder().method(args.method.as_str()).uri(path);
    let mut named_host = false;
    for line in &args.headers {
        let (name, value) =
            line.split_once(':').ok_or_else(|| wrong("-H", format!("`{line}` is not `name: value`")))?;
        named_host |= name.trim().eq_ignore_ascii_case("host");
        builder = builder.header(name.trim(), value.trim());
    }
    if !named_host {
        builder = builder.header(http::header::HOST, host);
    }
    builder.body(Body::empty()).map_err(|error| wrong("request", error.to_string()))
}

fn load(args: &RunArgs) -> Result<Config, Failure> {
    let (_, config) = read(args);
    let config = config.map_err(Failure::new)?;
    if !config.warnings.is_empty() {
        say(format_args!("{}", config.warnings));
    }
    Ok(config)
}

/// The file that was named must be there; the default one need not.
pub(super) fn read(args: &RunArgs) -> (Option<PathBuf>, Result<Config, config::Problems>) {
    let default = Path::new(DEFAULT_FILE);
    let file = args.config.clone().or_else(|| default.exists().then(|| default.to_owned()));
    let config = match &file {
        Some(file) => config::load(file, &args.overrides()),
        None => config::parse("", "the defaults", &args.overrides()),
    };
    (file, config)
}

fn name(file: Option<&Path>) -> String {
    file.map_or_else(|| String::from("the defaults"), |file| file.display().to_string())
}

fn serve(config: Config, args: &RunArgs) -> Result<(), Failure> {
    let _ = args;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::new)?;
    let ended = runtime.block_on(async {
        let app = App::build(config, Clock::system())?;
        let running = app.bind()?;
        running.announce();
        running.run(Stop::signals()).await;
        Ok::<_, crate::app::AppError>(())
    });
    // What is still running has had its grace period.
    runtime.shutdown_background();
    ended.map_err(|error| Failure { message: error.to_string(), code: error.exit_code() })
}
