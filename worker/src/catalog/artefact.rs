//! Trained intents as they are published: the model, and beside it what the desk knows and says for each intent.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::{
    intent::{self, IntentModel, IntentSet, Kind},
    text,
};

/// Layout of the artefact; a reader refuses a later one, since a set is trained again in seconds.
const LAYOUT: u32 = 1;

/// Why published intents cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArtefactError {
    #[error("the published intents cannot be read ({0}); train and publish them again")]
    Unreadable(String),
    #[error("the published intents have layout {0}, this release reads {LAYOUT}; train them again with this release")]
    OtherLayout(u32),
    #[error(transparent)]
    Model(#[from] intent::ArtefactError),
}

/// What is published of a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntentsArtefact {
    layout: u32,
    pub intents: Vec<IntentCard>,
    /// Texts that belong to no intent.
    pub out_of_scope: u32,
    #[serde(with = "serde_bytes")]
    model: Vec<u8>,
}

/// One intent without its examples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntentCard {
    pub name: String,
    pub kind: Kind,
    pub description: String,
    /// Examples by language tag.
    pub examples: BTreeMap<String, u32>,
    /// Approved answers by language tag.
    pub replies: BTreeMap<String, Vec<String>>,
}

impl IntentsArtefact {
    /// What is published of a set and the model that was trained from it.
    pub fn new(set: &IntentSet, model: &IntentModel) -> Result<Self, ArtefactError> {
        let mut counts: HashMap<&str, BTreeMap<String, u32>> = HashMap::new();
        for example in &set.examples {
            let language = text::language(&example.text).tag().to_owned();
            *counts.entry(&example.intent).or_default().entry(language).or_default() += 1;
        }
        let card = |intent: &intent::Intent| IntentCard {
            name: intent.name.clone(),
            kind: intent.kind,
            description: intent.description.clone(),
            examples: counts.get(intent.name.as_str()).cloned().unwrap_or_default(),
            replies: intent.replies.clone(),
        };
        Ok(Self {
            layout: LAYOUT,
            intents: set.intents.iter().map(card).collect(),
            out_of_scope: u32::try_from(set.out_of_scope.len()).unwrap_or(u32::MAX),
            model: model.to_bytes()?,
        })
    }

    pub fn to_bytes(&self) -> Result<Vec<u8>, ArtefactError> {
        rmp_serde::to_vec_named(self).map_err(|error| ArtefactError::Unreadable(error.to_string()))
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ArtefactError> {
        #[derive(Deserialize)]
        struct Layout {
            layout: u32,
        }
        let unreadable = |error: rmp_serde::decode::Error| ArtefactError::Unreadable(error.to_string());
        let Layout { layout } = rmp_serde::from_slice(bytes).map_err(unreadable)?;
        if layout != LAYOUT {
            return Err(ArtefactError::OtherLayout(layout));
        }
        rmp_serde::from_slice(bytes).map_err(unreadable)
    }

    /// The model within.
    pub fn model(&self) -> Result<IntentModel, ArtefactError> {
        Ok(IntentModel::from_bytes(&self.model)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::Encoders;
    use crate::intent::{Choice, Message, parse, train};

    const FILE: &str = "version: 1\nintents:\n  - name: hello\n    kind: small_talk\n    examples:\n      en: [\"hi\", \"hello there\", \"good morning\"]\n      zh: [\"你好\"]\n    replies:\n      en: [\"Hello!\"]\n  - name: refund\n    examples:\n      en: [\"refund please\", \"my money back\", \"where is my refund\"]\n";

    #[test]
    fn what_is_published_comes_back() {
        let set = parse(FILE).unwrap();
        let model = train(&set, &Encoders::default(), &mut |_| {}).unwrap();
        let artefact = IntentsArtefact::new(&set, &model).unwrap();
        let again = IntentsArtefact::from_bytes(&artefact.to_bytes().unwrap()).unwrap();
        assert_eq!(again, artefact);
        assert_eq!(again.intents[0].examples, BTreeMap::from([("en".into(), 3), ("zh".into(), 1)]));
        assert_eq!(again.intents[0].replies["en"], ["Hello!"]);
        let read = |model: &IntentModel| model.read(&Message::bare("refund"), Choice::Cascade);
        assert_eq!(read(&again.model().unwrap()), read(&model));
    }

    #[test]
    fn junk_and_later_layouts_are_refused() {
        assert!(matches!(IntentsArtefact::from_bytes(b"junk"), Err(ArtefactError::Unreadable(_))));
        let later = rmp_serde::to_vec_named(&BTreeMap::from([("layout", 9)])).unwrap();
        assert!(matches!(IntentsArtefact::from_bytes(&later), Err(ArtefactError::OtherLayout(9))));
    }
}
