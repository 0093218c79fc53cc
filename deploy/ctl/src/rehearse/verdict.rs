//! PURE: what a rehearsal came to: what was lost, whether the count stood still, how soon a promotion was answered, the cost.

use serde::Serialize;

use super::day::{CONSTANT, HOURS, PROMOTION};

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fate {
    Answered,
    /// Told at once that there is no room.
    Refused,
    /// Its time was up before it was answered.
    Expired,
    /// It was let in, and its customer heard of no outcome.
    Lost,
}

/// A message, as its customer saw it; seconds of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Told {
    pub(super) at_s: f64,
    pub(super) took_s: f64,
    pub(super) fate: Fate,
}

/// The fleet at one sync of the autoscaler.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Sample {
    pub(super) at_s: f64,
    pub(super) replicas: u32,
    pub(super) ready: u32,
    pub(super) wished: u32,
    /// Waiting and being answered.
    pub(super) lag: u64,
    /// Turns a second that come in.
    pub(super) rate: f64,
}

/// What the verdict needs to know of the run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Setting {
    pub(super) day_s: f64,
    pub(super) service_s: f64,
    /// Turns that one worker answers at once.
    pub(super) concurrency: u32,
    /// Turns a second in the promotion.
    pub(super) promotion_rate: f64,
}

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Limits {
    pub(super) flips_max: u32,
    pub(super) reaction_s_max: f64,
    /// Outside the promotion.
    pub(super) p99_s_max: f64,
}

/// The figures.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Figures {
    pub(super) issued: usize,
    pub(super) answered: usize,
    pub(super) refused: usize,
    pub(super) expired: usize,
    pub(super) lost: usize,
    /// Still on the queue when everybody had been answered.
    pub(super) left_on_queue: u64,
    pub(super) scale_ins: u32,
    /// How often the count turned round while the load was constant.
    pub(super) flips: u32,
    /// From the promotion's first moment until enough workers were ready; absent when there never were.
    pub(super) reaction_s: Option<f64>,
    pub(super) p50_s: f64,
    pub(super) p99_s: f64,
    pub(super) promotion_p99_s: f64,
    pub(super) replicas_max: u32,
    pub(super) worker_minutes: f64,
    /// Of the workers' permits that were paid for, the part that was used.
    pub(super) used: f64,
}

impl Figures {
    pub(super) fn of(told: &[Told], samples: &[Sample], setting: &Setting, left_on_queue: u64) -> Self {
        let count = |fate: Fate| told.iter().filter(|told| told.fate == fate).count();
        let promotion = hours(PROMOTION, setting.day_s);
        let (inside, outside): (Vec<&Told>, Vec<&Told>) = told
            .iter()
            .filter(|told| told.fate == Fate::Answered)
            .partition(|told| (promotion.0..promotion.1 + setting.service_s * 10.0).contains(&told.at_s));
        let took = |of: &[&Told], share: f64| quantile(of.iter().map(|told| told.took_s).collect(), share);
        let worker_s: f64 =
            samples.windows(2).map(|pair| f64::from(pair[0].replicas) * (pair[1].at_s - pair[0].at_s)).sum();
        let busy_s = count(Fate::Answered) as f64 * setting.service_s;
        Self {
            issued: told.len(),
            answered: count(Fate::Answered),
            refused: count(Fate::Refused),
            expired: count(Fate::Expired),
            lost: count(Fate::Lost),
            left_on_queue,
            scale_ins: samples.windows(2).filter(|pair| pair[1].replicas < pair[0].replicas).count() as u32,
            flips: flips(samples, hours(CONSTANT, setting.day_s)),
            reaction_s: reaction_s(samples, promotion, setting),
            p50_s: took(&outside, 0.5),
            p99_s: took(&outside, 0.99),
            promotion_p99_s: took(&inside, 0.99),
            replicas_max: samples.iter().map(|sample| sample.replicas).max().unwrap_or_default(),
            worker_minutes: worker_s / 60.0,
            used: busy_s / (worker_s * f64::from(setting.concurrency)).max(1e-9),
        }
    }

    /// Each check with whether it holds, in the words of who reads it.
    pub(super) fn checks(&self, limits: &Limits) -> Vec<(bool, String)> {
        let reaction = match self.reaction_s {
            Some(took_s) => format!("enough workers were ready {took_s:.0} s after the promotion began"),
            None => "there never were enough workers for the promotion".to_owned(),
        };
        vec![
            (
                self.lost == 0 && self.left_on_queue == 0,
                format!(
                    "{} of {} messages lost over {} scale-ins, {} left on the queue",
                    self.lost, self.issued, self.scale_ins, self.left_on_queue
                ),
            ),
            (
                self.flips <= limits.flips_max,
                format!(
                    "times that the count turned round under constant load: {}, at most {}",
                    self.flips, limits.flips_max
                ),
            ),
            (
                self.reaction_s.is_some_and(|took_s| took_s <= limits.reaction_s_max),
                format!("{reaction}, at most {:.0} s", limits.reaction_s_max),
            ),
            (
                self.p99_s <= limits.p99_s_max,
                format!(
                    "p99 {:.1} s outside the promotion (p50 {:.1} s), at most {:.1} s",
                    self.p99_s, self.p50_s, limits.p99_s_max
                ),
            ),
        ]
    }
}

/// Hours of the day as seconds of the cluster.
pub(super) fn hours((from, to): (f64, f64), day_s: f64) -> (f64, f64) {
    (from / HOURS * day_s, to / HOURS * day_s)
}

/// How often the count went the other way than before. What the morning's climb still brings in the first third is its own.
fn flips(samples: &[Sample], (from, to): (f64, f64)) -> u32 {
    let settled = from + (to - from) / 3.0;
    let counts: Vec<i64> =
        samples.iter().filter(|s| (settled..to).contains(&s.at_s)).map(|s| i64::from(s.replicas)).collect();
    let moves = counts.windows(2).map(|pair| (pair[1] - pair[0]).signum()).filter(|way| *way != 0);
    let ways: Vec<i64> = moves.collect();
    ways.windows(2).filter(|pair| pair[0] != pair[1]).count() as u32
}

/// How long it took until there were as many ready workers as the promotion's turns fill.
fn reaction_s(samples: &[Sample], (from, to): (f64, f64), setting: &Setting) -> Option<f64> {
    let needed = (setting.promotion_rate * setting.service_s / f64::from(setting.concurrency)).ceil() as u32;
    let enough = samples.iter().find(|sample| sample.at_s >= from && sample.ready >= needed);
    enough.filter(|sample| sample.at_s < to).map(|sample| sample.at_s - from)
}

pub(super) fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let place = (share * values.len() as f64).ceil() as usize;
    values.get(place.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTING: Setting = Setting { day_s: 2_400.0, service_s: 6.0, concurrency: 2, promotion_rate: 3.0 };

    fn sample(at_s: f64, replicas: u32) -> Sample {
        Sample { at_s, replicas, ready: replicas, wished: replicas, lag: 0, rate: 1.0 }
    }

    /// The constant stretch is from 1,200 s to 1,400 s.
    #[track_caller]
    fn turns_round(counts: &[u32], expected: u32) {
        let samples: Vec<_> =
            counts.iter().enumerate().map(|(n, count)| sample(1_270.0 + 10.0 * n as f64, *count)).collect();
        assert_eq!(flips(&samples, hours(CONSTANT, SETTING.day_s)), expected, "{counts:?}");
    }

    #[test]
    fn a_count_that_comes_to_rest_does_not_oscillate() {
        turns_round(&[4, 4, 5, 5, 6, 6], 0);
        turns_round(&[4, 5, 5, 4, 4], 1);
        turns_round(&[4, 5, 4, 5, 4], 3);
    }

    #[test]
    fn what_the_morning_brings_is_not_counted() {
        let samples: Vec<_> =
            [5, 4, 5, 4, 5].iter().enumerate().map(|(n, c)| sample(1_210.0 + 10.0 * n as f64, *c)).collect();
        assert_eq!(flips(&samples, hours(CONSTANT, SETTING.day_s)), 0);
    }

    #[test]
    fn the_reaction_counts_from_the_promotion_until_enough_are_ready() {
        // It begins at 2,000 s and fills 3 × 6 / 2 = 9 workers.
        let samples = [sample(1_990.0, 9), sample(2_000.0, 4), sample(2_015.0, 8), sample(2_030.0, 9)];
        assert_eq!(reaction_s(&samples, hours(PROMOTION, SETTING.day_s), &SETTING), Some(30.0));
        assert_eq!(reaction_s(&samples[..3], hours(PROMOTION, SETTING.day_s), &SETTING), None);
    }

    #[test]
    fn a_lost_message_or_one_left_behind_fails() {
        let told = |fate| Told { at_s: 100.0, took_s: 6.0, fate };
        let samples = [sample(2_000.0, 9), sample(2_060.0, 8)];
        let limits = Limits { flips_max: 1, reaction_s_max: 120.0, p99_s_max: 12.0 };
        let holds = |fates: &[Fate], left| {
            let told: Vec<_> = fates.iter().copied().map(told).collect();
            let figures = Figures::of(&told, &samples, &SETTING, left);
            (figures.checks(&limits)[0].0, figures.worker_minutes)
        };
        assert_eq!(holds(&[Fate::Answered, Fate::Refused, Fate::Expired], 0), (true, 9.0));
        assert!(!holds(&[Fate::Answered, Fate::Lost], 0).0);
        assert!(!holds(&[Fate::Answered], 1).0);
    }
}
