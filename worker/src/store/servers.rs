//! Which of several servers is written to: addresses as libpq writes them, and the choice among those that answer.

/// A database's servers, each by an address of its own: `postgres://user@a:5432,b:5432/name` names two.
///
/// libpq's `target_session_attrs` is read and does nothing: what is written always goes to a primary.
pub fn each(url: &str) -> Vec<String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", url));
    let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), authority),
    };
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    let query: Vec<&str> =
        query.split('&').filter(|part| !part.is_empty() && !part.starts_with("target_session_attrs=")).collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    hosts.split(',').map(|host| format!("{scheme}://{user}{}{path}{query}", host.trim())).collect()
}

/// A server that may be written to, and which history it writes: every promotion begins a new one, with the next number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Writable {
    pub timeline: u32,
}

/// Where to write. The newest history counts: a server that was a primary, and comes back not knowing that another has taken
/// over, is on an older one. None when nobody is writable, or nobody on as new a history as was known.
pub fn choose(servers: &[Option<Writable>], known: Option<(usize, u32)>) -> Option<(usize, u32)> {
    let oldest = known.map_or(0, |(_, timeline)| timeline);
    let newest = servers.iter().flatten().map(|server| server.timeline).max().filter(|newest| *newest >= oldest)?;
    let is_newest = |place: &usize| servers.get(*place).copied().flatten() == Some(Writable { timeline: newest });
    let same = known.map(|(place, _)| place).filter(is_newest);
    same.or_else(|| (0..servers.len()).find(is_newest)).map(|place| (place, newest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_are_told_apart_and_share_the_rest() {
        assert_eq!(
            each("postgres://me:p%2Cw@a:1,b:2/desk?target_session_attrs=read-write&sslmode=verify-full"),
            ["postgres://me:p%2Cw@a:1/desk?sslmode=verify-full", "postgres://me:p%2Cw@b:2/desk?sslmode=verify-full"]
        );
        assert_eq!(each("postgres://a/desk"), ["postgres://a/desk"]);
        assert_eq!(each("postgres:///desk?host=/run/postgresql"), ["postgres:///desk?host=/run/postgresql"]);
        assert_eq!(each("postgres://a,b"), ["postgres://a", "postgres://b"]);
    }

    #[test]
    fn the_newest_history_is_written() {
        let at = |timeline| Some(Writable { timeline });
        assert_eq!(choose(&[None, at(1)], None), Some((1, 1)));
        assert_eq!(choose(&[at(1), at(2)], Some((0, 1))), Some((1, 2)), "another has taken over");
        assert_eq!(choose(&[at(1), None], Some((1, 2))), None, "the old one came back, the new one is away");
        assert_eq!(choose(&[at(3), at(3)], Some((1, 3))), Some((1, 3)), "no reason to leave");
        assert_eq!(choose(&[None, None], Some((0, 1))), None);
    }

    proptest! {
        #[test]
        fn nobody_goes_back_in_history(
            timelines in proptest::collection::vec(proptest::option::of(0..4_u32), 0..4), known in 0..4_u32,
        ) {
            let servers: Vec<_> = timelines.iter().map(|one| one.map(|timeline| Writable { timeline })).collect();
            if let Some((place, timeline)) = choose(&servers, Some((0, known))) {
                prop_assert!(timeline >= known);
                prop_assert_eq!(servers[place], Some(Writable { timeline }));
            }
        }
    }
}
