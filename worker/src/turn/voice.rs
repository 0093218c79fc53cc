//! How a turn speaks: what the speech numbers goes out on the line at once.

use talkfleet_shared::{
    chat::{Citation, Frame, Intent, Language, Outcome, Parked},
    clock,
    id::RequestId,
};

use super::{
    running::Line,
    speech::{Said, Speech},
};

/// One attempt's speech on its line.
pub struct Voice<'a> {
    speech: Speech,
    line: &'a Line,
    asked_model: bool,
}

impl<'a> Voice<'a> {
    pub async fn open(line: &'a Line, request: RequestId, attempt: u32) -> Self {
        let (speech, restart) = Speech::open(request, attempt);
        let mut voice = Self { speech, line, asked_model: false };
        voice.send(restart).await;
        voice
    }

    pub async fn tell_intent(&mut self, intent: &Intent, language: Language) {
        let frame = self.speech.tell_intent(intent, language);
        self.send(frame).await;
    }

    pub async fn tell_parked(&mut self, parked: Parked) {
        self.line.is_slow().await;
        let frame = self.speech.tell_parked(parked);
        self.send(frame).await;
    }

    pub async fn tell_sources(&mut self, citations: &[Citation]) {
        let frame = self.speech.tell_sources(citations);
        self.send(frame).await;
    }

    /// Words of a stream: the first leave at once, later ones on the cadence.
    pub async fn say(&mut self, words: &str) {
        let frame = self.speech.say(words, clock::now());
        self.send(frame).await;
    }

    /// Whole sentences: they leave as they are.
    pub async fn say_at_once(&mut self, words: &str) {
        self.say(words).await;
        self.flush().await;
    }

    /// Waits until held words are due; for ever when none are.
    pub async fn due(&self) {
        match self.speech.due() {
            Some(due) => tokio::time::sleep_until(due.into()).await,
            None => std::future::pending().await,
        }
    }

    /// Sends held words.
    pub async fn flush(&mut self) {
        let frame = self.speech.flush(clock::now());
        self.send(frame).await;
    }

    /// Everything said, and what is held.
    pub fn text(&self) -> &str {
        self.speech.text()
    }

    /// A model is asked now what to say: from here on the turn costs, whether or not it says anything.
    pub async fn ask_model(&mut self) {
        self.asked_model = true;
        self.line.is_slow().await;
    }

    pub fn has_asked_model(&self) -> bool {
        self.asked_model
    }

    pub fn said(&self) -> Said {
        self.speech.said()
    }

    /// The outcome; nothing can be said after it.
    pub async fn end(mut self, outcome: &Outcome) {
        let last = self.speech.last(outcome);
        self.send(Some(last)).await;
    }

    async fn send(&mut self, frame: Option<Frame>) {
        if let Some(frame) = frame
            && let Err(stayed) = self.line.send(frame).await
        {
            self.speech.take_back(&stayed);
        }
    }
}
