//! The files of a TLS connection, named the same way in every section: `ca_file`, `cert_file`, `key_file`.

use std::path::Path;

/// Files of PEM that a section names; an empty path is none.
#[derive(Debug, Clone, Copy)]
pub struct TlsFiles<'a> {
    pub section: &'static str,
    /// Whom to believe: certificates of authorities.
    pub ca_file: &'a str,
    /// Who we are.
    pub cert_file: &'a str,
    /// The key of that certificate.
    pub key_file: &'a str,
}

impl TlsFiles<'_> {
    /// Whether any of them is given, so that nothing but TLS is meant.
    pub fn any(&self) -> bool {
        [self.ca_file, self.cert_file, self.key_file].iter().any(|path| !path.is_empty())
    }

    /// One line for each file that is missing.
    pub fn problems(&self) -> Vec<String> {
        let Self { section, ca_file, cert_file, key_file } = self;
        let mut problems = Vec::new();
        for (name, path, other, wanted) in
            [("cert_file", cert_file, "key_file", key_file), ("key_file", key_file, "cert_file", cert_file)]
        {
            if !path.is_empty() && wanted.is_empty() {
                problems.push(format!(
                    "{section}.{name} is given and {section}.{other} is not; a certificate needs its key"
                ));
            }
        }
        for (name, path) in [("ca_file", ca_file), ("cert_file", cert_file)] {
            if !path.is_empty() && !Path::new(path).is_file() {
                problems.push(format!("{section}.{name}: the file {path} does not exist"));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ca_file: &str, cert_file: &str, key_file: &str, expected: &[&str]) {
        let files = TlsFiles { section: "nats", ca_file, cert_file, key_file };
        assert_eq!(files.problems(), expected);
    }

    #[test]
    fn a_certificate_comes_with_its_key_and_every_file_is_there() {
        let there = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        check("", "", "", &[]);
        check(there, there, there, &[]);
        check(there, "", "", &[]);
        check("", there, "", &["nats.cert_file is given and nats.key_file is not; a certificate needs its key"]);
        check("", "", there, &["nats.key_file is given and nats.cert_file is not; a certificate needs its key"]);
        check("/no/ca", "", "", &["nats.ca_file: the file /no/ca does not exist"]);
    }
}
