//! TLS in front of a server that was built without it: what comes is decrypted and passed on.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::{Certificate, ports};

/// A listener on TLS. It ends, with its connections, when it is dropped.
pub struct Front {
    pub port: u16,
    _accepting: JoinSet<()>,
}

impl Front {
    /// Listens on a free port, shows this certificate, and passes on to `target`.
    pub async fn start(certificate: &Certificate, target: SocketAddr) -> Self {
        let listener = ports::listener().await;
        let port = listener.local_addr().unwrap().port();
        let acceptor = acceptor(certificate);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(pass_on(acceptor.clone(), socket, target));
            }
        });
        Self { port, _accepting: accepting }
    }
}

/// Passes on what comes; without the server behind it, the connection ends.
async fn pass_on(acceptor: TlsAcceptor, socket: TcpStream, target: SocketAddr) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let _ = (socket.set_nodelay(true), server.set_nodelay(true));
    if let Ok(mut client) = acceptor.accept(socket).await {
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}

fn acceptor(certificate: &Certificate) -> TlsAcceptor {
    let chain = vec![CertificateDer::from_pem_slice(certificate.chain.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}
