//! From `config.toml` to what each room runs with.
//!
//! ```text
//!  config.toml ──toml──▶ tables with places ──Reader + values──▶ settings ──checks──▶ Config
//!                                     │                                        │
//!                                     └────────────── Notes ───────────────────┴─────▶ Problems
//! ```
//!
//! Each room defines its own settings and their defaults; this room alone knows the file. It reads key by key rather
//! than by derive, because then every problem has its exact place, none hides another, and an unknown key can be
//! answered with the one that was meant. Reading lives in one file per part of the configuration (`doors`, `origin`,
//! `route`, `change`, `node`), the forms of values in `values`, what must hold between the parts in `compile`. `reference` lists
//! every key once, for people; tests hold it and the code together.

mod change;
mod compile;
mod doors;
mod node;
mod origin;
mod outside;
mod problem;
mod reader;
mod redis;
mod reference;
mod route;
mod similar;
mod values;

use std::path::Path;

use toml::de::DeTable;

use crate::changes::ChangeRuleSettings;
use crate::listen::ListenSettings;
use crate::policy::PolicySettings;
use crate::serve::GatewaySettings;
use crate::store::MemorySettings;
use crate::telemetry::LogSettings;

pub use crate::admin::AdminSettings;
pub use origin::{OriginEntry, OriginKind};
pub use outside::{Override, Overrides};
pub use problem::{Problem, Problems, Severity};
pub use redis::RedisEntry;
pub use reference::{SETTINGS, Setting, reference};

use outside::{Outside, Surroundings};
use problem::{Notes, Place, Wrong};
use reader::Reader;

/// A configuration without errors: the settings of every room.
#[derive(Clone, Debug)]
pub struct Config {
    /// The sockets for clients.
    pub listen: ListenSettings,
    /// The socket for operators.
    pub admin: AdminSettings,
    /// The backends; at least one, names unique.
    pub origins: Vec<OriginEntry>,
    /// The entries in memory.
    pub memory: MemorySettings,
    /// The routes. `Policy::compile` has accepted them once.
    pub policy: PolicySettings,
    /// What the backend's messages change. `ChangeRules::compile` has accepted them once.
    pub changes: Vec<ChangeRuleSettings>,
    /// What the fleet shares, and how this node is one of it; `None`: it is on its own.
    pub redis: Option<RedisEntry>,
    /// The gateway as one node among proxies.
    pub gateway: GatewaySettings,
    /// The log.
    pub log: LogSettings,
    /// What was accepted, and what it costs; for the log at start and for `forebay check`.
    pub warnings: Problems,
}

/// Reads the file at `path`.
///
/// # Errors
/// All problems at once, in the order of the file, warnings among them. A file that cannot be read is one problem.
pub fn load(path: &Path, overrides: &Overrides) -> Result<Config, Problems> {
    let name = path.display().to_string();
    let content = std::fs::read(path).map_err(|error| {
        Problems::of_file(&name, format!("cannot be read: {error}"), "name another file with --config")
    })?;
    let text = String::from_utf8(content)
        .map_err(|_| Problems::of_file(&name, "is not UTF-8".to_owned(), "save the file as UTF-8"))?;
    parse(&text, &name, overrides)
}

/// Reads `text`, the content of the file called `name`. Secrets and certificates that it names are read as well.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, name: &str, overrides: &Overrides) -> Result<Config, Problems> {
    parse_in(text, name, overrides, &Outside::REAL)
}

fn parse_in(text: &str, name: &str, overrides: &Overrides, outside: &Outside) -> Result<Config, Problems> {
    let notes = Notes::default();
    let (document, mistakes) = DeTable::parse_recoverable(text);
    if !mistakes.is_empty() {
        syntax(&mistakes, text, &notes);
        return Err(notes.into_problems(name, text));
    }
    let surroundings = Surroundings { notes: &notes, overrides, outside };
    let config = compile::compile(&Reader::of(&document, &notes), surroundings);
    let problems = notes.into_problems(name, text);
    if problems.errors() == 0 { Ok(Config { warnings: problems, ..config }) } else { Err(problems) }
}

/// Notes the mistakes in the syntax, the first of each line: the others on it are mostly its consequences. Nothing else is
/// checked then, because what was recovered from such a file is not what was written.
fn syntax(mistakes: &[toml::de::Error], text: &str, notes: &Notes) {
    let mut lines = Vec::new();
    for mistake in mistakes {
        let span = mistake.span().unwrap_or_default();
        let line = text.bytes().take(span.start).filter(|byte| *byte == b'\n').count();
        if !lines.contains(&line) {
            lines.push(line);
            notes.error(Place::Span(span), "", Wrong::new(mistake.message()));
        }
    }
}

#[cfg(test)]
mod tests;
