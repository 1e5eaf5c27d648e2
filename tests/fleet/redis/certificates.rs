//! Certificates for servers on TLS, each wrong in at most one thing.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

/// A certificate, its key and who has signed it, all as PEM.
pub struct Certificate {
    /// What clients have to trust.
    pub authority: String,
    pub chain: String,
    pub key: String,
}

impl Certificate {
    /// One that is good for 127.0.0.1 and localhost.
    pub fn good() -> Self {
        Self::signed(&Self::params(&["127.0.0.1", "localhost"]))
    }

    /// One that was good until the year 2000.
    pub fn expired() -> Self {
        let mut params = Self::params(&["127.0.0.1", "localhost"]);
        params.not_after = date_time_ymd(2000, 1, 1);
        Self::signed(&params)
    }

    /// One for somebody else.
    pub fn wrong_name() -> Self {
        Self::signed(&Self::params(&["elsewhere.example"]))
    }

    fn params(names: &[&str]) -> CertificateParams {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        CertificateParams::new(names).unwrap()
    }

    fn signed(params: &CertificateParams) -> Self {
        let mut of_authority = CertificateParams::new(Vec::new()).unwrap();
        of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let (key_of_authority, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let authority = of_authority.self_signed(&key_of_authority).unwrap().pem();
        let chain = params.signed_by(&key, &Issuer::new(of_authority, key_of_authority)).unwrap().pem();
        Self { authority, chain, key: key.serialize_pem() }
    }
}
