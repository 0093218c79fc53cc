//! The training lines nearest to a wrong one: what the model may have gone by.

use std::collections::HashMap;

use super::{
    data::Labelled,
    lists::{Neighbour, Wrong},
    review::NONE,
    subject::Subject,
};
use crate::replay::report::alike::{dice, normalised};

/// Lines of an intent that are compared by meaning, chosen by their characters: all of them would cost as much as a training.
const COMPARED_MAX: usize = 25;

/// Neighbours of the found intent, and as many of the right one.
const SHOWN: usize = 2;

/// Puts its nearest training lines to every error.
pub fn add(subject: &Subject, train: &[Labelled], errors: &mut [Wrong]) {
    let mut classes: HashMap<&str, Vec<(&str, String)>> = HashMap::new();
    for line in train {
        let intent = line.intent.as_deref().unwrap_or(NONE);
        classes.entry(intent).or_default().push((&line.text, normalised(&line.text)));
    }
    let near_by_letters = |text: &str, intent: &str| {
        let plain = normalised(text);
        let own = classes.get(intent).into_iter().flatten();
        let mut ranked: Vec<(&str, f64)> = own.map(|(text, other)| (*text, dice(&plain, other))).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked.truncate(COMPARED_MAX);
        ranked
    };
    let chosen: Vec<[Vec<(&str, f64)>; 2]> = errors
        .iter()
        .map(|error| [&error.found, &error.intent].map(|intent| near_by_letters(&error.text, intent)))
        .collect();
    let mut texts: Vec<&str> = chosen.iter().flatten().flatten().map(|(text, _)| *text).collect();
    texts.extend(errors.iter().map(|error| error.text.as_str()));
    texts.sort_unstable();
    texts.dedup();
    let meanings: Option<HashMap<String, Vec<f32>>> =
        subject.embed(&texts).map(|found| texts.iter().map(|text| (*text).to_owned()).zip(found).collect());
    for (error, both) in errors.iter_mut().zip(chosen) {
        let own = meanings.as_ref().and_then(|meanings| meanings.get(&error.text));
        let near = |text: &str, by_letters: f64| match (own, meanings.as_ref().and_then(|all| all.get(text))) {
            (Some(a), Some(b)) => f64::from(talkfleet_worker::encoder::cosine(a, b)),
            _ => by_letters,
        };
        let mut neighbours = Vec::new();
        for (intent, candidates) in [error.found.clone(), error.intent.clone()].into_iter().zip(both) {
            let mut ranked: Vec<Neighbour> = candidates
                .into_iter()
                .map(|(text, letters)| Neighbour {
                    text: text.to_owned(),
                    intent: intent.clone(),
                    near: near(text, letters),
                })
                .collect();
            ranked.sort_by(|a, b| b.near.total_cmp(&a.near));
            neighbours.extend(ranked.into_iter().take(SHOWN));
        }
        error.neighbours = neighbours;
    }
}
