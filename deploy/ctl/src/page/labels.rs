//! PURE: where the words beside dots stand, so that none covers another word or a dot.

/// About what a letter is wide and a line is high at the drawings' 12.5 pixels; a Chinese character is twice as wide.
const LETTER: f64 = 6.8;
const ABOVE: f64 = 10.0;
const BELOW: f64 = 3.5;

/// A dot with the room around it.
const DOT: f64 = 5.0;

/// How far a word begins from the middle of its dot, and the steps by which it moves away where there is no room.
const AWAY: f64 = 8.0;
const STEP: f64 = 13.0;
const STEPS: i32 = 8;

/// A dot and the word beside it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Labelled<'a> {
    pub(super) at: (f64, f64),
    pub(super) label: &'a str,
}

/// The left end of a word's line, and whether it has moved so far that it needs a line to its dot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Placed {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) far: bool,
}

#[derive(Debug, Clone, Copy)]
struct Area {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Area {
    fn of_word(x: f64, y: f64, wide: f64) -> Self {
        Self { left: x, right: x + wide, top: y - ABOVE, bottom: y + BELOW }
    }

    fn of_dot((x, y): (f64, f64)) -> Self {
        Self { left: x - DOT, right: x + DOT, top: y - DOT, bottom: y + DOT }
    }

    fn meets(&self, other: &Self) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }
}

/// The places of the words inside `from..to`, one for each dot. One that finds no room anywhere stands where it would alone.
pub(super) fn places(dots: &[Labelled<'_>], from: (f64, f64), to: (f64, f64)) -> Vec<Placed> {
    let mut taken: Vec<Area> = dots.iter().map(|dot| Area::of_dot(dot.at)).collect();
    let mut found = Vec::new();
    for dot in dots {
        let wide = width(dot.label);
        let fits = |placed: &&Placed| {
            let own = Area::of_word(placed.x, placed.y, wide);
            let inside = own.left >= from.0 && own.right <= to.0 && own.top >= from.1 && own.bottom <= to.1;
            inside && (wide == 0.0 || !taken.iter().any(|other| own.meets(other)))
        };
        let choices = choices(dot.at, wide);
        let alone = Placed { x: dot.at.0.min(to.0 - wide), y: dot.at.1 + AWAY + ABOVE - BELOW, far: false };
        let placed = choices.iter().find(fits).copied().unwrap_or(alone);
        if wide > 0.0 {
            taken.push(Area::of_word(placed.x, placed.y, wide));
        }
        found.push(placed);
    }
    found
}

/// Nearest first: beside the dot, right before left, then a line below or above it, then further off.
fn choices((x, y): (f64, f64), wide: f64) -> Vec<Placed> {
    let sides = [x + AWAY, x - AWAY - wide, x - wide / 2.0];
    let mut all = Vec::new();
    for step in 0..STEPS {
        let shift = f64::from(step) * STEP;
        let heights = if step == 0 { vec![y + 4.0] } else { vec![y + 4.0 + shift, y + 4.0 - shift] };
        for height in heights {
            all.extend(sides.map(|x| Placed { x, y: height, far: step > 1 }));
        }
    }
    all
}

fn width(label: &str) -> f64 {
    label.chars().map(|c| if c.is_ascii() { LETTER } else { 2.0 * LETTER }).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FROM: (f64, f64) = (0.0, 0.0);
    const TO: (f64, f64) = (460.0, 270.0);

    fn areas(dots: &[Labelled<'_>]) -> Vec<Area> {
        let placed = places(dots, FROM, TO);
        dots.iter().zip(placed).map(|(dot, placed)| Area::of_word(placed.x, placed.y, width(dot.label))).collect()
    }

    #[test]
    fn a_word_alone_stands_right_of_its_dot_and_on_the_left_at_the_edge() {
        let one = |x| places(&[Labelled { at: (x, 100.0), label: "fused" }], FROM, TO)[0];
        assert!(one(100.0).x > 100.0 && !one(100.0).far);
        assert!(one(455.0).x + width("fused") < 455.0);
    }

    proptest! {
        /// Seven tiers, as `eval retrieval` has them.
        #[test]
        fn no_word_covers_another_or_a_dot(at in prop::collection::vec((60.0..420.0f64, 20.0..220.0f64), 7)) {
            let names = ["words", "static", "multilingual", "transformer", "fused-transformer", "reranked", "fused"];
            let dots: Vec<Labelled<'_>> = at.iter().zip(names).map(|(at, label)| Labelled { at: *at, label }).collect();
            let words = areas(&dots);
            for (at, word) in words.iter().enumerate() {
                prop_assert!(word.left >= 0.0 && word.right <= TO.0 && word.top >= 0.0 && word.bottom <= TO.1);
                prop_assert!(words[..at].iter().all(|other| !word.meets(other)));
                for dot in &dots {
                    prop_assert!(!word.meets(&Area::of_dot(dot.at)));
                }
            }
        }
    }
}
