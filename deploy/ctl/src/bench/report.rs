//! What a scenario came to: its figures, what else it found out, the limits it was held to; as text and as JSON.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{figures::Figures, measure::Measured, threshold::Check};
use crate::{
    gate::{Gauge, State},
    page::{grouped, micros, millis},
};

/// A run of a scenario under its name.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) name: String,
    pub(super) measured: Measured,
    pub(super) figures: Figures,
}

/// What a scenario found.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome {
    /// The one that the report is about stands first.
    pub(super) runs: Vec<Run>,
    /// What belongs to this scenario alone.
    pub(super) extra: Map<String, Value>,
    /// Sentences for people.
    pub(super) found: Vec<String>,
    /// (turns ratio, CPU ratio) against what it was compared with.
    pub(super) ratios: Option<(f64, f64)>,
    /// Why nothing was measured.
    pub(super) skipped: Option<String>,
}

/// What is told of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) scenario: String,
    pub(super) what: String,
    pub(super) talkfleet: &'static str,
    /// Not optimised: its figures are several times worse than a release's.
    pub(super) debug_build: bool,
    pub(super) face: String,
    pub(super) channel: String,
    /// What answered, in a sentence.
    pub(super) fleet: String,
    #[serde(flatten)]
    pub(super) figures: Figures,
    #[serde(flatten)]
    pub(super) extra: Map<String, Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) found: Vec<String>,
    /// The other runs of the scenario.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) runs: Vec<NamedFigures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) skipped: Option<String>,
    pub(super) checks: Vec<Check>,
    pub(super) passed: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct NamedFigures {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) figures: Figures,
}

impl Run {
    pub(super) fn new(name: impl Into<String>, measured: Measured) -> Self {
        Self { name: name.into(), figures: Figures::of(&measured), measured }
    }
}

impl Outcome {
    pub(super) fn of(run: Run) -> Self {
        Self { runs: vec![run], ..Self::default() }
    }

    pub(super) fn skipped(why: impl Into<String>) -> Self {
        Self { skipped: Some(why.into()), ..Self::default() }
    }

    pub(super) fn tell(&mut self, key: &str, value: impl Into<Value>) {
        self.extra.insert(key.to_owned(), value.into());
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.scenario, self.what)?;
        if let Some(why) = &self.skipped {
            write!(f, "  not measured: {why}")?;
        } else if self.figures.issued == 0 {
            write!(f, "  {}", self.fleet)?;
            self.found.iter().try_for_each(|found| write!(f, "\n  {found}"))?;
        } else {
            writeln!(f, "  {} over {}, channel {}", self.fleet, self.face, self.channel)?;
            lines(f, &self.figures)?;
            table(f, &self.figures)?;
            self.runs.iter().try_for_each(|run| one_line(f, run))?;
            self.found.iter().try_for_each(|found| write!(f, "\n  {found}"))?;
            remarks(f, &self.figures)?;
            if self.debug_build {
                write!(f, "\n  this is a debug build: a release is several times faster")?;
            }
        }
        for check in &self.checks {
            let word = if check.state == State::Fail { "FAILED" } else { "ok" };
            write!(f, "\n  {word:<6} {}: {}", check.figure.name(), check.sentence)?;
        }
        Ok(())
    }
}

fn lines(f: &mut fmt::Formatter<'_>, figures: &Figures) -> fmt::Result {
    let whole = |value: f64| grouped(value.round() as usize);
    writeln!(
        f,
        "  {} turns/s of {} offered, for {:.0} s; latency from the intended moment: p50 {} ms, p90 {}, p99 {}, p99.9 {}, max {}",
        whole(figures.turns_per_s),
        whole(figures.offered_per_s),
        figures.seconds,
        millis(figures.p50_ms),
        millis(figures.p90_ms),
        millis(figures.p99_ms),
        millis(figures.p999_ms),
        millis(figures.max_ms)
    )?;
    if let (Some(p50), Some(p99)) = (figures.first_frame_p50_ms, figures.first_frame_p99_ms) {
        writeln!(f, "  first frame: p50 {} ms, p99 {} ms", millis(p50), millis(p99))?;
    }
    if let (Some(p50), Some(p99)) = (figures.first_text_p50_ms, figures.first_text_p99_ms) {
        writeln!(f, "  first words: p50 {} ms, p99 {} ms", millis(p50), millis(p99))?;
    }
    let Figures { issued, answered, shed, late, errors, unanswered, .. } = figures;
    write!(
        f,
        "  issued {issued} = answered {answered} + shed {shed} + late {late} + errors {errors} + unanswered {unanswered}"
    )?;
    if *shed > 0 {
        write!(
            f,
            "; refused within p50 {} ms, p99 {} ms, {} of them without Retry-After",
            millis(figures.refusal_p50_ms),
            millis(figures.refusal_p99_ms),
            figures.shed_without_retry_after
        )?;
    }
    if *errors > 0 {
        let kinds: Vec<String> = figures.error_kinds.iter().map(|(kind, count)| format!("{kind}: {count}")).collect();
        write!(f, "; errors: {}", kinds.join(", "))?;
    }
    Ok(())
}

fn table(f: &mut fmt::Formatter<'_>, figures: &Figures) -> fmt::Result {
    let Some(all) = figures.cpu_us_per_turn else {
        return write!(f, "\n  no process is watched; name them with --pid NAME=PID to see what a turn costs");
    };
    write!(f, "\n  {:<18} {:>12} {:>10} {:>12} {:>8}", "process", "CPU µs/turn", "RSS MiB", "descriptors", "threads")?;
    for (name, cpu_us) in &figures.cpu_us {
        let of = |counts: &std::collections::BTreeMap<String, u64>| counts.get(name).copied().unwrap_or_default();
        let rss = figures.rss_mib.get(name).copied().unwrap_or_default();
        let (descriptors, threads) = (of(&figures.descriptors), of(&figures.threads));
        write!(f, "\n  {name:<18} {:>12} {rss:>10.1} {descriptors:>12} {threads:>8}", micros(*cpu_us))?;
    }
    write!(
        f,
        "\n  {:<18} {:>12}   (load generator: {} beside)",
        "all",
        micros(all),
        micros(figures.load_generator_cpu_us)
    )
}

fn one_line(f: &mut fmt::Formatter<'_>, NamedFigures { name, figures }: &NamedFigures) -> fmt::Result {
    let cpu = figures.cpu_us_per_turn.map_or(String::new(), |us| format!(", {} µs/turn", micros(us)));
    write!(
        f,
        "\n  {name}: {} turns/s of {}, p50 {} ms, p99 {} ms{cpu}, shed {}, late {}, errors {}, unanswered {}",
        grouped(figures.turns_per_s.round() as usize),
        grouped(figures.offered_per_s.round() as usize),
        millis(figures.p50_ms),
        millis(figures.p99_ms),
        figures.shed,
        figures.late,
        figures.errors,
        figures.unanswered
    )
}

/// What makes figures worse than they are.
fn remarks(f: &mut fmt::Formatter<'_>, figures: &Figures) -> fmt::Result {
    if figures.others_cores >= 0.1 {
        write!(f, "\n  other work kept {:.1} cores of this machine busy: the figures are rough", figures.others_cores)?;
    }
    if figures.send_lag_p99_ms >= 5.0 && figures.issued > 0 {
        write!(
            f,
            "\n  messages left up to {} ms (p99) after they were due: this machine, --clients or --connections were too few",
            millis(figures.send_lag_p99_ms)
        )?;
    }
    Ok(())
}
