//! Backends: from a request to the head of an answer, and a body that can be trusted to be whole when it ends.
//!
//! An [`Origin`] is one named backend with one or more endpoints. [`Origin::fetch`] waits for a place (`limit`), picks an
//! endpoint (`endpoint`), sends on a connection (`transport`, `pool`, `connect`), judges the head (`framing`) and hands
//! out the body under watch (`body`). A failed attempt is repeated only where that is safe and within a budget
//! (`origin`, `budget`). What fails again and again is left alone: one breaker per endpoint, and active checks (`health`).
//!
//! Dropping the future of a fetch, or the body of its answer, lets go of everything at once: the place, and the
//! connection, which is closed rather than kept with half an answer on it.

mod body;
mod budget;
mod connect;
mod endpoint;
mod error;
mod framing;
mod health;
mod interim;
mod limit;
mod origin;
mod outgoing;
mod pool;
mod settings;
mod tls;
mod transport;

#[cfg(test)]
mod tests_http2;
#[cfg(test)]
mod tests_service;
#[cfg(test)]
mod tests_wire;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

pub use body::InBody;
pub use error::{BoxError, FetchError, FetchErrorKind};
pub use framing::Framing;
pub use interim::{InterimSink, Interims, MAX_INTERIM};
pub use origin::{EndpointState, Fetched, Origin, OriginState};
pub use outgoing::empty_body;
pub use settings::{Endpoint, HealthSettings, OriginSettings, TlsSettings};
pub use transport::{HyperTransport, Service, Transport, TransportError};

/// The body of a request on its way to a backend.
pub type OutBody = UnsyncBoxBody<Bytes, BoxError>;
