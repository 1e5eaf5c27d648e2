//! Binding: all addresses or none, with an error that says what to do.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Why it could not be listened.
#[derive(Debug)]
pub enum ListenError {
    /// The settings make no sense; a sentence says why.
    Settings(String),
    /// The address could not be bound.
    Address {
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The certificate or the key cannot be used.
    Tls {
        /// Which file.
        path: PathBuf,
        /// What it was to be.
        what: &'static str,
        /// Why it is not.
        why: String,
    },
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(problem) => f.write_str(problem),
            Self::Address { address, error } => match hint(error, *address) {
                Some(hint) => write!(f, "cannot listen on {address}: {hint}"),
                None => write!(f, "cannot listen on {address}: {error}"),
            },
            Self::Tls { path, what, why } => write!(f, "cannot use {} as TLS {what}: {why}", path.display()),
        }
    }
}

impl Error for ListenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Address { error, .. } => Some(error),
            Self::Settings(_) | Self::Tls { .. } => None,
        }
    }
}

fn hint(error: &io::Error, address: SocketAddr) -> Option<String> {
    Some(match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "the address is in use. Another program, perhaps another Forebay, has port {0}; `ss -ltnp 'sport = :{0}'` \
             names it. Stop it or choose another port",
            address.port()
        ),
        io::ErrorKind::PermissionDenied => format!(
            "permission denied. Ports below 1024 need a privilege; choose a port above (such as 8080), or grant \
             CAP_NET_BIND_SERVICE for port {}",
            address.port()
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("this machine has no address {}. Use 0.0.0.0 or [::] to listen on all it has", address.ip())
        }
        _ => return None,
    })
}

/// Binds and listens. Must be called inside a tokio runtime.
pub(super) fn bind(address: SocketAddr, backlog: u32) -> Result<TcpListener, ListenError> {
    let open = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // Only for what lingers in TIME_WAIT: a port that someone listens on stays taken.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        TcpListener::from_std(socket.into())
    };
    open().map_err(|error| ListenError::Address { address, error })
}

/// How many connections may be open at once when `asked` are wanted: a quarter of the files this process may open is kept
/// for backends, Redis and the log.
pub(super) fn affordable(asked: usize) -> usize {
    // Linux tells; elsewhere the operator's number stands.
    match std::fs::read_to_string("/proc/self/limits").ok().as_deref().and_then(open_files) {
        Some(files) => asked.min((files - files / 4).max(1)),
        None => asked,
    }
}

/// The soft limit of open files in the text of `/proc/self/limits`; none if unlimited.
fn open_files(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_read() {
        let check = |text, expected| assert_eq!(open_files(text), expected, "{text}");
        check(
            "Limit  Soft Limit\nMax open files            1024                 524288               files\n",
            Some(1024),
        );
        check("Max open files            unlimited            unlimited            files", None);
        check("Max processes 3 4", None);
    }

    #[test]
    fn a_hint_says_what_to_do() {
        let address: SocketAddr = ([127, 0, 0, 1], 80).into();
        let check = |kind: io::ErrorKind, expected: &str| {
            let text = ListenError::Address { address, error: kind.into() }.to_string();
            assert!(text.starts_with("cannot listen on 127.0.0.1:80: ") && text.contains(expected), "{text}");
        };
        check(io::ErrorKind::AddrInUse, "has port 80");
        check(io::ErrorKind::PermissionDenied, "choose a port above");
        check(io::ErrorKind::AddrNotAvailable, "no address 127.0.0.1");
        check(io::ErrorKind::Unsupported, "unsupported");
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let first = bind(([127, 0, 0, 1], 0).into(), 16).unwrap();
        let error = bind(first.local_addr().unwrap(), 16).unwrap_err().to_string();
        assert!(error.contains(&first.local_addr().unwrap().to_string()), "{error}");
        assert!(error.contains("in use"), "{error}");
    }
}
