//! Whom to believe to be the backend.

use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::settings::TlsSettings;
use super::transport::TransportError;

/// The client's side of TLS: verification as the settings say, and `h2` offered before `http/1.1` if wanted.
///
/// # Errors
/// If there is nothing to trust: no certificate in the given PEM, or none in the system.
pub(super) fn client_config(settings: &TlsSettings, http2: bool) -> Result<ClientConfig, TransportError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| TransportError::new(format!("TLS cannot be set up: {error}")))?;
    let builder = match (settings.insecure, &settings.ca_file) {
        (true, _) => builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny { provider })),
        (false, Some(pem)) => builder.with_root_certificates(roots(pem)?),
        (false, None) => builder
            .with_native_roots()
            .map_err(|error| TransportError::new(format!("the system's certificates cannot be used: {error}")))?,
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Ok(config)
}

fn roots(pem: &[u8]) -> Result<RootCertStore, TransportError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate =
            certificate.map_err(|error| TransportError::new(format!("the CA file is not PEM: {error}")))?;
        roots
            .add(certificate)
            .map_err(|error| TransportError::new(format!("the CA file holds an unusable certificate: {error}")))?;
    }
    if roots.is_empty() {
        return Err(TransportError::new("the CA file holds no certificate"));
    }
    Ok(roots)
}

/// Believes everyone, but still checks that whoever it is holds the key of the certificate shown.
#[derive(Debug)]
struct AcceptAny {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
