//! PURE: who speaks for the model when traffic is replayed: what it said then, the model itself, or nobody.

use talkfleet_shared::chat::{ModelCall, ModelUse, Replayed};

/// Who speaks for the model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speaker<'a> {
    Model,
    /// What it said to the same prompt when it was asked for real.
    Recording(&'a ModelCall),
    /// The next rung of the ladder.
    Nobody,
}

/// A recording answers only the prompt that it was made of: another prompt might have had another answer.
pub fn speaker<'a>(replayed: Option<&'a Replayed>, prompt_digest: &str) -> Speaker<'a> {
    let Some(Replayed { model, call }) = replayed else { return Speaker::Model };
    let same = call.as_ref().filter(|call| call.prompt_digest == prompt_digest);
    match (model, same) {
        (ModelUse::Live, _) => Speaker::Model,
        (ModelUse::Off, _) => Speaker::Nobody,
        (ModelUse::Recorded | ModelUse::RecordedOrLive, Some(call)) => Speaker::Recording(call),
        (ModelUse::RecordedOrLive, None) => Speaker::Model,
        (ModelUse::Recorded, None) => Speaker::Nobody,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_answers_only_its_own_prompt() {
        let call =
            ModelCall { prompt_digest: "a".into(), text: "Two days [1].".into(), finish: "stop".into(), usage: None };
        let wish = |model| Replayed { model, call: Some(call.clone()) };
        assert_eq!(speaker(None, "a"), Speaker::Model);
        assert_eq!(speaker(Some(&wish(ModelUse::Recorded)), "a"), Speaker::Recording(&call));
        assert_eq!(speaker(Some(&wish(ModelUse::Recorded)), "b"), Speaker::Nobody);
        assert_eq!(speaker(Some(&wish(ModelUse::RecordedOrLive)), "b"), Speaker::Model);
        assert_eq!(speaker(Some(&wish(ModelUse::Live)), "a"), Speaker::Model);
        assert_eq!(speaker(Some(&wish(ModelUse::Off)), "a"), Speaker::Nobody);
    }
}
