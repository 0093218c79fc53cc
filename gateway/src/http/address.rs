//! Whose address a request comes from: the peer's, or what a proxy that we trust says of it.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts},
};

use crate::desk::Desk;

/// Where proxies write down whom they speak for, the nearest last.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The peer of a connection, noted by the accept path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// The client's address; None when there is no connection, as in a test of the routes.
pub(crate) struct ClientAddress(pub(crate) Option<IpAddr>);

impl FromRequestParts<Arc<Desk>> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Infallible> {
        Ok(Self(of(parts, desk)))
    }
}

pub(super) fn of(parts: &Parts, desk: &Desk) -> Option<IpAddr> {
    let Peer(peer) = parts.extensions.get()?;
    Some(client(peer.ip(), &parts.headers, desk.trusted_proxies()))
}

/// Addresses that share their first bits: `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    first: IpAddr,
    prefix_bits: u32,
}

impl Network {
    /// None when it is no network.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (first, prefix) = text.split_once('/').map_or((text, None), |(first, prefix)| (first, Some(prefix)));
        let first: IpAddr = first.parse().ok()?;
        let bits = if first.is_ipv4() { 32 } else { 128 };
        let prefix_bits = prefix.map_or(Some(bits), |prefix| prefix.parse().ok())?;
        (prefix_bits <= bits).then_some(Self { first, prefix_bits })
    }

    fn holds(self, address: IpAddr) -> bool {
        let differ = match (self.first, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => (ours.to_bits() ^ theirs.to_bits()).leading_zeros(),
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => (ours.to_bits() ^ theirs.to_bits()).leading_zeros(),
            _ => return false,
        };
        differ >= self.prefix_bits
    }
}

/// The nearest address that is no proxy of ours: what stands before it anybody may have written.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.holds(address));
    let mut nearest = peer.to_canonical();
    if trusted.is_empty() {
        return nearest;
    }
    let lines = headers.get_all(FORWARDED_FOR).iter().rev().filter_map(|line| line.to_str().ok());
    for named in lines.flat_map(|line| line.rsplit(',')) {
        if !is_trusted(nearest) {
            break;
        }
        let Ok(address) = named.trim().parse::<IpAddr>() else { break };
        nearest = address.to_canonical();
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(trusted: &[&str], peer: &str, forwarded: &[&str], expected: &str) {
        let trusted: Vec<_> = trusted.iter().map(|text| Network::parse(text).unwrap()).collect();
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        let found = client(peer.parse().unwrap(), &headers, &trusted);
        assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{trusted:?} {peer} {forwarded:?}");
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        check(&[], "192.0.2.1", &["198.51.100.7"], "192.0.2.1");
        check(&["10.0.0.0/8"], "192.0.2.1", &["198.51.100.7"], "192.0.2.1");
        check(&["10.0.0.0/8"], "10.1.2.3", &["198.51.100.7"], "198.51.100.7");
        check(&["10.0.0.0/8"], "::ffff:10.1.2.3", &["198.51.100.7"], "198.51.100.7");
        check(&["2001:db8::/32"], "2001:db8::1", &["198.51.100.7"], "198.51.100.7");
    }

    #[test]
    fn what_a_client_writes_before_it_is_not_believed() {
        check(&["10.0.0.0/8"], "10.1.2.3", &["1.1.1.1, 198.51.100.7"], "198.51.100.7");
        check(&["10.0.0.0/8"], "10.1.2.3", &["1.1.1.1, 198.51.100.7, 10.9.9.9"], "198.51.100.7");
        check(&["10.0.0.0/8"], "10.1.2.3", &["1.1.1.1", "198.51.100.7"], "198.51.100.7");
        check(&["10.0.0.0/8"], "10.1.2.3", &["198.51.100.7, nonsense"], "10.1.2.3");
        check(&["10.0.0.0/8"], "10.1.2.3", &["10.4.4.4"], "10.4.4.4");
        check(&["10.0.0.0/8"], "10.1.2.3", &[], "10.1.2.3");
    }

    #[test]
    fn what_is_no_network_is_none() {
        for text in ["", "10.0.0.0/33", "10.0.0/8", "proxy.example", "::/129", "10.0.0.0/x"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
