//! The laws: what must hold whatever happened, and what must come once nothing happens any more.

use std::collections::HashMap;

use talkfleet_shared::{
    bus::model::Model,
    chat::{FrameBody, TurnRecord},
    envelope::{self, Format},
    id::RequestId,
    topology::{ASK, TURNS},
};

use crate::customer::Told;

/// The records, in the order in which they were stored.
pub fn records(model: &Model) -> Vec<TurnRecord> {
    let stored = model.stored(TURNS).into_iter();
    stored.map(|(_, body)| envelope::decode_large(&body, Format::MessagePack).unwrap()).collect()
}

/// Safety: nothing wrong was ever shown or stored.
pub fn safety(model: &Model, told: &[Told]) -> Vec<String> {
    let mut violations: Vec<String> = told.iter().flat_map(|told| told.violations.clone()).collect();
    let records = records(model);
    let place: HashMap<&RequestId, usize> = records.iter().map(|record| &record.request).zip(0..).collect();
    for told in told {
        let Some(last) = &told.last else { continue };
        let record = told.request.as_ref().and_then(|request| place.get(request)).map(|place| &records[*place]);
        let same = record.map(|record| FrameBody::last(&record.outcome) == *last);
        // A gateway may say by itself that a turn expired, as long as nobody ever says otherwise.
        let expired = matches!(last, FrameBody::Expired { .. });
        if same == Some(false) || same.is_none() && !expired {
            let outcome = record.map_or("nothing", |record| record.outcome.name());
            violations.push(format!("{}: was shown '{}', and stored is another '{outcome}'", told.key, last.name()));
        }
    }
    for (before, after) in told.iter().flat_map(|a| told.iter().map(move |b| (a, b))) {
        let follows = before.accepted_no.is_some_and(|accepted_no| accepted_no < after.sent_no);
        if before.conversation != after.conversation || !follows || before.request == after.request {
            continue;
        }
        let place_of = |told: &Told| told.request.as_ref().and_then(|request| place.get(request).copied());
        if let (Some(first), Some(second)) = (place_of(before), place_of(after))
            && first > second
        {
            violations.push(format!("{} was sent after {} and answered before it", after.key, before.key));
        }
    }
    violations
}

/// Liveness: once the faults are over, everything accepted has its one outcome, and nothing blocks a conversation.
pub fn liveness(model: &Model, told: &[Told]) -> Vec<String> {
    let mut violations = Vec::new();
    let records = records(model);
    for told in told {
        let stored = records.iter().any(|record| Some(&record.request) == told.request.as_ref());
        match (told.accepted_no, stored, &told.last) {
            (Some(_), false, _) => violations.push(format!("{}: was accepted and has no outcome", told.key)),
            (_, true, None) => violations.push(format!("{}: has an outcome that its customer never saw", told.key)),
            (None, false, None) => violations.push(format!("{}: was never taken", told.key)),
            _ => {}
        }
    }
    let waiting = model.stored(ASK).len();
    if waiting > 0 {
        violations.push(format!("{waiting} asks are left on the queue"));
    }
    violations
}
