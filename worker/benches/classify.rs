//! What it costs to recognise an intent by a message's words, with the demo's intents.

use divan::{Bencher, black_box};
use talkfleet_worker::{
    encoder::Encoders,
    intent::{Choice, IntentModel, Message, parse, train},
};

const INTENTS: &str = include_str!("../../schemas/demo/intents.yaml");

const MESSAGES: [&str; 4] =
    ["Where is my parcel?", "I want to talk to a human, please", "退款多久到账？", "what's the weather like on Mars"];

fn main() {
    divan::main();
}

fn model() -> Option<IntentModel> {
    train(&parse(INTENTS).ok()?, &Encoders::default(), &mut |_| {}).ok()
}

#[divan::bench(args = MESSAGES)]
fn recognise(bencher: Bencher, text: &str) {
    let model = model();
    bencher.bench_local(|| model.as_ref().map(|model| model.read(black_box(&Message::bare(text)), Choice::Cascade)));
}
