//! When certificates end: read from their files again and again, and told as a metric, so that an alert comes before the end.

use std::{path::PathBuf, sync::Arc, time::Duration};

use time::{Date, Month, OffsetDateTime, Time};
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::{
    lifecycle::Shutdown,
    metrics::{Metrics, Target},
};

/// How often files are looked at: certificates are renewed days before their end.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Notes when each file's certificate ends, under the name of what it is for, until shutdown.
pub async fn follow(files: Vec<(&'static str, PathBuf)>, metrics: Arc<Metrics>, until: Shutdown) {
    while !files.is_empty() && !until.is_asked() {
        for (target, path) in &files {
            let end = tokio::fs::read(path).await.ok().and_then(|pem| ends(&pem));
            match end {
                Some(end) => note(&metrics, target, end),
                None => tracing::warn!(target, path = %path.display(), "this certificate's end cannot be read"),
            }
        }
        tokio::select! {
            () = until.asked() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Notes when a certificate ends.
pub fn note(metrics: &Metrics, target: &'static str, end: OffsetDateTime) {
    metrics.certificate_expires.get_or_create(&Target { target }).set(end.unix_timestamp());
}

/// When the first of the certificates in a PEM ends, whichever it is: with it the chain does.
pub fn ends(pem: &[u8]) -> Option<OffsetDateTime> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    certificates.ok()?.iter().map(|certificate| not_after(certificate)).collect::<Option<Vec<_>>>()?.into_iter().min()
}

/// The end of a certificate's validity: `Certificate { TBSCertificate { [0] version?, serial, signature, issuer, validity …`,
/// each part with its tag and length before it (X.509, DER). The one date is all that is wanted of it.
pub fn not_after(der: &[u8]) -> Option<OffsetDateTime> {
    let (certificate, _) = part(der, SEQUENCE)?;
    let (mut rest, _) = part(certificate, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        (_, rest) = part(rest, VERSION)?;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        (_, rest) = part(rest, tag)?;
    }
    let (validity, _) = part(rest, SEQUENCE)?;
    let (_, after_begin) = part(validity, *validity.first()?)?;
    let tag = *after_begin.first()?;
    let (end, _) = part(after_begin, tag)?;
    moment(tag, std::str::from_utf8(end).ok()?)
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The content of the part at the beginning, and what follows it; None when it is another or reaches past the end.
fn part(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0usize, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    (found == tag).then(|| rest.split_at_checked(length))?
}

/// `YYMMDDHHMMSSZ`, where 50 is 1950 and 49 is 2049, or `YYYYMMDDHHMMSSZ`.
fn moment(tag: u8, text: &str) -> Option<OffsetDateTime> {
    let digits = text.strip_suffix('Z').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let year: i32 = digits[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &digits[2..])
        }
        (GENERALIZED_TIME, 14) => (digits[..4].parse().ok()?, &digits[4..]),
        _ => return None,
    };
    let number = |at: usize| rest[at..at + 2].parse::<u8>().ok();
    let date = Date::from_calendar_date(year, Month::try_from(number(0)?).ok()?, number(2)?).ok()?;
    Some(date.with_time(Time::from_hms(number(4)?, number(6)?, number(8)?).ok()?).assume_utc())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::{OffsetDateTime, macros::datetime};

    use super::*;

    fn certificate(end: OffsetDateTime) -> rcgen::Certificate {
        let mut params = rcgen::CertificateParams::new(vec!["desk.example".to_owned()]).unwrap();
        params.not_after = end;
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap()
    }

    #[track_caller]
    fn check(end: OffsetDateTime) {
        assert_eq!(ends(certificate(end).pem().as_bytes()), Some(end));
    }

    #[test]
    fn the_end_is_read() {
        check(datetime!(2027-03-04 05:06:07 UTC));
        // Later ones have four digits of a year.
        check(datetime!(2051-12-31 23:59:59 UTC));
        let chain =
            certificate(datetime!(2030-01-01 0:00 UTC)).pem() + &certificate(datetime!(2029-01-01 0:00 UTC)).pem();
        assert_eq!(ends(chain.as_bytes()), Some(datetime!(2029-01-01 0:00 UTC)));
        assert_eq!(ends(b"no certificate"), None);
        assert_eq!(ends(b""), None);
    }

    proptest! {
        #[test]
        fn junk_has_no_end_and_harms_nobody(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0..400usize) {
            let _ = not_after(&bytes);
            let der = certificate(datetime!(2027-03-04 05:06:07 UTC)).der().to_vec();
            let _ = not_after(&der[..cut.min(der.len())]);
        }
    }
}
