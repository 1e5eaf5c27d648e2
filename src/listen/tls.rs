//! TLS: one certificate, ALPN for HTTP/2 and HTTP/1.1, and a new certificate without a restart.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::{ListenError, TlsFiles};

/// The certificate in use. Clones are the same one.
#[derive(Clone)]
pub struct Tls {
    files: TlsFiles,
    config: Arc<ArcSwap<ServerConfig>>,
}

impl Tls {
    pub(super) fn load(files: &TlsFiles) -> Result<Self, ListenError> {
        let config = Arc::new(ArcSwap::from_pointee(read(files)?));
        Ok(Self { files: files.clone(), config })
    }

    /// Reads the files again, for new connections. On error the old certificate stays.
    pub fn reload(&self) -> Result<(), ListenError> {
        self.config.store(Arc::new(read(&self.files)?));
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }
}

fn read(files: &TlsFiles) -> Result<ServerConfig, ListenError> {
    let certs: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(&files.cert, "certificate", &error))?;
    if certs.is_empty() {
        return Err(unusable(&files.cert, "certificate", &"there is no CERTIFICATE section in it"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| unusable(&files.key, "key", &error))?;

    // Named, not the process's default: which provider is installed must not depend on what else is linked in.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certs, key))
        .map_err(|error| unusable(&files.cert, "certificate and key", &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn unusable(path: &Path, what: &'static str, why: &impl ToString) -> ListenError {
    ListenError::Tls { path: path.to_owned(), what, why: why.to_string() }
}
