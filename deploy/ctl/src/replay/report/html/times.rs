//! Latency as dots on a logarithmic scale, stage by stage, and as curves of who was served within which time.

use super::{
    super::{
        Report,
        latency::{Judged, Latency, Sides, millis},
    },
    section,
};

const WIDE: f64 = 720.0;
const LEFT: f64 = 96.0;
const ROW: f64 = 52.0;
const CURVE_HIGH: f64 = 220.0;
const HEAD: f64 = 22.0;

/// Nothing is drawn faster than this.
const MS_MIN: f64 = 0.05;

pub fn latency(report: &Report) -> String {
    let ran: Vec<&Latency> = report.latency.iter().filter(|latency| latency.turns > 0).collect();
    if ran.is_empty() {
        return section("latency", "Latency", "", "<p class=quiet>No turn was answered by every side.</p>");
    }
    let scale = Scale::of(&ran);
    let rows: String = ran.iter().map(|latency| listed(latency)).collect();
    let head = "<tr><th>stage<th><th class=n>baseline A<th class=n>baseline B<th class=n>candidate<th class=n>ratio<th class=n>noise<th>";
    let table = format!(
        "<details class=more><summary>the figures</summary><div class=wide><table class=latency><thead>{head}</thead><tbody>{rows}</tbody></table></div></details>"
    );
    let how = "In the turns in which a stage ran on every side: from the left the median, the 90th and the 99th percentile, \
               in milliseconds. What counts as slower or faster lies outside the ranges of both of the baseline's runs.";
    let key = "<p class=key><span class=baseline>baseline A</span> <span class=second>baseline B</span> <span class=candidate>candidate</span></p>";
    let plots =
        format!("{key}<div class=plot>{}</div><div class=plot>{}</div>{table}", dots(&ran, &scale), curve(report));
    section("latency", "Latency", how, &plots)
}

/// From milliseconds to a place on the drawing.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    fn of(ran: &[&Latency]) -> Self {
        let all = || ran.iter().flat_map(|latency| &latency.percentiles).flat_map(|p| sides(&p.ms));
        Self::around(all().fold(f64::MAX, f64::min), all().fold(MS_MIN, f64::max))
    }

    fn around(low: f64, high: f64) -> Self {
        let low = low.max(MS_MIN) * 0.85;
        Self { low, high: high.max(low * 4.0) * 1.1 }
    }

    fn x(&self, ms: f64) -> f64 {
        let share = (ms.max(self.low) / self.low).ln() / (self.high / self.low).ln();
        LEFT + share.clamp(0.0, 1.0) * (WIDE - LEFT - 16.0)
    }

    /// As many of each decade as there is room for.
    fn marks(&self) -> Vec<f64> {
        let steps: &[f64] = match self.high / self.low {
            wide if wide > 300.0 => &[1.0],
            wide if wide > 10.0 => &[1.0, 2.0, 5.0],
            _ => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0],
        };
        let decades = (-2..6).flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
        decades.filter(|ms| (self.low..=self.high).contains(ms)).collect()
    }

    fn drawn(&self, foot: f64) -> String {
        let mark = |ms: f64| {
            let x = self.x(ms);
            format!(
                "<line class=grid x1={x:.1} x2={x:.1} y1={HEAD} y2={foot} /><text x={x:.1} y=14 text-anchor=middle>{ms}</text>"
            )
        };
        let marks: String = self.marks().into_iter().map(mark).collect();
        format!("{marks}<text x={:.1} y=14 text-anchor=end>ms</text>", LEFT - 14.0)
    }
}

fn sides(ms: &Sides<f64>) -> [f64; 3] {
    [ms.baseline_a, ms.baseline_b, ms.candidate]
}

const CLASSES: [&str; 3] = ["baseline", "second", "candidate"];

fn dots(ran: &[&Latency], scale: &Scale) -> String {
    let foot = HEAD + ran.len() as f64 * ROW;
    let mut drawn = scale.drawn(foot);
    for (i, latency) in ran.iter().enumerate() {
        let y = HEAD + i as f64 * ROW;
        drawn += &format!(
            "<text class=name x={:.1} y={:.1} text-anchor=end>{}</text>",
            LEFT - 14.0,
            y + ROW / 2.0 + 4.0,
            latency.stage
        );
        if i > 0 {
            drawn += &format!("<line class=grid x1=0 x2={WIDE} y1={y} y2={y} />");
        }
        for (side, class) in CLASSES.iter().enumerate() {
            let y = y + 13.0 + 13.0 * side as f64;
            let xs: Vec<f64> = latency.percentiles.iter().map(|p| scale.x(sides(&p.ms)[side])).collect();
            let (first, last) = (xs.first().copied().unwrap_or(LEFT), xs.last().copied().unwrap_or(LEFT));
            let marks: String = xs
                .iter()
                .zip([4.5, 3.6, 2.8])
                .zip(&latency.percentiles)
                .map(|((x, r), p)| {
                    let ms = millis(sides(&p.ms)[side]);
                    format!(
                        "<circle cx={x:.1} cy={y} r={r}><title>{} {} {ms} ms</title></circle>",
                        latency.stage, p.name
                    )
                })
                .collect();
            drawn += &format!("<g class={class}><line x1={first:.1} x2={last:.1} y1={y} y2={y} />{marks}</g>");
        }
    }
    format!(
        "<svg class=dots viewBox=\"0 0 {WIDE} {:.0}\" role=img aria-label=\"latency of each stage\">{drawn}</svg>",
        foot + 4.0
    )
}

/// The share of turns that were served within a time.
fn curve(report: &Report) -> String {
    let curves = &report.latency_curve;
    let all = [&curves.baseline_a, &curves.baseline_b, &curves.candidate];
    let values = || all.iter().flat_map(|curve| curve.iter().copied());
    let scale = Scale::around(values().fold(f64::MAX, f64::min), values().fold(MS_MIN, f64::max));
    let y = |share: f64| HEAD + (1.0 - share) * (CURVE_HIGH - HEAD - 6.0);
    let mut drawn = scale.drawn(CURVE_HIGH - 6.0);
    for share in [0.0, 0.5, 0.9, 1.0] {
        drawn += &format!(
            "<line class=grid x1={LEFT} x2={WIDE} y1={0:.1} y2={0:.1} /><text x={1:.1} y={2:.1} text-anchor=end>{3:.0} %</text>",
            y(share),
            LEFT - 14.0,
            y(share) + 4.0,
            share * 100.0
        );
    }
    for (curve, class) in all.iter().zip(CLASSES) {
        let points: Vec<String> = curve
            .iter()
            .enumerate()
            .map(|(i, ms)| format!("{:.1},{:.1}", scale.x(*ms), y((i as f64 + 0.5) / curve.len() as f64)))
            .collect();
        drawn += &format!("<polyline class={class} points=\"{}\" />", points.join(" "));
    }
    format!(
        "<p class=how>The share of turns that were served within a time, from the message's arrival to the answer's end.</p>\
         <svg class=curve viewBox=\"0 0 {WIDE} {CURVE_HIGH}\" role=img aria-label=\"share of turns served within a time\">{drawn}</svg>"
    )
}

fn listed(latency: &Latency) -> String {
    let rows = latency.percentiles.iter().enumerate().map(|(i, p)| {
        let (class, word) = match p.judged {
            Judged::WithinNoise => ("", "within noise"),
            Judged::Slower => (" class=fail", "slower"),
            Judged::Faster => (" class=pass", "faster"),
        };
        let name = if i == 0 { latency.stage } else { "" };
        let cells = sides(&p.ms).map(|ms| format!("<td class=n>{}", millis(ms))).concat();
        format!(
            "<tr{class}><td>{name}<td>{}{cells}<td class=n>×{:.2}<td class=n>×{:.2}<td><span class=state>{word}</span>",
            p.name, p.ratio, p.noise_ratio
        )
    });
    rows.collect()
}
