//! A certificate authority for one server: made at its start, forgotten at its end.

use std::net::{IpAddr, Ipv4Addr};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

/// Certificates could not be made.
#[derive(Debug, thiserror::Error)]
#[error("making certificates: {0}")]
pub struct CertificateError(#[from] rcgen::Error);

/// A certificate and its key, as PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// Signs the certificates of one server and its clients.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub(crate) fn new() -> Result<Self, CertificateError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = name("braid-tests", &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            pem,
        })
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// For a server on loopback, with the name that all API servers have in common; it may be a client, too: etcd calls itself.
    pub(crate) fn server(&self, common_name: &str) -> Result<Pair, CertificateError> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned(), "kubernetes".to_owned()])?;
        params
            .subject_alt_names
            .push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, name(common_name, &[]))
    }

    /// For a client: to Kubernetes, the common name is the user and organizations are its groups.
    pub(crate) fn client(&self, user: &str, groups: &[&str]) -> Result<Pair, CertificateError> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, name(user, groups))
    }

    fn sign(&self, mut params: CertificateParams, subject: DistinguishedName) -> Result<Pair, CertificateError> {
        let key = KeyPair::generate()?;
        params.distinguished_name = subject;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        Ok(Pair {
            certificate: params.signed_by(&key, &self.issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// A key pair for tokens, as PEM: one half signs, the other one checks.
pub(crate) struct Tokens {
    pub(crate) private: String,
    pub(crate) public: String,
}

impl Tokens {
    pub(crate) fn new() -> Result<Self, CertificateError> {
        let key = KeyPair::generate()?;
        Ok(Self {
            private: key.serialize_pem(),
            public: key.public_key_pem(),
        })
    }
}

fn name(common_name: &str, organizations: &[&str]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for organization in organizations {
        name.push(DnType::OrganizationName, *organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pairs_are_pem_and_differ() {
        let authority = Authority::new().unwrap();
        let (one, other) = (authority.client("a", &["g"]).unwrap(), authority.server("b").unwrap());
        for pair in [&one, &other] {
            assert!(pair.certificate.starts_with("-----BEGIN CERTIFICATE-----"));
            assert!(pair.key.starts_with("-----BEGIN PRIVATE KEY-----"));
        }
        assert_ne!(one.key, other.key);
        assert!(authority.pem().starts_with("-----BEGIN CERTIFICATE-----"));
    }
}
