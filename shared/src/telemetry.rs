//! Logs as lines or JSON, one span per stage, and the W3C trace context that travels in headers.

use std::{fmt, str::FromStr};

use rand::Rng;
use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    pub format: LogFormat,
    /// A filter such as `info` or `talkfleet_worker=debug,info`.
    pub filter: String,
}

/// Starts logging to standard error; called by `main` functions only, since a process has one log.
pub fn init(config: &LogConfig) -> Result<(), String> {
    let filter = EnvFilter::try_new(&config.filter)
        .map_err(|error| format!("log.filter '{}' is not a filter: {error}", config.filter))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match config.format {
        LogFormat::Text => registry.with(lines.compact()).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    started.map_err(|error| error.to_string())
}

/// A W3C trace context: which trace, and which span of it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    trace: u128,
    span: u64,
    /// The span that it is a part of; None where the trace begins, and in a context as it was sent.
    parent: Option<u64>,
    sampled: bool,
}

impl Trace {
    /// A new trace.
    pub fn start(rng: &mut impl Rng) -> Self {
        Self {
            trace: rng.random_range(1..=u128::MAX),
            span: rng.random_range(1..=u64::MAX),
            parent: None,
            sampled: true,
        }
    }

    /// The context that a caller sent, if it is one, with a span of our own; else a new trace.
    pub fn follow(traceparent: Option<&str>, rng: &mut impl Rng) -> Self {
        match traceparent.and_then(|text| text.parse::<Self>().ok()) {
            Some(theirs) => theirs.child(rng),
            None => Self::start(rng),
        }
    }

    /// The same trace, one span further.
    pub fn child(self, rng: &mut impl Rng) -> Self {
        Self { span: rng.random_range(1..=u64::MAX), parent: Some(self.span), ..self }
    }

    /// The attempt of a message that was sent from here: known to whoever is given the message, so that a later attempt can
    /// name an earlier one whose worker was killed.
    pub fn attempt(self, attempt: u32) -> Self {
        // An odd factor maps different attempts to different spans; 0 would be none.
        let span = self.span ^ u64::from(attempt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { span: span.max(1), parent: Some(self.span), ..self }
    }

    /// The context that was sent with a message, at an attempt to answer it; else a new trace.
    pub fn attempted(traceparent: Option<&str>, attempt: u32, rng: &mut impl Rng) -> Self {
        match traceparent.and_then(|text| text.parse::<Self>().ok()) {
            Some(theirs) => theirs.attempt(attempt),
            None => Self::start(rng),
        }
    }

    /// The context that this one was sent or begun from; None where the trace begins.
    pub fn origin(self) -> Option<Self> {
        Some(Self { span: self.parent?, parent: None, ..self })
    }

    /// The same, kept if it is one of this part of all traces; every process decides alike.
    pub fn sampled_in(self, ratio: f64) -> Self {
        let place = (self.trace as u64 >> 11) as f64 / (1u64 << 53) as f64;
        Self { sampled: place < ratio, ..self }
    }

    /// Whether somebody will look at it.
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }

    pub fn parent(&self) -> Option<u64> {
        self.parent
    }

    pub fn trace_id(&self) -> u128 {
        self.trace
    }

    pub fn span_id(&self) -> u64 {
        self.span
    }

    /// The trace's id in 32 hexadecimal digits, for logs.
    pub fn id(&self) -> String {
        format!("{:032x}", self.trace)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

impl FromStr for Trace {
    type Err = ();

    /// Reads a `traceparent` of version 00; junk of any kind is an error, never a panic.
    fn from_str(text: &str) -> Result<Self, ()> {
        let hex = |part: &str, digits: usize| {
            let plain = part.len() == digits && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            if plain { u128::from_str_radix(part, 16).map_err(|_| ()) } else { Err(()) }
        };
        let parts: Vec<&str> = text.split('-').collect();
        let ["00", trace, span, flags] = parts[..] else { return Err(()) };
        let (trace, span, flags) = (hex(trace, 32)?, hex(span, 16)? as u64, hex(flags, 2)?);
        if trace == 0 || span == 0 {
            return Err(());
        }
        Ok(Self { trace, span, parent: None, sampled: flags & 1 == 1 })
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn a_trace_is_followed_and_junk_starts_a_new_one() {
        let mut rng = StdRng::seed_from_u64(1);
        let theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let ours = Trace::follow(Some(theirs), &mut rng);
        assert_eq!(ours.id(), "0af7651916cd43dd8448eb211c80319c");
        assert_ne!(ours.to_string(), theirs);
        for junk in ["", "00", "zz-a-b-c", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "00-é-é-é"] {
            assert_ne!(Trace::follow(Some(junk), &mut rng).id(), ours.id(), "{junk}");
        }
    }

    #[test]
    fn whoever_is_given_a_message_knows_its_earlier_attempts() {
        let mut rng = StdRng::seed_from_u64(1);
        let sent = Trace::start(&mut rng).to_string();
        let first = Trace::attempted(Some(&sent), 1, &mut rng);
        let second = Trace::attempted(Some(&sent), 2, &mut rng);
        assert_eq!(first, sent.parse::<Trace>().unwrap().attempt(1));
        assert_eq!((first.id(), first.parent()), (second.id(), second.parent()));
        assert_ne!(first.span_id(), second.span_id());
        assert_ne!(Some(first.span_id()), first.parent());
    }
}
