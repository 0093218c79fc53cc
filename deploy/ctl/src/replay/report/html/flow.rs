//! Which intents became which: ribbons from the old names to the new, as wide as there are turns.

use std::collections::BTreeMap;

use super::{
    super::{Flip, Report, changes::grouped, stage::Stage},
    escape::{attribute, escaped, isolated},
    section,
};

/// Pairs that are drawn; the table below has more.
const DRAWN_MAX: usize = 12;
const LISTED_MAX: usize = 60;

/// The drawing: its width, where the ribbons run, a row's least height and the space between names.
const WIDE: f64 = 720.0;
const LEFT: f64 = 225.0;
const RIGHT: f64 = 495.0;
const ROW_MIN: f64 = 20.0;
const ROWS: f64 = 220.0;
const GAP: f64 = 8.0;

/// How wide a name may be beside the ribbons, in Latin letters; Han characters are two of them wide.
const NAME_LETTERS_MAX: usize = 22;

pub fn intents(report: &Report) -> String {
    let row = &report.stages[Stage::Intent as usize];
    if report.flips.is_empty() {
        let line = format!("<p class=quiet>No intent became another in {} turns.</p>", grouped(row.compared));
        return section("intents", "Intents", "", &line);
    }
    let rows: String = report.flips.iter().take(LISTED_MAX).map(listed).collect();
    let head = "<tr><th>was<th>is now<th class=n>turns<th class=n>of<th class=n>noise<th>for example";
    let table = format!("<div class=wide><table class=flips><thead>{head}</thead><tbody>{rows}</tbody></table></div>");
    let how = format!(
        "{} turns are taken for another intent. What noise could explain is faint and not drawn.",
        grouped(row.changed)
    );
    let sure: Vec<&Flip> = report.flips.iter().filter(|flip| flip.sure).take(DRAWN_MAX).collect();
    let drawing = if sure.is_empty() { String::new() } else { drawing(&sure) };
    section("intents", "Intents", &how, &(drawing + &table))
}

fn listed(flip: &Flip) -> String {
    let example = flip.examples.first().map_or(String::new(), |example| isolated(&example.question));
    format!(
        "<tr{}><td><code>{}</code><td><code>{}</code><td class=n><b>{}</b><td class=n>{}<td class=n>{}<td class=example>{example}",
        if flip.sure { "" } else { " class=still" },
        escaped(&flip.from),
        escaped(&flip.to),
        grouped(flip.turns),
        grouped(flip.of),
        grouped(flip.noise)
    )
}

/// A name's place on one side.
struct Place {
    y: f64,
    high: f64,
    turns: usize,
    /// Where the next ribbon begins.
    next: f64,
}

fn drawing(drawn: &[&Flip]) -> String {
    let total: usize = drawn.iter().map(|flip| flip.turns).sum();
    // A row is as high as its turns, but no lower than its name; a ribbon takes its share of the row on either side.
    let scale = ROWS / total.max(1) as f64;
    let mut from = places(drawn, |flip| &flip.from, scale);
    let mut to = places(drawn, |flip| &flip.to, scale);
    let high = [&from, &to].iter().map(|side| foot(side)).fold(0.0, f64::max);
    let mut ribbons = String::new();
    for flip in drawn {
        let (Some(a), Some(b)) = (from.get_mut(flip.from.as_str()), to.get_mut(flip.to.as_str())) else { continue };
        let (y, thick) = take(a, flip.turns);
        let (z, thin) = take(b, flip.turns);
        let words = attribute(&format!("{} → {}: {} of {}", flip.from, flip.to, flip.turns, flip.of));
        let bend = (LEFT + RIGHT) / 2.0;
        ribbons += &format!(
            "<path d=\"M{LEFT} {y:.1} C{bend} {y:.1} {bend} {z:.1} {RIGHT} {z:.1} V{:.1} C{bend} {:.1} {bend} {:.1} {LEFT} {:.1} Z\"><title>{words}</title></path>",
            z + thin,
            z + thin,
            y + thick,
            y + thick
        );
    }
    let names = labels(&from, LEFT, "baseline") + &labels(&to, RIGHT, "candidate");
    format!(
        "<div class=plot><svg class=flow viewBox=\"0 0 {WIDE} {high:.0}\" role=img aria-label=\"which intents became which\">{ribbons}{names}</svg></div>"
    )
}

fn places<'a>(flips: &[&'a Flip], name: fn(&Flip) -> &String, scale: f64) -> BTreeMap<&'a str, Place> {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for flip in flips {
        match counts.iter_mut().find(|(known, _)| known == name(flip)) {
            Some((_, turns)) => *turns += flip.turns,
            None => counts.push((name(flip), flip.turns)),
        }
    }
    let mut y = 2.0;
    let place = |(name, turns): (&'a str, usize)| {
        let high = (turns as f64 * scale).max(ROW_MIN);
        let place = Place { y, high, turns, next: y };
        y += high + GAP;
        (name, place)
    };
    counts.into_iter().map(place).collect()
}

fn take(place: &mut Place, turns: usize) -> (f64, f64) {
    let (y, thick) = (place.next, place.high * turns as f64 / place.turns.max(1) as f64);
    place.next += thick;
    (y, thick)
}

fn foot(side: &BTreeMap<&str, Place>) -> f64 {
    side.values().map(|place| place.y + place.high + 2.0).fold(0.0, f64::max)
}

fn labels(side: &BTreeMap<&str, Place>, x: f64, class: &str) -> String {
    let (anchor, away) = if x < WIDE / 2.0 { ("end", -12.0) } else { ("start", 12.0) };
    let label = |(name, place): (&&str, &Place)| {
        format!(
            "<rect class={class} x={:.1} y={:.1} width=5 height={:.1} rx=2 /><text x={:.1} y={:.1} text-anchor={anchor}>{}<tspan dx=6 class=turns>{}</tspan></text>",
            if x < WIDE / 2.0 { x - 5.0 } else { x },
            place.y,
            place.high,
            x + away,
            place.y + place.high / 2.0 + 4.5,
            attribute(&shortened(name)),
            grouped(place.turns)
        )
    };
    side.iter().map(label).collect()
}

fn shortened(name: &str) -> String {
    let mut wide = 0;
    let fits = |c: &char| {
        wide += if *c >= '\u{1100}' { 2 } else { 1 };
        wide <= NAME_LETTERS_MAX
    };
    let mut short: String = name.chars().take_while(fits).collect();
    if short.len() < name.len() {
        short.push('…');
    }
    short
}
