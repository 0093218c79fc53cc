//! Drawings with two axes as SVG: lines, dots and bars, in the colours of the page or as a file of their own.

use std::fmt::Write;

use super::{
    escape::attribute,
    labels::{self, Labelled},
};

/// The drawing, and the room around it for the axes.
const WIDE: f64 = 460.0;
const HIGH: f64 = 270.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 26.0;
const HEAD: f64 = 12.0;
const FOOT: f64 = 44.0;

/// About how many marks an axis has.
const MARKS: f64 = 5.0;

/// The page's colours, for a drawing that stands alone.
const ALONE: &str = "svg{font:12.5px system-ui,sans-serif;background:#fff;--ink:#1d2226;--faint:#5d666d;--line:#e3e0d9;\
--baseline:#2f6690;--second:#8fb3d1;--candidate:#c8590c;--noise:#a29d92}\
@media(prefers-color-scheme:dark){svg{background:#1b2023;--ink:#e7eaec;--faint:#98a2a9;--line:#2e3539;\
--baseline:#79b4e3;--second:#46708f;--candidate:#f59b52;--noise:#7d7a72}}text{fill:var(--faint)}";

/// What drawings look like, on a page and alone.
pub const STYLE: &str = ".plotted .grid{stroke:var(--line)}.plotted .named{fill:var(--ink)}\
.plotted .baseline{--own:var(--baseline)}.plotted .second{--own:var(--second)}.plotted .candidate{--own:var(--candidate)}\
.plotted .noise{--own:var(--noise)}.plotted .line{fill:none;stroke:var(--own);stroke-width:2}\
.plotted .thin{fill:none;stroke:var(--own);stroke-width:1.2;stroke-dasharray:4 3}.plotted .dot,.plotted .bar{fill:var(--own)}";

/// From values to places along one side.
#[derive(Clone, Copy)]
pub struct Axis<'a> {
    pub name: &'a str,
    pub from: f64,
    pub to: f64,
    /// Decades are equally wide.
    pub logarithmic: bool,
    pub write: fn(f64) -> String,
}

/// Something drawn; `class` is `baseline`, `second`, `candidate` or `noise`.
pub enum Mark {
    Line {
        class: &'static str,
        points: Vec<(f64, f64)>,
    },
    /// A thin, dashed line for comparison.
    Guide {
        class: &'static str,
        points: Vec<(f64, f64)>,
    },
    /// With what is told of it on hover, and a word beside it unless that is empty.
    Dot {
        class: &'static str,
        at: (f64, f64),
        title: String,
        label: String,
    },
    Bar {
        class: &'static str,
        x: (f64, f64),
        y: (f64, f64),
        title: String,
    },
}

pub struct Plot<'a> {
    /// What it shows, for whoever cannot see it.
    pub what: &'a str,
    pub x: Axis<'a>,
    pub y: Axis<'a>,
    pub marks: Vec<Mark>,
}

impl<'a> Axis<'a> {
    /// A share from 0 to 1.
    pub fn share(name: &'a str) -> Self {
        Self { name, from: 0.0, to: 1.0, logarithmic: false, write: whole_percent }
    }

    /// Where in the span a value lies, 0..1.
    fn share_of(&self, value: f64) -> f64 {
        let (from, to) = (self.from, self.to);
        let share = match self.logarithmic {
            true => (value.max(from) / from).ln() / (to / from).ln(),
            false => (value - from) / (to - from),
        };
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }

    fn marks(&self) -> Vec<f64> {
        if self.logarithmic {
            let steps: &[f64] = if self.to / self.from > 300.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
            let decades = (-6..9).flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
            return decades.filter(|mark| (self.from..=self.to).contains(mark)).collect();
        }
        let step = nice_step((self.to - self.from) / MARKS);
        let first = (self.from / step - 1e-9).ceil() as i64;
        let last = (self.to / step + 1e-9).floor() as i64;
        (first..=last.min(first + 20)).map(|n| n as f64 * step).collect()
    }
}

/// The next 1, 2 or 5 times a power of ten.
fn nice_step(rough: f64) -> f64 {
    if !rough.is_finite() || rough <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|step| step * power).into_iter().find(|step| *step >= rough * 0.999).unwrap_or(rough)
}

/// `40 %`.
pub fn whole_percent(share: f64) -> String {
    let percent = share * 100.0;
    if (percent - percent.round()).abs() < 1e-6 { format!("{percent:.0} %") } else { format!("{percent:.1} %") }
}

impl Plot<'_> {
    /// For a page that has [`STYLE`].
    pub fn inline(&self) -> String {
        self.drawn("", "")
    }

    /// As a file of its own.
    pub fn alone(&self) -> String {
        self.drawn(" xmlns=\"http://www.w3.org/2000/svg\"", &format!("<style>{ALONE}{STYLE}</style>"))
    }

    fn drawn(&self, namespace: &str, style: &str) -> String {
        let mut drawn = String::new();
        self.axes(&mut drawn);
        for mark in &self.marks {
            self.mark(&mut drawn, mark);
        }
        self.labels(&mut drawn);
        format!(
            "<svg{namespace} class=\"plotted\" viewBox=\"0 0 {WIDE} {HIGH}\" role=\"img\" aria-label=\"{}\">{style}{drawn}</svg>",
            attribute(self.what)
        )
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.share_of(value) * (WIDE - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HIGH - FOOT - self.y.share_of(value) * (HIGH - FOOT - HEAD)
    }

    fn axes(&self, drawn: &mut String) {
        let foot = HIGH - FOOT;
        for value in self.y.marks() {
            let (y, text) = (self.y(value), attribute(&(self.y.write)(value)));
            let _ = write!(
                drawn,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                WIDE - RIGHT,
                LEFT - 7.0,
                y + 4.0
            );
        }
        for value in self.x.marks() {
            let (x, text) = (self.x(value), attribute(&(self.x.write)(value)));
            let _ = write!(
                drawn,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{foot}\" y2=\"{:.1}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
                foot + 4.0,
                foot + 18.0
            );
        }
        let _ = write!(
            drawn,
            "<text class=\"named\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text class=\"named\" transform=\"translate(12 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            (LEFT + WIDE - RIGHT) / 2.0,
            HIGH - 6.0,
            attribute(self.x.name),
            (HEAD + foot) / 2.0,
            attribute(self.y.name)
        );
    }

    fn mark(&self, drawn: &mut String, mark: &Mark) {
        let _ = match mark {
            Mark::Line { class, points } => self.joined(drawn, class, "line", points),
            Mark::Guide { class, points } => self.joined(drawn, class, "thin", points),
            Mark::Dot { class, at, title, .. } => {
                let (x, y) = (self.x(at.0), self.y(at.1));
                write!(
                    drawn,
                    "<circle class=\"{class} dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{}</title></circle>",
                    attribute(title)
                )
            }
            Mark::Bar { class, x, y, title } => {
                let (left, right) = (self.x(x.0), self.x(x.1));
                let (top, bottom) = (self.y(y.0.max(y.1)), self.y(y.0.min(y.1)));
                write!(
                    drawn,
                    "<rect class=\"{class} bar\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"1\"><title>{}</title></rect>",
                    left + 1.0,
                    (right - left - 2.0).max(0.5),
                    bottom - top,
                    attribute(title)
                )
            }
        };
    }

    /// The words beside the dots, above everything else.
    fn labels(&self, drawn: &mut String) {
        let dots: Vec<Labelled<'_>> = self
            .marks
            .iter()
            .filter_map(|mark| match mark {
                Mark::Dot { at, label, .. } => Some(Labelled { at: (self.x(at.0), self.y(at.1)), label }),
                Mark::Line { .. } | Mark::Guide { .. } | Mark::Bar { .. } => None,
            })
            .collect();
        let placed = labels::places(&dots, (LEFT, 0.0), (WIDE, HIGH - FOOT));
        for (dot, at) in dots.iter().zip(placed).filter(|(dot, _)| !dot.label.is_empty()) {
            if at.far {
                // To the end of the word that is nearer.
                let _ = write!(
                    drawn,
                    "<line class=\"grid\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
                    dot.at.0,
                    dot.at.1,
                    at.x + 2.0,
                    at.y - 4.0
                );
            }
            let _ = write!(
                drawn,
                "<text class=\"named\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                at.x,
                at.y,
                attribute(dot.label)
            );
        }
    }

    fn joined(&self, drawn: &mut String, class: &str, kind: &str, points: &[(f64, f64)]) -> std::fmt::Result {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{:.1},{:.1}", self.x(*x), self.y(*y))).collect();
        write!(drawn, "<polyline class=\"{class} {kind}\" points=\"{}\"/>", points.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn marks_are_round_numbers_inside_the_span() {
        let axis = |from, to, logarithmic| Axis { name: "", from, to, logarithmic, write: whole_percent };
        let near = |found: Vec<f64>, expected: &[f64]| {
            assert_eq!(found.len(), expected.len(), "{found:?}");
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{found:?}");
        };
        near(axis(0.0, 1.0, false).marks(), &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        near(axis(0.913, 0.962, false).marks(), &[0.92, 0.93, 0.94, 0.95, 0.96]);
        near(axis(8.0, 1_200.0, true).marks(), &[10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0]);
    }

    #[test]
    fn nothing_of_a_title_is_markup() {
        let axis = Axis::share("<x>");
        let marks = vec![Mark::Dot { class: "baseline", at: (0.5, 0.5), title: "<b>\"".into(), label: "a&b".into() }];
        let drawn = Plot { what: "\"<i>", x: axis, y: axis, marks }.alone();
        assert!(!drawn.contains("<b>") && !drawn.contains("<i>") && !drawn.contains("<x>"), "{drawn}");
        assert!(drawn.contains("a&amp;b"));
    }

    proptest! {
        #[test]
        fn every_mark_is_inside_the_drawing(x in -10.0..10.0f64, y in -1e9..1e9f64, from in 0.0..5.0f64, wide in 0.0..5.0f64) {
            let axis = Axis { name: "", from, to: from + wide, logarithmic: false, write: whole_percent };
            let plot = Plot { what: "", x: axis, y: axis, marks: vec![] };
            prop_assert!((LEFT..=WIDE - RIGHT).contains(&plot.x(x)));
            prop_assert!((HEAD..=HIGH - FOOT).contains(&plot.y(y)));
            prop_assert!(axis.marks().len() <= 21);
        }
    }
}
