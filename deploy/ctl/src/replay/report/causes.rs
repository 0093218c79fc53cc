//! PURE: what may stand behind a changed turn: every cause that would explain it, the most exact first.

use std::collections::{HashMap, HashSet};

use super::{
    compare::{Ending, Reading, Turn, Voice, article},
    stage::Stage,
};

/// An article that nobody cites has to be found this often before its absence is worth naming: the tail of a ranking
/// moves with every change of the base.
const FOUND_MIN: usize = 3;

/// Why a turn changed at its root. Two turns have the same cause when these are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause<'a> {
    Ending {
        from: Ending,
        to: Ending,
    },
    Away {
        role: &'a str,
    },
    Back {
        role: &'a str,
    },
    Language {
        from: &'static str,
        to: &'static str,
    },
    Intent {
        from: &'a str,
        to: &'a str,
    },
    IntentGone {
        from: &'a str,
    },
    IntentNew {
        to: &'a str,
    },
    ArticleGone {
        article: &'a str,
    },
    ArticleNew {
        article: &'a str,
    },
    ArticleEdited {
        article: &'a str,
    },
    CitedNoMore {
        article: &'a str,
    },
    CitedNew {
        article: &'a str,
    },
    CitedInOrder,
    Found,
    Kind {
        from: &'static str,
        to: &'static str,
    },
    Voice {
        from: Voice<'a>,
        to: Voice<'a>,
    },
    /// A prepared sentence belongs to its intent; other answers are worded by whoever speaks.
    Wording {
        rung: &'static str,
        intent: Option<&'a str>,
    },
}

impl<'a> Cause<'a> {
    /// Whether it would explain that `a` became `x`; asked of the candidate it finds changes, asked of the baseline's second
    /// run it finds noise.
    pub fn explains(&self, a: &Reading<'a>, x: &Reading<'a>) -> bool {
        let found = |reading: &Reading<'a>, key: &str| reading.articles().any(|found| found == key);
        let cited = |reading: &Reading<'a>, key: &str| reading.citations.contains(&key);
        match *self {
            Self::Ending { from, to } => a.ending == from && x.ending == to,
            Self::Away { role } => x.degraded.contains(&role) && !a.degraded.contains(&role),
            Self::Back { role } => a.degraded.contains(&role) && !x.degraded.contains(&role),
            Self::Language { from, to } => language(a) == from && language(x) == to,
            Self::Intent { from, to } => a.intent == from && x.intent == to,
            Self::IntentGone { from } => a.intent == from && x.intent != from,
            Self::IntentNew { to } => a.intent != to && x.intent == to,
            Self::ArticleGone { article } => found(a, article) && !found(x, article),
            Self::ArticleNew { article } => found(x, article) && !found(a, article),
            Self::ArticleEdited { article } => texts(a, article) != texts(x, article),
            Self::CitedNoMore { article } => cited(a, article) && !cited(x, article),
            Self::CitedNew { article } => cited(x, article) && !cited(a, article),
            Self::CitedInOrder | Self::Found => true,
            Self::Kind { from, to } => kind(a) == from && kind(x) == to,
            Self::Voice { from, to } => a.voice == Some(from) && x.voice == Some(to),
            Self::Wording { .. } => wording(x) == *self,
        }
    }

    /// What no noise makes up: an article that is on one side only, or has another text there.
    pub fn is_certain(&self) -> bool {
        matches!(self, Self::ArticleGone { .. } | Self::ArticleNew { .. } | Self::ArticleEdited { .. })
    }
}

/// What each side knows, over all turns: what is nowhere on the other side is new or gone.
#[derive(Debug, Default)]
pub struct World<'a> {
    before: Known<'a>,
    after: Known<'a>,
    /// Articles of which a passage reads differently under the same id.
    edited: HashSet<&'a str>,
    /// Whether an article that is on one side only says something about that side: the bases differ, or retrieval has no
    /// noise that could have lost it.
    articles_tell: bool,
}

#[derive(Debug, Default)]
struct Known<'a> {
    intents: HashSet<&'a str>,
    /// In how many turns an article was found.
    found: HashMap<&'a str, usize>,
    cited: HashSet<&'a str>,
    texts: HashMap<&'a str, (&'a str, &'a str)>,
    bases: HashSet<&'a str>,
}

impl<'a> Known<'a> {
    fn learn(&mut self, reading: &Reading<'a>) {
        let Some(record) = reading.record else { return };
        self.intents.insert(reading.intent);
        self.bases.extend(Some(record.versions.knowledge.as_str()).filter(|version| !version.is_empty()));
        self.cited.extend(&reading.citations);
        for article in reading.articles().collect::<HashSet<_>>() {
            *self.found.entry(article).or_default() += 1;
        }
        for passage in reading.passages {
            self.texts.insert(&passage.id, (article(passage), &passage.text));
        }
    }

    /// Whether an article matters: it was cited, or found in more than a turn or two.
    fn minds(&self, article: &str) -> bool {
        self.cited.contains(article) || self.found.get(article).is_some_and(|turns| *turns >= FOUND_MIN)
    }
}

impl<'a> World<'a> {
    pub fn of(turns: &[Turn<'a>]) -> Self {
        let mut world = Self::default();
        for turn in turns {
            world.before.learn(&turn.a);
            world.before.learn(&turn.b);
            world.after.learn(&turn.c);
        }
        for (id, (article, text)) in &world.after.texts {
            if world.before.texts.get(id).is_some_and(|(_, before)| before != text) {
                world.edited.insert(article);
            }
        }
        let steady = !turns.iter().any(|turn| turn.relation(Stage::Passages).is_noise());
        world.articles_tell = steady || world.before.bases != world.after.bases;
        world
    }

    /// Every cause that explains a turn whose root is this stage, the most exact first.
    pub fn causes(&self, turn: &Turn<'a>, root: Stage) -> Vec<Cause<'a>> {
        let (a, c) = (&turn.a, &turn.c);
        match root {
            Stage::Outcome => vec![Cause::Ending { from: a.ending, to: c.ending }],
            Stage::Degraded => {
                let away = c.degraded.iter().filter(|role| !a.degraded.contains(role));
                let back = a.degraded.iter().filter(|role| !c.degraded.contains(role));
                away.map(|role| Cause::Away { role }).chain(back.map(|role| Cause::Back { role })).collect()
            }
            Stage::Language => vec![Cause::Language { from: language(a), to: language(c) }],
            Stage::Intent => self.intents(a.intent, c.intent),
            Stage::Passages => self.passages(turn),
            Stage::Citations => cited(a, c),
            Stage::Kind => vec![Cause::Kind { from: kind(a), to: kind(c) }],
            Stage::Rung => a.voice.zip(c.voice).map(|(from, to)| Cause::Voice { from, to }).into_iter().collect(),
            Stage::Text => vec![wording(c)],
        }
    }

    fn intents(&self, from: &'a str, to: &'a str) -> Vec<Cause<'a>> {
        let mut causes = vec![Cause::Intent { from, to }];
        if !self.after.intents.contains(from) {
            causes.push(Cause::IntentGone { from });
        }
        if !self.before.intents.contains(to) {
            causes.push(Cause::IntentNew { to });
        }
        causes
    }

    /// An article that came, went or was edited explains what moved around it; failing that, what the customer sees of the
    /// move; failing that, the move itself.
    fn passages(&self, turn: &Turn<'a>) -> Vec<Cause<'a>> {
        let (a, c) = (&turn.a, &turn.c);
        let mut causes = Vec::new();
        for article in a.articles().filter(|_| self.articles_tell) {
            if !self.after.found.contains_key(article) && self.before.minds(article) {
                causes.push(Cause::ArticleGone { article });
            }
        }
        for article in c.articles().filter(|_| self.articles_tell) {
            if !self.before.found.contains_key(article) && self.after.minds(article) {
                causes.push(Cause::ArticleNew { article });
            }
        }
        for article in a.articles().chain(c.articles()) {
            if self.edited.contains(article) && texts(a, article) != texts(c, article) {
                causes.push(Cause::ArticleEdited { article });
            }
        }
        if causes.is_empty() && a.kind != c.kind {
            causes.push(Cause::Kind { from: kind(a), to: kind(c) });
        }
        if causes.is_empty() && a.citations != c.citations {
            causes = cited(a, c);
        }
        if causes.is_empty() { vec![Cause::Found] } else { causes }
    }
}

fn cited<'a>(a: &Reading<'a>, c: &Reading<'a>) -> Vec<Cause<'a>> {
    let gone = a.citations.iter().filter(|article| !c.citations.contains(article));
    let new = c.citations.iter().filter(|article| !a.citations.contains(article));
    let causes: Vec<_> = gone
        .map(|article| Cause::CitedNoMore { article })
        .chain(new.map(|article| Cause::CitedNew { article }))
        .collect();
    if causes.is_empty() { vec![Cause::CitedInOrder] } else { causes }
}

fn texts<'a>(reading: &Reading<'a>, key: &str) -> Vec<(&'a str, &'a str)> {
    reading.passages.iter().filter(|p| article(p) == key).map(|p| (p.id.as_str(), p.text.as_str())).collect()
}

fn language(reading: &Reading<'_>) -> &'static str {
    reading.record.map_or("", |record| record.language.code())
}

fn kind(reading: &Reading<'_>) -> &'static str {
    reading.kind.map_or("", |kind| kind.name())
}

fn wording<'a>(reading: &Reading<'a>) -> Cause<'a> {
    let rung = reading.voice.map_or(reading.ending.name, |voice| voice.rung);
    Cause::Wording { rung, intent: (rung == "canned").then_some(reading.intent) }
}
