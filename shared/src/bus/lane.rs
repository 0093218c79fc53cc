//! Lanes: the subjects and streams of a replay, apart from the live ones; mapped here, at the one door, and known nowhere else.

use std::{borrow::Cow, sync::Arc};

use super::BusError;
use crate::subject;

/// The longest name of a lane in characters.
const LANE_CHARS_MAX: usize = 32;

/// What the streams of every lane begin with.
const STREAMS: &str = "SHADOW";

/// On which subjects and streams a process works: the live ones, or those of one replay.
///
/// In a lane `chat.v1.…` becomes `shadow.<lane>.…` on its way out and is mapped back on its way in, and the stream `ASK`
/// is called `SHADOW_<LANE>_ASK`. Buckets and objects stay the live ones, to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lane(Option<Arc<str>>);

/// Why a text names no lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("give 1 to {LANE_CHARS_MAX} lower-case letters, digits, '_' or '-'")]
pub struct LaneError;

impl Lane {
    /// Parses a lane's name; the empty one is the live fleet.
    pub fn parse(text: &str) -> Result<Self, LaneError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        match text {
            "" => Ok(Self(None)),
            name if name.len() <= LANE_CHARS_MAX && name.bytes().all(plain) => Ok(Self(Some(name.into()))),
            _ => Err(LaneError),
        }
    }

    pub fn is_live(&self) -> bool {
        self.0.is_none()
    }

    /// Empty for the live fleet.
    pub fn name(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// The stream's name in this lane; upper case, since lower-case names of lanes stay as different as they were.
    pub fn stream<'a>(&self, name: &'a str) -> Cow<'a, str> {
        match &self.0 {
            None => Cow::Borrowed(name),
            Some(lane) => Cow::Owned(format!("{STREAMS}_{}_{name}", lane.to_ascii_uppercase())),
        }
    }

    /// The subject in this lane.
    pub fn subject(&self, subject: String) -> String {
        match (&self.0, own(&subject, subject::PREFIX)) {
            (Some(lane), Some(rest)) => format!("{}.{lane}{rest}", subject::SHADOW),
            _ => subject,
        }
    }

    /// The subject in this lane, when a process here may publish on it.
    pub(super) fn address(&self, subject: String) -> Result<String, BusError> {
        let subject = self.subject(subject);
        let ours = match &self.0 {
            None => true,
            Some(lane) => {
                let rest = own(&subject, subject::SHADOW).and_then(|rest| own(rest.strip_prefix('.')?, lane));
                // A lane may answer whoever asked it.
                rest.is_some() || own(&subject, subject::INBOX).is_some()
            }
        };
        if ours { Ok(subject) } else { Err(BusError::Fenced(format!("publish on {subject}"))) }
    }

    /// The name that a subject of this lane has at the live fleet; None for one that keeps its name.
    pub(super) fn home(&self, subject: &str) -> Option<String> {
        let lane = self.0.as_ref()?;
        let rest = own(subject, subject::SHADOW).and_then(|rest| own(rest.strip_prefix('.')?, lane))?;
        Some(format!("{}{rest}", subject::PREFIX))
    }

    /// Refuses what only the live fleet may do.
    pub(super) fn live_only(&self, what: &str) -> Result<(), BusError> {
        if self.is_live() { Ok(()) } else { Err(BusError::Fenced(what.to_owned())) }
    }
}

/// What follows `prefix` in a subject that begins with it as whole tokens.
fn own<'a>(subject: &'a str, prefix: &str) -> Option<&'a str> {
    subject.strip_prefix(prefix).filter(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_lanes() {
        assert!(Lane::parse("").unwrap().is_live());
        assert_eq!(Lane::parse("next_2-b").unwrap().name(), "next_2-b");
        for name in ["Next", "a.b", "*", ">", "a b", "店", &"a".repeat(33)] {
            assert_eq!(Lane::parse(name), Err(LaneError), "{name}");
        }
    }

    #[test]
    fn a_subject_goes_into_its_lane_and_comes_home() {
        let lane = Lane::parse("next").unwrap();
        let ask = "chat.v1.ask.0.demo.c1";
        assert_eq!(lane.subject(ask.into()), "shadow.next.ask.0.demo.c1");
        assert_eq!(Lane::default().subject(ask.into()), ask);
        assert_eq!(lane.home("shadow.next.ask.0.demo.c1").as_deref(), Some(ask));
        for strange in ["shadow.nextone.ask.0.demo.c1", "_INBOX.a.b", ask] {
            assert_eq!(lane.home(strange), None);
        }
        assert_eq!((&*lane.stream("ASK"), &*Lane::default().stream("ASK")), ("SHADOW_NEXT_ASK", "ASK"));
    }

    #[test]
    fn nothing_leaves_a_lane() {
        let lane = Lane::parse("next").unwrap();
        assert!(lane.address("chat.v1.turn.demo.c.r".into()).is_ok());
        assert!(lane.address("_INBOX.a".into()).is_ok());
        for subject in ["$KV.CATALOG.x", "$JS.API.STREAM.DELETE.ASK", "shadow.other.ask.0.a.b", "chat.v10.x", "shadow"]
        {
            assert!(matches!(lane.address(subject.into()), Err(BusError::Fenced(_))), "{subject}");
        }
        assert!(Lane::default().address("$KV.CATALOG.x".into()).is_ok());
    }
}
