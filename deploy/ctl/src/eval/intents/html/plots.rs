//! The drawings of the report: cascade, confidence, reliability, out of scope, learning.

use super::super::report::Report;
use crate::{
    eval::html::Drawing,
    page::{
        grouped, micros, percent,
        plot::{Axis, Mark, Plot, whole_percent},
    },
};

/// A drawing that shows nothing but its least span is not stretched beyond it.
const ACCURACY_SPAN_MIN: f64 = 0.04;

/// All drawings that there is something to draw for.
pub fn drawings(report: &Report) -> Vec<Drawing<'static>> {
    let mut all = Vec::new();
    if report.cascade.len() > 1 {
        all.push(cascade(report));
    }
    all.push(confidence(report));
    all.push(reliability(report));
    if !report.out_of_scope_curve.is_empty() {
        all.push(out_of_scope(report));
    }
    if report.figures.learning_curve.len() > 1 {
        all.push(learning(report));
    }
    all
}

/// An axis of accuracies around these.
fn accuracies(name: &'static str, values: impl Iterator<Item = f64> + Clone) -> Axis<'static> {
    let (low, high) = (values.clone().fold(1.0, f64::min), values.fold(0.0, f64::max));
    let room = ((ACCURACY_SPAN_MIN - (high - low)) / 2.0).max((high - low) * 0.12);
    Axis { name, from: (low - room).max(0.0), to: (high + room).min(1.0), logarithmic: false, write: whole_percent }
}

fn cascade(report: &Report) -> Drawing<'static> {
    let figures = &report.figures;
    let curve: Vec<(f64, f64)> = report.cascade.iter().map(|one| (one.cpu_us_per_query, one.accuracy)).collect();
    let mut marks = vec![Mark::Line { class: "second", points: curve }];
    marks.extend(report.cascade.iter().map(|one| Mark::Dot {
        class: "second",
        at: (one.cpu_us_per_query, one.accuracy),
        title: format!(
            "{} handed on: {} right at {} µs",
            percent(one.share),
            percent(one.accuracy),
            micros(one.cpu_us_per_query)
        ),
        label: String::new(),
    }));
    marks.extend(figures.tiers.iter().map(|tier| Mark::Dot {
        class: "baseline",
        at: (tier.cpu_us_per_query, tier.accuracy),
        title: format!(
            "{} alone: {} right at {} µs",
            tier.tier.name(),
            percent(tier.accuracy),
            micros(tier.cpu_us_per_query)
        ),
        label: tier.tier.name().to_owned(),
    }));
    marks.push(Mark::Dot {
        class: "candidate",
        at: (figures.cpu_us_per_query, figures.accuracy),
        title: format!(
            "the model's own choice: {} right at {} µs",
            percent(figures.accuracy),
            micros(figures.cpu_us_per_query)
        ),
        label: String::new(),
    });
    let costs = || report.cascade.iter().map(|one| one.cpu_us_per_query).chain([figures.cpu_us_per_query]);
    let right = report.cascade.iter().map(|one| one.accuracy).chain(figures.tiers.iter().map(|tier| tier.accuracy));
    let plot = Plot {
        what: "accuracy against CPU microseconds of a query, as more lines are handed to the dearest tier",
        x: Axis {
            name: "CPU µs a query",
            from: costs().fold(f64::MAX, f64::min).max(0.1) * 0.8,
            to: costs().fold(1.0, f64::max) * 1.25,
            logarithmic: true,
            write: micros,
        },
        y: accuracies("accuracy", right.chain([figures.accuracy])),
        marks,
    };
    let title = "<b>Cascade</b> <span class=key><span class=light><i></i>handed on by confidence</span> \
                 <span class=first><i></i>a tier alone</span> <span class=other><i></i>the model's own choice</span></span>";
    Drawing { name: "cascade", title, plot }
}

/// Right lines upwards, wrong ones downwards; each side as shares of its own, since wrong ones are few.
fn confidence(report: &Report) -> Drawing<'static> {
    let own = &report.confidences;
    let mut marks = Vec::new();
    let sides: [(&'static str, &str, &[usize], f64); 2] =
        [("baseline", "right", &own.right, 1.0), ("candidate", "wrong", &own.wrong, -1.0)];
    let mut most: f64 = 0.01;
    for (class, word, bars, way) in sides {
        let all = bars.iter().sum::<usize>().max(1) as f64;
        for (at, n) in bars.iter().enumerate().filter(|(_, n)| **n > 0) {
            let (from, to) = (at as f64 / bars.len() as f64, (at + 1) as f64 / bars.len() as f64);
            most = most.max(*n as f64 / all);
            marks.push(Mark::Bar {
                class,
                x: (from, to),
                y: (0.0, way * *n as f64 / all),
                title: format!("confidence {from:.2} to {to:.2}: {} {word}", grouped(*n)),
            });
        }
    }
    let plot = Plot {
        what: "lines by confidence, right ones upwards and wrong ones downwards",
        x: Axis::share("confidence"),
        y: Axis { name: "share of each", from: -most, to: most, logarithmic: false, write: both_ways },
        marks,
    };
    let title = "<b>Confidence</b> <span class=key><span class=first><i></i>right</span> <span class=other><i></i>wrong</span></span>";
    Drawing { name: "confidence", title, plot }
}

fn both_ways(share: f64) -> String {
    whole_percent(share.abs())
}

fn reliability(report: &Report) -> Drawing<'static> {
    let filled = report.reliability.iter().filter(|bin| bin.count > 0);
    let bars = filled.clone().map(|bin| Mark::Bar {
        class: "second",
        x: (bin.from, bin.to),
        y: (0.0, bin.accuracy),
        title: format!(
            "confidence {:.2} on average: {} of {} right",
            bin.confidence,
            percent(bin.accuracy),
            grouped(bin.count)
        ),
    });
    let guide = Mark::Guide { class: "noise", points: vec![(0.0, 0.0), (1.0, 1.0)] };
    let dots = filled.map(|bin| Mark::Dot {
        class: "baseline",
        at: (bin.confidence, bin.accuracy),
        title: format!("{} lines", grouped(bin.count)),
        label: String::new(),
    });
    let plot = Plot {
        what: "share right by confidence, against the line where both are equal",
        x: Axis::share("confidence"),
        y: Axis::share("share right"),
        marks: bars.chain([guide]).chain(dots).collect(),
    };
    Drawing {
        name: "reliability",
        title: "<b>Reliability</b> above the dashed line it is too modest, below it too sure",
        plot,
    }
}

fn out_of_scope(report: &Report) -> Drawing<'static> {
    let curve = report.out_of_scope_curve.iter().map(|point| (point.wanted_lost, point.unwanted_caught)).collect();
    let mut marks = vec![
        Mark::Guide { class: "noise", points: vec![(0.0, 0.0), (1.0, 1.0)] },
        Mark::Line { class: "baseline", points: curve },
    ];
    marks.extend(report.out_of_scope_chosen.map(|chosen| Mark::Dot {
        class: "candidate",
        at: (chosen.wanted_lost, chosen.unwanted_caught),
        title: "the threshold that counts".into(),
        label: format!("{} caught, {} lost", percent(chosen.unwanted_caught), percent(chosen.wanted_lost)),
    }));
    let plot = Plot {
        what: "share of lines out of scope that are declined, against the share of lines in scope that are declined with them",
        x: Axis::share("in scope, declined wrongly"),
        y: Axis::share("out of scope, declined"),
        marks,
    };
    Drawing { name: "out-of-scope", title: "<b>Out of scope</b> what is declined, at every threshold", plot }
}

fn learning(report: &Report) -> Drawing<'static> {
    let curve = &report.figures.learning_curve;
    let line = |read: fn(&super::super::measure::Held) -> f64| {
        curve.iter().map(|held| (held.examples as f64, read(held))).collect::<Vec<_>>()
    };
    let dots = curve.iter().map(|held| Mark::Dot {
        class: "baseline",
        at: (held.examples as f64, held.accuracy),
        title: format!(
            "{} lines: {} right, macro-F1 {}",
            grouped(held.examples),
            percent(held.accuracy),
            percent(held.macro_f1)
        ),
        label: percent(held.accuracy),
    });
    let marks = [
        Mark::Line { class: "second", points: line(|held| held.macro_f1) },
        Mark::Line { class: "baseline", points: line(|held| held.accuracy) },
    ];
    let most = curve.iter().map(|held| held.examples as f64).fold(1.0, f64::max);
    let plot = Plot {
        what: "accuracy against the number of training lines",
        x: Axis {
            name: "training lines",
            from: 0.0,
            to: most * 1.02,
            logarithmic: false,
            write: |n| grouped(n.max(0.0) as usize),
        },
        y: accuracies("accuracy", curve.iter().flat_map(|held| [held.accuracy, held.macro_f1])),
        marks: marks.into_iter().chain(dots).collect(),
    };
    let title = "<b>Learning curve</b> <span class=key><span class=first><i></i>accuracy</span> <span class=light><i></i>macro-F1</span></span>";
    Drawing { name: "learning-curve", title, plot }
}
