//! What holds for each channel: what becomes of a burst of messages, and of a request whose client hangs up.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use talkfleet_shared::{
    chat::{DeliveryClass, TEXT_CHARS_MAX},
    id::ChannelId,
};

/// The name of the table whose values hold for every channel that has none of its own.
const DEFAULT: &str = "default";

/// What becomes of a message while an earlier one of its conversation is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBurst {
    /// It waits for its turn.
    Queue,
    /// It becomes one ask with those that come close to it.
    Merge,
    /// It stops the earlier one and follows at once.
    Interrupt,
    /// It is refused.
    Reject,
}

/// What becomes of a request when nobody listens to it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDisconnect {
    /// It is answered all the same: the customer comes back for it.
    Finish,
    /// It is stopped, unless somebody comes back within the grace.
    Cancel,
}

/// What holds for one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelPolicy {
    pub delivery: DeliveryClass,
    pub burst: OnBurst,
    pub quiet_ms: u64,
    pub burst_ms_max: u64,
    pub burst_messages_max: usize,
    pub burst_chars_max: usize,
    pub on_disconnect: OnDisconnect,
    pub disconnect_grace_ms: u64,
}

/// A channel's table as it is written; what it leaves out is as in `default`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    delivery: Option<DeliveryClass>,
    burst: Option<OnBurst>,
    quiet_ms: Option<u64>,
    burst_ms_max: Option<u64>,
    burst_messages_max: Option<usize>,
    burst_chars_max: Option<usize>,
    on_disconnect: Option<OnDisconnect>,
    disconnect_grace_ms: Option<u64>,
}

/// Every channel's policy.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "BTreeMap<String, Written>")]
pub struct ChannelsConfig {
    default: ChannelPolicy,
    named: BTreeMap<String, ChannelPolicy>,
}

impl ChannelsConfig {
    pub fn policy(&self, channel: &ChannelId) -> ChannelPolicy {
        self.named.get(channel.as_str()).copied().unwrap_or(self.default)
    }

    /// One line for each impossible value, naming its key.
    pub(crate) fn problems(&self) -> Vec<String> {
        let nameless = self.named.keys().filter(|name| ChannelId::parse(name).is_err());
        let mut problems: Vec<_> =
            nameless.map(|name| format!("channels.{name}: no channel can be called so")).collect();
        let named = self.named.iter().map(|(name, policy)| (name.as_str(), policy));
        for (name, policy) in std::iter::once((DEFAULT, &self.default)).chain(named) {
            problems.extend(policy.problems().into_iter().map(|line| format!("channels.{name}.{line}")));
        }
        problems
    }
}

impl ChannelPolicy {
    pub(crate) fn disconnect_grace(self) -> Duration {
        Duration::from_millis(self.disconnect_grace_ms)
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut must = |holds: bool, line: String| {
            if !holds {
                problems.push(line);
            }
        };
        must(
            self.delivery.is_durable() || matches!(self.burst, OnBurst::Queue | OnBurst::Reject),
            format!("delivery is \"{}\", which only goes with burst = \"queue\" or \"reject\"", self.delivery.name()),
        );
        must(self.quiet_ms > 0, "quiet_ms must be above 0; burst = \"queue\" merges nothing".into());
        must(
            self.burst_ms_max >= self.quiet_ms,
            format!("burst_ms_max is {}; give quiet_ms ({}) or more", self.burst_ms_max, self.quiet_ms),
        );
        must(self.burst_messages_max > 1, format!("burst_messages_max is {}; give 2 or more", self.burst_messages_max));
        must(
            (1..=TEXT_CHARS_MAX).contains(&self.burst_chars_max),
            format!("burst_chars_max is {}; give 1 to {TEXT_CHARS_MAX}", self.burst_chars_max),
        );
        must(
            self.disconnect_grace_ms > 0,
            "disconnect_grace_ms must be above 0; clients come back by reconnecting".into(),
        );
        problems
    }
}

impl Written {
    /// Every value, or the first key that is not given.
    fn whole(&self) -> Result<ChannelPolicy, String> {
        let lacks = |key: &str| format!("{DEFAULT} lacks {key}");
        Ok(ChannelPolicy {
            delivery: self.delivery.ok_or_else(|| lacks("delivery"))?,
            burst: self.burst.ok_or_else(|| lacks("burst"))?,
            quiet_ms: self.quiet_ms.ok_or_else(|| lacks("quiet_ms"))?,
            burst_ms_max: self.burst_ms_max.ok_or_else(|| lacks("burst_ms_max"))?,
            burst_messages_max: self.burst_messages_max.ok_or_else(|| lacks("burst_messages_max"))?,
            burst_chars_max: self.burst_chars_max.ok_or_else(|| lacks("burst_chars_max"))?,
            on_disconnect: self.on_disconnect.ok_or_else(|| lacks("on_disconnect"))?,
            disconnect_grace_ms: self.disconnect_grace_ms.ok_or_else(|| lacks("disconnect_grace_ms"))?,
        })
    }

    fn over(&self, default: ChannelPolicy) -> ChannelPolicy {
        ChannelPolicy {
            delivery: self.delivery.unwrap_or(default.delivery),
            burst: self.burst.unwrap_or(default.burst),
            quiet_ms: self.quiet_ms.unwrap_or(default.quiet_ms),
            burst_ms_max: self.burst_ms_max.unwrap_or(default.burst_ms_max),
            burst_messages_max: self.burst_messages_max.unwrap_or(default.burst_messages_max),
            burst_chars_max: self.burst_chars_max.unwrap_or(default.burst_chars_max),
            on_disconnect: self.on_disconnect.unwrap_or(default.on_disconnect),
            disconnect_grace_ms: self.disconnect_grace_ms.unwrap_or(default.disconnect_grace_ms),
        }
    }
}

impl TryFrom<BTreeMap<String, Written>> for ChannelsConfig {
    type Error = String;

    fn try_from(mut written: BTreeMap<String, Written>) -> Result<Self, String> {
        let default = written.remove(DEFAULT).ok_or_else(|| format!("there is no table '{DEFAULT}'"))?.whole()?;
        let named = written.into_iter().map(|(name, channel)| (name, channel.over(default))).collect();
        Ok(Self { default, named })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::GatewayConfig;

    fn with(pairs: &[(&str, &str)]) -> Result<ChannelsConfig, String> {
        let flags: Vec<_> = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        GatewayConfig::load(None, &flags).map(|config| config.channels).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn refused(key: &str, value: &str, expected: &str) {
        let error = with(&[(key, value)]).unwrap_err();
        assert!(error.contains(expected), "{key}={value}: {error}");
    }

    #[test]
    fn a_channel_has_its_own_policy_over_the_default() {
        let config = with(&[("channels.sms.burst", "merge"), ("channels.default.quiet_ms", "900")]).unwrap();
        let [web, sms] = ["web", "sms"].map(|name| config.policy(&ChannelId::parse(name).unwrap()));
        assert_eq!((web.burst, web.on_disconnect), (OnBurst::Queue, OnDisconnect::Finish));
        assert_eq!(sms, ChannelPolicy { burst: OnBurst::Merge, ..web });
        assert_eq!(sms.quiet_ms, 900);
    }

    #[test]
    fn impossible_values_are_named() {
        refused("channels.sms.burst", "mix", "channels.sms.burst");
        refused("channels.sms.burts", "merge", "did you mean 'burst'?");
        refused("channels.sms.delivery", "quick", "channels.sms.delivery");
        refused("channels.default.quiet_ms", "0", "channels.default.quiet_ms must be above 0");
        refused("channels.sms.burst_ms_max", "20", "channels.sms.burst_ms_max is 20");
        refused("channels.sms.burst_messages_max", "1", "channels.sms.burst_messages_max is 1");
        refused("channels.sms.burst_chars_max", "4001", "channels.sms.burst_chars_max is 4001; give 1 to 4000");
        refused("channels.sms.disconnect_grace_ms", "0", "channels.sms.disconnect_grace_ms must be above 0");
        refused("channels.a b.burst", "merge", "channels.a b: no channel can be called so");
    }
}
