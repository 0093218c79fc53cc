//! What an ask and an answer cost on their way: written and read in both formats.

use divan::{Bencher, black_box};
use talkfleet_shared::{
    chat::{Ask, Frame, MessageText},
    envelope::{self, Format},
};

/// A last frame as a worker sends it, with a quotation and its source.
const LAST_FRAME: &str = include_str!("../../schemas/wire/golden/v1/frame.done.json");

const FORMATS: [Format; 2] = [Format::MessagePack, Format::Json];

fn main() {
    divan::main();
}

fn ask() -> Option<Ask> {
    MessageText::parse("How long does delivery to Australia take, and what does it cost?").ok().map(Ask::new)
}

#[divan::bench(args = FORMATS)]
fn write_ask(bencher: Bencher, format: Format) {
    let ask = ask();
    bencher.bench(|| ask.as_ref().map(|ask| envelope::encode(black_box(ask), format)));
}

#[divan::bench(args = FORMATS)]
fn read_ask(bencher: Bencher, format: Format) {
    let body = ask().and_then(|ask| envelope::encode(&ask, format).ok()).unwrap_or_default();
    bencher.bench(|| envelope::decode::<Ask>(black_box(&body), format));
}

#[divan::bench(args = FORMATS)]
fn write_last_frame(bencher: Bencher, format: Format) {
    let frame: Result<Frame, _> = serde_json::from_str(LAST_FRAME);
    bencher.bench(|| frame.as_ref().map(|frame| envelope::encode(black_box(frame), format)));
}

#[divan::bench(args = FORMATS)]
fn read_last_frame(bencher: Bencher, format: Format) {
    let frame: Option<Frame> = serde_json::from_str(LAST_FRAME).ok();
    let body = frame.and_then(|frame| envelope::encode(&frame, format).ok()).unwrap_or_default();
    bencher.bench(|| envelope::decode_large::<Frame>(black_box(&body), format));
}
