//! The two ends of the proxy's connections.

use std::io;
use std::sync::Arc;

use tokio_rustls::rustls::{
    self, ClientConfig, RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Why there is no proxy.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The certificates or the key cannot be read.
    #[error("the API server's certificates: {0}")]
    Pem(#[from] pem::Error),
    /// They cannot be used.
    #[error("the API server's certificates: {0}")]
    Tls(#[from] rustls::Error),
    /// No socket, or no threads.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// The API server's own certificate, with which the proxy stands in for it. It holds a key.
pub struct Identity {
    /// The cluster's authority, as PEM.
    pub authority: String,
    /// The API server's certificate, as PEM.
    pub certificate: String,
    /// Its key, as PEM.
    pub key: String,
}

impl Identity {
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, ProxyError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.certificate.as_bytes()).collect();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain?, key)?;
        Ok(Arc::new(config).into())
    }

    pub(super) fn connector(&self) -> Result<TlsConnector, ProxyError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.authority.as_bytes()) {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config).into())
    }
}
