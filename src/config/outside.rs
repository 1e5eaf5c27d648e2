//! What a configuration takes from outside its file: flags and variables that override it, and the variables and files
//! that it names.

use std::path::Path;

use crate::serve::Secret;

use super::problem::{Notes, Place, Wrong};

/// One value from the command line or the environment, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// As given.
    pub value: String,
    /// `--listen` or `FOREBAY_LISTEN`, for messages.
    pub source: &'static str,
}

/// What beats the file: flags, then environment variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--listen` or `FOREBAY_LISTEN`: the address in the clear, `[listen] http`.
    pub listen: Option<Override>,
    /// `--origin` or `FOREBAY_ORIGIN`: the default origin's URL or `demo`, `[origin] url`.
    pub origin: Option<Override>,
    /// `--admin` or `FOREBAY_ADMIN`: the admin address or `off`, `[admin] listen`.
    pub admin: Option<Override>,
    /// `--redis` or `FOREBAY_REDIS`: where Redis is, `[redis] url`.
    pub redis: Option<Override>,
}

impl Overrides {
    /// The given flags; where one is missing, the environment variable. An empty variable counts as missing.
    pub fn gather(
        listen: Option<String>,
        origin: Option<String>,
        admin: Option<String>,
        redis: Option<String>,
    ) -> Self {
        Self::gather_in([listen, origin, admin, redis], &Outside::REAL)
    }

    /// Uses `origin` where neither a flag nor a variable named one: for a command that brings its own backend.
    pub fn origin_unless_given(&mut self, origin: &str) {
        self.origin.get_or_insert_with(|| Override { value: origin.to_owned(), source: "the origin" });
    }

    /// In the order in which [`Overrides::gather`] takes them.
    pub(super) fn gather_in([listen, origin, admin, redis]: [Option<String>; 4], outside: &Outside) -> Self {
        let choose = |flag: Option<String>, names: [&'static str; 2]| {
            let [flag_name, variable] = names;
            let given = flag.map(|value| Override { value, source: flag_name });
            let set = || (outside.variable)(variable).filter(|value| !value.is_empty());
            given.or_else(|| set().map(|value| Override { value, source: variable }))
        };
        Self {
            listen: choose(listen, ["--listen", "FOREBAY_LISTEN"]),
            origin: choose(origin, ["--origin", "FOREBAY_ORIGIN"]),
            admin: choose(admin, ["--admin", "FOREBAY_ADMIN"]),
            redis: choose(redis, ["--redis", "FOREBAY_REDIS"]),
        }
    }
}

impl Override {
    /// The value in the given form; a wrong one is noted.
    pub(super) fn read<T>(&self, notes: &Notes, form: impl Fn(&str) -> Result<T, Wrong>) -> Option<T> {
        form(&self.value).map_err(|wrong| notes.error(Place::Flag(self.source), "", wrong)).ok()
    }
}

/// Everything that reading needs besides the file's own tables.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// Where problems go.
    pub(super) notes: &'a Notes,
    /// What beats the file.
    pub(super) overrides: &'a Overrides,
    /// Where secrets and certificates come from.
    pub(super) outside: &'a Outside,
}

/// The world around the file, as two functions so that tests can bring their own.
pub(super) struct Outside {
    /// The value of an environment variable.
    pub(super) variable: fn(&str) -> Option<String>,
    /// The content of a file. Relative names count from the working directory.
    pub(super) file: fn(&Path) -> std::io::Result<Vec<u8>>,
}

impl Outside {
    /// This process's environment and file system.
    pub(super) const REAL: Self = Self { variable: |name| std::env::var(name).ok(), file: |path| std::fs::read(path) };

    /// The secret that `written` names: `env:NAME`, `file:PATH`, or itself. The second value tells whether it stood in
    /// the file in the clear.
    pub(super) fn secret(&self, written: &str) -> Result<(Secret, bool), Wrong> {
        let (secret, in_clear) = self.text(written)?;
        if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Wrong::new("the secret does not fit into a header field")
                .hint("use letters, digits and punctuation, without spaces")
                .concealed());
        }
        Ok((Secret::new(secret), in_clear))
    }

    /// The text that `written` names: `env:NAME`, `file:PATH`, or itself, without blanks around it. The second value tells
    /// whether it stood in the file in the clear.
    pub(super) fn text(&self, written: &str) -> Result<(String, bool), Wrong> {
        let (content, in_clear) = if let Some(name) = written.strip_prefix("env:") {
            let missing = || {
                Wrong::new(format!("the environment variable {name} is not set"))
                    .hint("set it before the start; in Kubernetes, from a Secret")
            };
            ((self.variable)(name).ok_or_else(missing)?, false)
        } else if let Some(path) = written.strip_prefix("file:") {
            let unreadable = |error| Wrong::new(format!("the file {path} cannot be read: {error}"));
            let bytes = (self.file)(Path::new(path)).map_err(unreadable)?;
            let not_text = |_| Wrong::new(format!("the file {path} is not UTF-8"));
            (String::from_utf8(bytes).map_err(not_text)?, false)
        } else {
            (written.to_owned(), true)
        };
        let secret = content.trim();
        if secret.is_empty() {
            return Err(Wrong::new("the secret is empty").hint("an empty secret would let everybody in"));
        }
        Ok((secret.to_owned(), in_clear))
    }

    /// A file of PEM blocks, as far as it can be judged without looking inside.
    pub(super) fn pem(&self, path: &Path) -> Result<Vec<u8>, Wrong> {
        let path_shown = path.display();
        let content =
            (self.file)(path).map_err(|error| Wrong::new(format!("the file {path_shown} cannot be read: {error}")))?;
        if content.windows(11).any(|window| window == b"-----BEGIN ") {
            return Ok(content);
        }
        Err(Wrong::new(format!("the file {path_shown} holds nothing in PEM form"))
            .hint("it should contain a line that begins with -----BEGIN"))
    }
}
