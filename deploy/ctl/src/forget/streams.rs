//! What lies in the broker's streams: looked through message by message, and what is theirs overwritten.

use std::time::Instant;

use anyhow::Result;
use talkfleet_shared::{
    bus::{Bus, Lying},
    chat::{Ask, Feedback, Frame, FrameBody, Outcome, TurnHead},
    dead::History,
    header,
    id::{ConversationId, RequestId, TenantId, UserId},
    owner, subject,
    topology::{ASK, CANCELS, DEAD, DELIVERIES_MAX, JOURNAL, OWNERS, TURNS},
};
use talkfleet_worker::store::Store;

use super::{
    place::Place,
    retold::retelling,
    search::{Found, Item, Search},
};

/// What the streams of every replay's lane begin with.
const LANES: &str = "SHADOW_";

/// Everything, to the broker.
const EVERYTHING: &str = ">";

/// What a message says of whose it is.
#[derive(Default)]
struct Marks {
    tenant: Option<TenantId>,
    user: Option<UserId>,
    conversation: Option<ConversationId>,
    request: Option<RequestId>,
    at_ms: u64,
    text: Option<String>,
}

impl Marks {
    fn of(message: &Lying) -> Self {
        let at_ms = message.stored_at_ms();
        let letters = subject::every_tenant(subject::DEAD);
        if message.subject.starts_with(letters.trim_end_matches('*')) {
            let history = message.header(header::HISTORY).and_then(|text| serde_json::from_str::<History>(text).ok());
            let asked_at_ms = history.map(|history| history.stored_at_ms).filter(|ms| *ms > 0).unwrap_or(at_ms);
            let origin = message.header(header::ORIGIN).unwrap_or_default().to_owned();
            let marks = Self::read(&origin, message, asked_at_ms);
            let of_letter = || subject::parse_tenant(&message.subject);
            return Self { tenant: marks.tenant.clone().or_else(of_letter), ..marks };
        }
        Self::read(&message.subject, message, at_ms)
    }

    /// What is known of a message that lies, or lay, on a subject.
    fn read(on: &str, message: &Lying, at_ms: u64) -> Self {
        let request = message.header(header::REQUEST).or_else(|| message.header(header::MESSAGE_ID));
        let request = request.and_then(|id| RequestId::parse(id).ok());
        if let Some((tenant, conversation)) = subject::parse_ask(on) {
            let ask = message.read::<Ask>().ok();
            let (user, text) = ask.map_or((None, None), |ask| (ask.user, Some(ask.text.into())));
            return Self { tenant: Some(tenant), user, conversation: Some(conversation), request, at_ms, text };
        }
        if let Ok(head) = message.read::<TurnHead>() {
            return Self {
                tenant: Some(head.tenant),
                user: head.ask.user,
                conversation: Some(head.conversation),
                request: Some(head.request),
                at_ms: head.asked_at_ms,
                text: Some(head.ask.text.into()),
            };
        }
        if let Ok(verdict) = message.read::<Feedback>() {
            let Feedback { tenant, request, user, reason, given_at_ms, .. } = verdict;
            let (tenant, request) = (Some(tenant), Some(request));
            return Self { tenant, user, conversation: None, request, at_ms: given_at_ms, text: reason };
        }
        if let Some((tenant, request)) = subject::parse_request(on) {
            let user = message.header(header::USER).and_then(|user| UserId::parse(user).ok());
            return Self { tenant: Some(tenant), user, request: Some(request), at_ms, ..Self::default() };
        }
        Self { tenant: subject::parse_tenant(on), request, at_ms, ..Self::default() }
    }

    fn item<'a>(&'a self, raw: &'a [&'a [u8]]) -> Item<'a> {
        Item {
            tenant: self.tenant.as_ref(),
            user: self.user.as_ref(),
            conversation: self.conversation.as_ref(),
            request: self.request.as_ref(),
            at_ms: self.at_ms,
            text: self.text.as_deref(),
            raw,
        }
    }
}

/// How much what only mentions somebody counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mentioned {
    /// It is another customer's, and is told.
    Told,
    /// The same, and the archive keeps a copy that can be written anew.
    Archived,
    /// It is a copy, or nobody's: it goes.
    Goes,
}

/// Looks through every stream, in the order in which messages come in; with `erase`, what is theirs is overwritten.
/// Turns of others that tell of them go as soon as the archive has them without that.
pub(super) async fn look(bus: &Bus, store: &Store, search: &mut Search, erase: bool) -> Result<Vec<Place>> {
    let (tenant, desk) = (search.tenant().cloned(), (bus, store));
    let one = |of: fn(&TenantId) -> String, every: fn() -> String| tenant.as_ref().map_or_else(every, of);
    let mut places = vec![asks(bus, search, erase).await?];
    let cancels = one(subject::cancels_of_tenant, subject::every_cancel);
    places.push(stream(desk, search, erase, CANCELS, &[cancels], Mentioned::Goes).await?);
    places.push(owners(bus, search, erase).await?);
    let turns = one(subject::turns_of_tenant, subject::every_turn);
    places.push(stream(desk, search, erase, TURNS, &[turns], Mentioned::Archived).await?);
    let journal = match &tenant {
        Some(tenant) => vec![subject::journal_of(tenant.as_str()), subject::feedback(tenant)],
        None => vec![EVERYTHING.to_owned()],
    };
    places.push(stream(desk, search, erase, JOURNAL, &journal, Mentioned::Archived).await?);
    let dead = match &tenant {
        Some(tenant) => vec![subject::dead(Some(tenant)), subject::dead(None)],
        None => vec![EVERYTHING.to_owned()],
    };
    places.push(stream(desk, search, erase, DEAD, &dead, Mentioned::Goes).await?);
    for lane in bus.streams_named(LANES).await? {
        places.push(match lane.ends_with(ASK) {
            true => queue(bus, search, erase, &lane).await?,
            false => stream(desk, search, erase, &lane, &[EVERYTHING.to_owned()], Mentioned::Goes).await?,
        });
    }
    Ok(places)
}

/// How many of their messages are on the queue, waiting or being answered.
pub(super) async fn open_asks(bus: &Bus, search: &mut Search) -> Result<u64> {
    Ok(asks(bus, search, false).await?.theirs)
}

async fn stream(
    (bus, store): (&Bus, &Store),
    search: &mut Search,
    erase: bool,
    name: &str,
    subjects: &[String],
    mentioned: Mentioned,
) -> Result<Place> {
    let (began, mut place, mut theirs, mut retold) = (Instant::now(), Place::new(name), Vec::new(), Vec::new());
    for subjects in subjects {
        let mut messages = bus.sift(name, subjects).await?;
        while let Some(message) = messages.next().await? {
            place.looked_at += 1;
            let (marks, found) = judge(search, &message, mentioned);
            if mentioned == Mentioned::Archived
                && let Some(record) = retelling(search, &marks.item(&[]), found, || message.read().ok())
            {
                place.retold += 1;
                retold.push((message.sequence, record));
                continue;
            }
            match found {
                Found::Theirs => theirs.push(message.sequence),
                Found::Mentions => place.mention(message.sequence.to_string()),
                Found::Anothers => {}
            }
        }
    }
    place.theirs = theirs.len() as u64;
    let place = place.took(began.elapsed());
    if !erase {
        return Ok(place);
    }
    for (sequence, record) in retold {
        if store.rewrite_archived(&record).await? {
            theirs.push(sequence);
        }
    }
    Ok(Place { erased: bus.erase(name, theirs).await?, ..place })
}

fn judge(search: &mut Search, message: &Lying, mentioned: Mentioned) -> (Marks, Found) {
    let mut raw: Vec<&[u8]> = vec![&message.body, message.subject.as_bytes()];
    raw.extend(message.header_values().into_iter().map(str::as_bytes));
    let marks = Marks::of(message);
    let found = search.judge(&marks.item(&raw));
    if mentioned != Mentioned::Goes || found == Found::Theirs {
        return (marks, found);
    }
    // A copy of what they said says so under other ids: its words decide alone.
    let tenant = marks.tenant.as_ref().or(search.tenant()).cloned();
    let nameless = Item { tenant: tenant.as_ref(), at_ms: marks.at_ms, raw: &raw, ..Item::default() };
    let found = match search.judge(&nameless) {
        Found::Anothers => Found::Anothers,
        Found::Theirs | Found::Mentions => Found::Theirs,
    };
    (marks, found)
}

/// The queue of asks; whoever waits for one that goes is told that it stopped.
async fn asks(bus: &Bus, search: &mut Search, erase: bool) -> Result<Place> {
    let subjects = search.tenant().map_or_else(subject::every_ask, subject::asks_of_tenant);
    let (began, mut place) = (Instant::now(), Place::new(ASK));
    for message in bus.queued(ASK, &subjects).await? {
        place.looked_at += 1;
        if judge(search, &message, Mentioned::Told).1 != Found::Theirs {
            continue;
        }
        place.theirs += 1;
        if erase {
            place.erased += bus.erase(ASK, vec![message.sequence]).await?;
            tell_stopped(bus, &message).await;
        }
    }
    Ok(place.took(began.elapsed()))
}

/// The only frame of a message that nobody will answer; otherwise its gateway would write down that it expired.
async fn tell_stopped(bus: &Bus, message: &Lying) {
    let reply_to = message.header(header::REPLY_TO).filter(|to| subject::is_reply(to));
    let Some((reply_to, request)) = reply_to.zip(Marks::of(message).request) else { return };
    let attempt = DELIVERIES_MAX as u32 + 1;
    let last = FrameBody::last(&Outcome::Cancelled { text: String::new(), by: None });
    for (seq, body) in [(1, FrameBody::Restart), (2, last)] {
        // Whoever is not there any more does not wait either.
        let _ = bus.emit(reply_to, &Frame { request: request.clone(), attempt, seq, body }).await;
    }
}

/// The queue of a replay's lane.
async fn queue(bus: &Bus, search: &mut Search, erase: bool, name: &str) -> Result<Place> {
    let (began, mut place, mut theirs) = (Instant::now(), Place::new(name), Vec::new());
    for message in bus.queued(name, EVERYTHING).await? {
        place.looked_at += 1;
        if judge(search, &message, Mentioned::Goes).1 == Found::Theirs {
            theirs.push(message.sequence);
        }
    }
    place.theirs = theirs.len() as u64;
    place.erased = if erase { bus.erase(name, theirs).await? } else { 0 };
    Ok(place.took(began.elapsed()))
}

/// Who owns conversations: given back to the bot first, so that every worker hears of it, and then without a trace.
async fn owners(bus: &Bus, search: &mut Search, erase: bool) -> Result<Place> {
    let (name, prefix) = (format!("KV_{OWNERS}"), format!("$KV.{OWNERS}."));
    let (began, mut place, mut theirs) = (Instant::now(), Place::new(&name), Vec::new());
    let mut entries = bus.sift(&name, EVERYTHING).await?;
    while let Some(entry) = entries.next().await? {
        place.looked_at += 1;
        let key = entry.subject.strip_prefix(&prefix).unwrap_or_default().to_owned();
        let Some((tenant, conversation)) = owner::parse_key(&key) else { continue };
        let item = Item { tenant: Some(&tenant), conversation: Some(&conversation), ..Item::default() };
        if search.judge(&item) == Found::Theirs {
            theirs.push((key, entry.subject, entry.body.is_empty()));
        }
    }
    place.theirs = theirs.len() as u64;
    if erase {
        for (key, subject, released) in theirs {
            if !released {
                bus.remove(OWNERS, &key).await?;
            }
            place.erased += u64::from(bus.purge_subject(&name, &subject).await? > 0);
        }
    }
    Ok(place.took(began.elapsed()))
}
