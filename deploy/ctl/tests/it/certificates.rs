//! Authorities that are made for a test, and what they vouch for: this machine by its address and its name.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// An authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub(crate) pem: String,
}

/// A certificate and its key, in PEM.
pub(crate) struct Certified {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let (mut params, key) = (CertificateParams::new(Vec::new()).unwrap(), KeyPair::generate().unwrap());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Vouches for somebody on this machine.
    pub(crate) fn vouch(&self, name: &str) -> Certified {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["127.0.0.1", "localhost"].map(str::to_owned)).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        Certified { cert: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }
}
