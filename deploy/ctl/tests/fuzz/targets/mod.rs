//! Every target: its name, its reader, and the folders whose files it begins with.

/// What travels on the bus: bodies, subjects, headers, frames.
mod wire;

/// What customers' programs send: HTTP, OpenAI's format, sockets, tokens.
mod faces;

/// What operators hand in: configuration, labelled files, messages, a replay's folder.
mod files;

/// Files of knowledge.
mod knowledge;

/// What models and model servers say.
mod models;

/// A reader of what comes from outside, with its promises: it panics when one does not hold.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&[u8]),
    /// Folders of files to begin with, relative to the corpus.
    #[cfg_attr(feature = "fuzz", expect(dead_code, reason = "the script hands libFuzzer the folders"))]
    pub(crate) seeds: &'static [&'static str],
}

macro_rules! targets {
    ($($name:ident = $room:ident::$run:ident, $($seeds:literal)*;)*) => {
        pub(crate) const TARGETS: &[Target] =
            &[$(Target { name: stringify!($name), run: $room::$run, seeds: &[stringify!($name), $($seeds),*] }),*];
    };
}

targets! {
    envelope = wire::envelope, "../../../../../schemas/wire/golden/v1";
    subject = wire::subject,;
    delivery = wire::delivery,;
    headers = faces::headers,;
    frames = wire::frames,;
    bearer = faces::bearer,;
    jwt = faces::jwt,;
    chat = faces::chat,;
    completion = faces::completion,;
    socket = faces::socket,;
    config = files::config,;
    intents = files::intents,;
    labelled = files::labelled,;
    messages = files::messages,;
    edited = files::edited,;
    replay = files::replay,;
    markdown = knowledge::markdown,;
    html = knowledge::html,;
    text = knowledge::text,;
    csv = knowledge::csv,;
    jsonl = knowledge::jsonl,;
    pdf = knowledge::pdf,;
    model_event = models::event,;
    model_server = models::server,;
}

/// What people are told: one line, not too long, and nothing that a terminal obeys.
#[track_caller]
pub(crate) fn sentence(text: &str, chars_max: usize) {
    let odd = text.chars().find(|c| c.is_control());
    assert!(odd.is_none() && !text.trim().is_empty(), "no sentence: {text:?}");
    assert!(text.chars().count() <= chars_max, "a sentence of {} characters: {text}", text.chars().count());
}

/// What may stand in a subject, a key or a label.
#[track_caller]
pub(crate) fn token(text: &str) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    assert!((1..=64).contains(&text.len()) && text.bytes().all(plain), "no token: {text:?}");
}
