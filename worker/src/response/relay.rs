//! A model's words on their way to the customer: asked for within the tenant's share, edited, told as they come.

use talkfleet_shared::{
    bus,
    chat::{Kind, ModelCall, Passage, Rung, Usage},
    clock,
    id::TenantId,
    spans::{self, key},
};

use super::{
    Brief, Speakers, Spoken,
    cassette::{Speaker, speaker},
    editor::{Edited, Editor, Stop},
    marks,
    model::{Answering, ModelError, Piece},
    prompt::{Prompt, Question},
    sources,
};
use crate::turn::Voice;

/// Why a model stops when it was not done.
const CUT_SHORT: [&str; 2] = ["length", "content_filter"];

impl Speakers {
    /// Passes on what a model says, sentence by sentence, as far as the passages support it.
    pub(super) async fn relay(
        &self,
        passages: &[Passage],
        brief: &Brief<'_>,
        voice: &mut Voice<'_>,
    ) -> Result<Relayed, ModelError> {
        let question = Question {
            text: brief.text,
            intent: brief.intent,
            language: brief.language,
            history: brief.history,
            passages,
        };
        let hosts = passages.iter().filter_map(|passage| marks::host(&passage.url)).map(str::to_owned).collect();
        let ground = self.readings.ground(passages, brief.text).await;
        let mut editor = Editor::new(ground, hosts, self.plan.grounding);
        let prompt = Prompt::new(&self.model_config, &question);
        let prompt_digest = bus::digest(&serde_json::to_vec(&prompt).unwrap_or_default());
        let (started, mut share, mut span) = (clock::now(), None, None);
        let mut answering = match speaker(brief.replayed, &prompt_digest) {
            Speaker::Recording(call) => Answering::recorded(call),
            Speaker::Model => {
                let model = self.model(brief.size).ok_or(ModelError::Away)?;
                share = Some(Share::enter(self, brief.tenant)?);
                let leave = model.enter()?;
                let asked = brief.span.child("chat", spans::Kind::Client).with(key::MODEL_OPERATION, "chat");
                // Until an answer has come off it has failed, by whichever way this ends.
                span.insert(asked).fail("no answer");
                voice.ask_model().await;
                model.ask(leave, &prompt, brief.left).await?
            }
            Speaker::Nobody => return Err(ModelError::Unrecorded),
        };
        let told = match tell(&mut answering, &mut editor, voice).await {
            Ok(told) if told.text.trim().is_empty() => return Err(answering.fail(ModelError::Empty)),
            Ok(told) => told,
            Err(error) => return Err(answering.fail(error)),
        };
        let usage = answering.finish();
        if let Some(mut span) = span {
            span.succeed();
            if let Some(usage) = &usage {
                span.set_text(key::MODEL, || usage.model.clone());
                span.set(key::TOKENS_IN, i64::from(usage.prompt_tokens));
                span.set(key::TOKENS_OUT, i64::from(usage.completion_tokens));
            }
        }
        if let Some(share) = share {
            share.cost(usage.as_ref());
            // A question that is cut off early took less than a whole answer.
            if let (Some(model), None) = (self.model(brief.size), told.stop) {
                model.took(clock::since(started));
            }
        }
        let mut citations = sources::citations(editor.cited().filter_map(|n| passages.get(n)));
        if citations.is_empty() && editor.has_claimed() {
            // Supported by what it was shown, and it did not say by which.
            citations = sources::citations(passages.first());
        }
        let call = ModelCall { prompt_digest, text: told.text, finish: told.finish, usage: usage.clone() };
        let spoken =
            Spoken { citations, usage, model_call: Some(call), rung: Rung::Model, ..Spoken::canned(Kind::Answer) };
        // Courtesies alone are no answer.
        let stop = told.stop.or((!editor.has_claimed()).then_some(Stop::Ignorance));
        Ok(Relayed { stop, spoken })
    }
}

/// A tenant's share of the model while an answer is generated.
struct Share<'a> {
    speakers: &'a Speakers,
    tenant: &'a TenantId,
    tokens: u32,
}

impl<'a> Share<'a> {
    fn enter(speakers: &'a Speakers, tenant: &'a TenantId) -> Result<Self, ModelError> {
        speakers.allowances().enter(tenant, clock::now()).map_err(|_| ModelError::Away)?;
        Ok(Self { speakers, tenant, tokens: 0 })
    }

    fn cost(mut self, usage: Option<&Usage>) {
        self.tokens = usage.map_or(0, |usage| usage.prompt_tokens.saturating_add(usage.completion_tokens));
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.speakers.allowances().leave(self.tenant, self.tokens, clock::now());
    }
}

/// What came of a model's speech.
pub(super) struct Relayed {
    /// Why it was not heard to the end.
    pub(super) stop: Option<Stop>,
    pub(super) spoken: Spoken,
}

/// What a model said, and what it said about it.
#[derive(Default)]
struct Told {
    text: String,
    finish: String,
    stop: Option<Stop>,
}

/// Says what the model says, as far as it is let through, until it ends.
async fn tell(answering: &mut Answering, editor: &mut Editor, voice: &mut Voice<'_>) -> Result<Told, ModelError> {
    let mut told = Told::default();
    loop {
        let piece = tokio::select! {
            biased;
            piece = answering.next() => piece,
            () = voice.due() => {
                voice.flush().await;
                continue;
            }
        };
        let edited = match piece? {
            Piece::Words(words) => {
                told.text.push_str(&words);
                editor.push(&words)
            }
            Piece::Finish(finish) => {
                told.finish = finish;
                continue;
            }
            Piece::Usage { .. } => continue,
            Piece::End => {
                // What was cut short ends in half a sentence.
                let edited =
                    if CUT_SHORT.contains(&told.finish.as_str()) { Edited::default() } else { editor.finish() };
                voice.say(&edited.text).await;
                return Ok(Told { stop: edited.stop, ..told });
            }
        };
        voice.say(&edited.text).await;
        if edited.stop.is_some() {
            return Ok(Told { stop: edited.stop, ..told });
        }
    }
}
