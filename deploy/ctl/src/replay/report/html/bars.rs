//! Histograms of how alike the sides are, the candidate as bars, the baseline's own difference as a line over them.

use super::{
    super::{
        Report, Spread,
        changes::grouped,
        summary::Bars,
        threshold::{Sort, percent, written},
    },
    section,
};

/// The drawing, and the room around it for the axes.
const WIDE: f64 = 420.0;
const HIGH: f64 = 170.0;
const LEFT: f64 = 40.0;
const FOOT: f64 = 26.0;
const HEAD: f64 = 10.0;

pub fn overlaps(report: &Report) -> String {
    let figures = [
        figure("Text", "similarity of the answers' texts", &report.text_similarity),
        figure("Passages", "share of passages in common", &report.passage_overlap),
    ];
    let ranking = &report.passage_ranking;
    let beside = format!(
        "<p class=quiet>Rankings agree to {} on average (noise {}), the top counting more.</p>",
        written(Sort::Least, ranking.candidate.mean),
        written(Sort::Least, ranking.noise.mean)
    );
    let how = "How alike the answers are to the baseline's first run, from 0 to 1. Turns that are exactly alike are counted \
               above each plot and left out of it.";
    section("overlap", "How alike", how, &format!("<div class=pair>{}</div>{beside}", figures.concat()))
}

fn figure(title: &str, what: &str, spread: &Spread) -> String {
    let same = |bars: &Bars| bars.bars.last().copied().unwrap_or_default();
    let (candidate, noise) = (&spread.candidate, &spread.noise);
    let alike = |bars: &Bars| percent(same(bars) as f64 / bars.turns.max(1) as f64);
    let words = format!(
        "<figcaption><b>{title}</b> <span>{what}</span><br><span class=candidate>{} exactly alike</span> \
         <span class=noise>{} in the baseline's own runs</span></figcaption>",
        alike(candidate),
        alike(noise)
    );
    let plot = if same(candidate) == candidate.turns && same(noise) == noise.turns {
        format!("<p class=quiet>All {} are exactly alike.</p>", grouped(candidate.turns))
    } else {
        drawing(what, candidate, noise)
    };
    format!("<figure>{words}{plot}</figure>")
}

fn drawing(what: &str, candidate: &Bars, noise: &Bars) -> String {
    let most = shown(candidate).iter().chain(shown(noise)).copied().max().unwrap_or(1).max(1);
    let bars = shown(candidate).len();
    let wide = (WIDE - LEFT - 8.0) / bars as f64;
    let top = |n: usize| HIGH - FOOT - (HIGH - FOOT - HEAD) * n as f64 / most as f64;
    let mut drawn = String::new();
    for (i, n) in shown(candidate).iter().enumerate().filter(|(_, n)| **n > 0) {
        let (from, to) = (i as f64 / bars as f64, (i + 1) as f64 / bars as f64);
        drawn += &format!(
            "<rect class=candidate x={:.1} y={:.1} width={:.1} height={:.1} rx=1><title>{from:.2} to {to:.2}: {} turns</title></rect>",
            LEFT + i as f64 * wide + 1.0,
            top(*n),
            wide - 2.0,
            HIGH - FOOT - top(*n),
            grouped(*n)
        );
    }
    let mut line = format!("M{LEFT} {:.1}", top(0));
    for (i, n) in shown(noise).iter().enumerate() {
        line += &format!(" V{:.1} H{:.1}", top(*n), LEFT + (i + 1) as f64 * wide);
    }
    let marks: String = [0.0, 0.25, 0.5, 0.75, 1.0]
        .map(|share| {
            let x = LEFT + share * (WIDE - LEFT - 8.0);
            format!("<text x={x:.1} y={:.1} text-anchor=middle>{share}</text>", HIGH - 8.0)
        })
        .concat();
    format!(
        "<svg class=bars viewBox=\"0 0 {WIDE} {HIGH}\" role=img aria-label=\"{what}\">\
         <text x={0:.1} y={1:.1} text-anchor=end>{most}</text><text x={0:.1} y={2:.1} text-anchor=end>0</text>\
         <line class=axis x1={LEFT} x2={3:.1} y1={4:.1} y2={4:.1} />{drawn}<path class=noise d=\"{line} V{4:.1}\" />{marks}</svg>",
        LEFT - 6.0,
        HEAD + 8.0,
        HIGH - FOOT + 2.0,
        WIDE - 8.0,
        HIGH - FOOT
    )
}

/// All bars but the last, which holds what is exactly alike.
fn shown(bars: &Bars) -> &[usize] {
    &bars.bars[..bars.bars.len().saturating_sub(1)]
}
