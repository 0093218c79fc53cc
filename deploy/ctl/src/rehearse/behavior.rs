//! PURE: how fast the HorizontalPodAutoscaler lets replicas change: stabilisation windows, policies, limits.
//!
//! As in Kubernetes (`pkg/controller/podautoscaler/horizontal.go`), rule by rule and with its roundings. Moments are seconds
//! of the cluster's time.

/// One direction's rules.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rules {
    /// Of what was recommended within it, the mildest counts: going up the least, going down the most.
    pub(super) window_s: f64,
    pub(super) policies: Vec<Policy>,
    pub(super) select: Select,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Policy {
    pub(super) kind: PolicyKind,
    pub(super) value: u32,
    pub(super) period_s: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PolicyKind {
    Pods,
    Percent,
}

/// Which policy counts when there are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Select {
    /// The one that changes most.
    Max,
    /// The one that changes least.
    Min,
    /// No change in this direction.
    Disabled,
}

/// Both directions and the limits.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Behavior {
    pub(super) up: Rules,
    pub(super) down: Rules,
    pub(super) min: u32,
    pub(super) max: u32,
}

/// What an autoscaler remembers: what it recommended, and what it did.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    recommended: Vec<(f64, u32)>,
    ups: Vec<(f64, u32)>,
    downs: Vec<(f64, u32)>,
}

impl Rules {
    /// What holds for scaling up where a manifest says nothing.
    pub(super) fn default_up() -> Self {
        let policy = |kind, value| Policy { kind, value, period_s: 15.0 };
        let policies = vec![policy(PolicyKind::Pods, 4), policy(PolicyKind::Percent, 100)];
        Self { window_s: 0.0, policies, select: Select::Max }
    }

    /// The same for scaling down.
    pub(super) fn default_down() -> Self {
        let policies = vec![Policy { kind: PolicyKind::Percent, value: 100, period_s: 15.0 }];
        Self { window_s: 300.0, policies, select: Select::Max }
    }
}

impl Memory {
    /// How many replicas there shall be now, given how many there are and how many the metrics call for.
    pub(super) fn decide(&mut self, behavior: &Behavior, current: u32, desired: u32, now: f64) -> u32 {
        let steady = self.stabilise(behavior, current, desired, now);
        let decided = match steady.cmp(&current) {
            std::cmp::Ordering::Greater => {
                let limit = self.up_limit(&behavior.up, current, now).max(current);
                steady.min(limit.min(behavior.max))
            }
            std::cmp::Ordering::Less => {
                let limit = self.down_limit(&behavior.down, current, now).min(current);
                steady.max(limit.max(behavior.min))
            }
            std::cmp::Ordering::Equal => steady,
        };
        let decided = decided.clamp(behavior.min, behavior.max);
        match decided.cmp(&current) {
            std::cmp::Ordering::Greater => self.ups.push((now, decided - current)),
            std::cmp::Ordering::Less => self.downs.push((now, current - decided)),
            std::cmp::Ordering::Equal => {}
        }
        let longest = |rules: &Rules| rules.policies.iter().map(|policy| policy.period_s).fold(0.0, f64::max);
        let (ups, downs) = (longest(&behavior.up), longest(&behavior.down));
        self.ups.retain(|(at, _)| *at > now - ups.max(downs));
        self.downs.retain(|(at, _)| *at > now - ups.max(downs));
        decided
    }

    fn stabilise(&mut self, behavior: &Behavior, current: u32, desired: u32, now: f64) -> u32 {
        let within = |window_s: f64| {
            let kept = self.recommended.iter().filter(move |(at, _)| *at > now - window_s);
            kept.map(|(_, replicas)| *replicas)
        };
        let least = within(behavior.up.window_s).fold(desired, u32::min);
        let most = within(behavior.down.window_s).fold(desired, u32::max);
        let longest = behavior.up.window_s.max(behavior.down.window_s);
        self.recommended.retain(|(at, _)| *at > now - longest);
        self.recommended.push((now, desired));
        current.max(least).min(most)
    }

    fn up_limit(&self, rules: &Rules, current: u32, now: f64) -> u32 {
        let proposed = rules.policies.iter().map(|policy| {
            let began = self.at_the_beginning(current, policy.period_s, now);
            match policy.kind {
                PolicyKind::Pods => began.saturating_add(policy.value),
                PolicyKind::Percent => (f64::from(began) * (1.0 + f64::from(policy.value) / 100.0)).ceil() as u32,
            }
        });
        match rules.select {
            Select::Max => proposed.max().unwrap_or(current),
            Select::Min => proposed.min().unwrap_or(current),
            Select::Disabled => current,
        }
    }

    fn down_limit(&self, rules: &Rules, current: u32, now: f64) -> u32 {
        let proposed = rules.policies.iter().map(|policy| {
            let began = self.at_the_beginning(current, policy.period_s, now);
            match policy.kind {
                PolicyKind::Pods => began.saturating_sub(policy.value),
                // Rounded down, as Kubernetes does: a percent of few is at least one.
                PolicyKind::Percent => (f64::from(began) * (1.0 - f64::from(policy.value) / 100.0)).max(0.0) as u32,
            }
        });
        match rules.select {
            Select::Max => proposed.min().unwrap_or(current),
            Select::Min => proposed.max().unwrap_or(current),
            Select::Disabled => current,
        }
    }

    /// How many replicas there were when the period began.
    fn at_the_beginning(&self, current: u32, period_s: f64, now: f64) -> u32 {
        let changed = |events: &[(f64, u32)]| -> u32 {
            events.iter().filter(|(at, _)| *at > now - period_s).map(|(_, change)| change).sum()
        };
        (current + changed(&self.downs)).saturating_sub(changed(&self.ups))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(value: u32, period_s: f64) -> Policy {
        Policy { kind: PolicyKind::Pods, value, period_s }
    }

    fn percent(value: u32, period_s: f64) -> Policy {
        Policy { kind: PolicyKind::Percent, value, period_s }
    }

    fn behavior(up: &[Policy], down: &[Policy], select: Select) -> Behavior {
        let rules = |policies: &[Policy]| Rules { window_s: 0.0, policies: policies.to_vec(), select };
        Behavior { up: rules(up), down: rules(down), min: 1, max: 1_000 }
    }

    /// Replicas at each sync, a wish for each.
    #[track_caller]
    fn check(behavior: &Behavior, from: u32, every_s: f64, wished: &[u32], expected: &[u32]) {
        let (mut memory, mut current) = (Memory::default(), from);
        let mut at = |(n, wish): (usize, &u32)| {
            current = memory.decide(behavior, current, *wish, n as f64 * every_s);
            current
        };
        let got: Vec<u32> = wished.iter().enumerate().map(&mut at).collect();
        assert_eq!(got, expected);
    }

    /// The task page's example: 900 %, from 1 replica, to 100 in three steps.
    #[test]
    fn up_as_fast_as_possible() {
        let fast = behavior(&[percent(900, 60.0)], &[], Select::Max);
        check(&fast, 1, 60.0, &[1_000; 4], &[10, 100, 1_000, 1_000]);
    }

    /// KEP 853, "scale up one pod a minute".
    #[test]
    fn up_pod_by_pod() {
        let slow = behavior(&[pods(1, 300.0)], &[], Select::Max);
        check(&slow, 1, 300.0, &[100; 3], &[2, 3, 4]);
        check(&slow, 1, 60.0, &[100; 7], &[2, 2, 2, 2, 2, 3, 3]);
    }

    /// The concepts page: "at most 4 pods or 10 % a minute, whichever is more": 80 replicas, wished down to 10.
    #[test]
    fn down_by_pods_or_percent() {
        let down = [pods(4, 60.0), percent(10, 60.0)];
        // 80 × 0.9 = 72, then 64.8 is 64, 57.6 is 57, …; from 40 on the four pods are more.
        let expected = [72, 64, 57, 51, 45, 40, 36, 32, 28];
        check(&behavior(&[], &down, Select::Max), 80, 60.0, &[10; 9], &expected);
        check(&behavior(&[], &down, Select::Min), 80, 60.0, &[10; 3], &[76, 72, 68]);
        check(&behavior(&[], &down, Select::Disabled), 80, 60.0, &[10; 3], &[80, 80, 80]);
    }

    #[test]
    fn the_defaults_double_or_add_four_every_quarter_of_a_minute() {
        let rules = Behavior { up: Rules::default_up(), down: Rules::default_down(), min: 1, max: 50 };
        check(&rules, 1, 15.0, &[50; 5], &[5, 10, 20, 40, 50]);
    }

    #[test]
    fn going_down_the_highest_wish_of_the_window_counts() {
        let rules = Behavior { up: Rules::default_up(), down: Rules::default_down(), min: 1, max: 50 };
        let wished: Vec<u32> = [vec![10], vec![2; 22]].concat();
        let expected: Vec<u32> = [vec![10; 20], vec![2; 3]].concat();
        check(&rules, 10, 15.0, &wished, &expected);
    }

    #[test]
    fn going_up_the_lowest_wish_of_the_window_counts() {
        let up = Rules { window_s: 60.0, ..Rules::default_up() };
        let rules = Behavior { up, down: Rules::default_down(), min: 1, max: 50 };
        check(&rules, 2, 15.0, &[2, 8, 8, 8, 8, 8], &[2, 2, 2, 2, 6, 8]);
    }

    /// What the cluster's own controller did with the manifests' rules when `deploy/check/control_plane.sh` asked it: a surge
    /// from 4 to 20, 16 at the earliest half a minute after 8, then a tenth of it.
    #[test]
    fn as_a_real_autoscaler_does() {
        let up = Rules { window_s: 0.0, policies: vec![percent(100, 30.0), pods(4, 30.0)], select: Select::Max };
        let down = Rules { window_s: 180.0, policies: vec![percent(25, 60.0), pods(1, 60.0)], select: Select::Max };
        let rules = Behavior { up, down, min: 2, max: 50 };
        let (mut memory, mut current, mut course) = (Memory::default(), 4, Vec::new());
        for second in (0..340).step_by(5) {
            let wish = if second < 75 { 20 } else { 2 };
            let next = memory.decide(&rules, current, wish, f64::from(second));
            if next != current {
                course.push((second, next));
            }
            current = next;
        }
        assert_eq!(course, [(0, 8), (30, 16), (60, 20), (250, 15), (310, 11)]);
    }

    #[test]
    fn limits_hold_whatever_is_wished() {
        let rules = Behavior { up: Rules::default_up(), down: Rules::default_down(), min: 2, max: 6 };
        check(&rules, 1, 15.0, &[0, 100, 100], &[2, 6, 6]);
    }
}
