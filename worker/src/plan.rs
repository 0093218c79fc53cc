//! PURE: what the desk does with a message, given what was recognised, what was found, and who can speak.

use talkfleet_shared::chat::{Intent, IntentReply, RetrieveReply};

use crate::config::PlanConfig;

/// Small talk that is this sure is no question, however near an article comes: "are you a robot?" is asked of the robot.
const SMALL_TALK_SURE_MIN: f32 = 0.97;

/// What is known when the plan is made; a role that could not be asked left None.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    pub intent: Option<&'a IntentReply>,
    pub found: Option<&'a RetrieveReply>,
    pub model: ModelState,
    /// Whether the turn can wait for a model that is away now and may soon be back.
    pub may_wait: bool,
}

/// Whether a language model can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelState {
    /// None is configured.
    Absent,
    Ready,
    /// It failed too often and is left alone for a while, or is fully occupied.
    Away,
}

/// What the desk does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// A greeting, thanks: the prepared sentence, when the intent brought one.
    SmallTalk { reply: Option<String> },
    /// A human is called, with the prepared sentence, when the intent brought one.
    Handover { reply: Option<String> },
    /// The company's own answer to what was recognised, said as it stands.
    Approved { reply: String },
    /// A model answers from the passages.
    Generate,
    /// The passages are quoted.
    Quote,
    /// A quotation is hardly an answer, and a model may soon be there: the turn waits for it.
    Wait,
    /// An honest 'I don't know'.
    Refuse(Refusal),
}

/// Why the desk does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The knowledge holds no answer.
    NotKnown,
    /// The knowledge could not be searched.
    NotSearched,
}

/// Decides. Chat inside a real question is the question: whoever says 'hello, where is my parcel?' hears of the parcel.
pub fn plan(config: &PlanConfig, evidence: Evidence<'_>) -> Plan {
    let believed = evidence.intent.filter(|intent| intent.confidence >= config.intent_confidence_min);
    let answerable = answerable(evidence.found);
    match believed.map(|intent| (intent.kind.as_str(), intent)) {
        Some(("handover", intent)) => return Plan::Handover { reply: intent.reply.clone() },
        Some(("small_talk", intent))
            if answerable <= config.small_talk_answerable_max || intent.confidence >= SMALL_TALK_SURE_MIN =>
        {
            return Plan::SmallTalk { reply: intent.reply.clone() };
        }
        _ => {}
    }
    if let Some(reply) = evidence.intent.and_then(|intent| approved(config, intent)) {
        return Plan::Approved { reply };
    }
    if evidence.found.is_none() {
        return Plan::Refuse(Refusal::NotSearched);
    }
    if !is_answered(config, evidence.intent, evidence.found) {
        return Plan::Refuse(Refusal::NotKnown);
    }
    match evidence.model {
        ModelState::Ready => Plan::Generate,
        ModelState::Away if evidence.may_wait && answerable < config.park_below => Plan::Wait,
        ModelState::Absent | ModelState::Away => Plan::Quote,
    }
}

/// The company's own answer to what was recognised for sure.
pub fn approved(config: &PlanConfig, intent: &IntentReply) -> Option<String> {
    let is_sure = intent.kind == "question" && intent.confidence >= config.approved_confidence_min;
    intent.reply.clone().filter(|_| is_sure)
}

/// Whether the knowledge is strong enough to answer a message of this intent.
pub fn is_answered(config: &PlanConfig, intent: Option<&IntentReply>, found: Option<&RetrieveReply>) -> bool {
    let answerable = answerable(found);
    answerable >= threshold(config, intent) && answerable > 0.0
}

/// How likely what was found answers; without a passage it does not.
pub fn answerable(found: Option<&RetrieveReply>) -> f32 {
    found.filter(|found| !found.passages.is_empty()).map_or(0.0, |found| found.answerable)
}

/// A message that belongs to no intent needs stronger knowledge; one that belongs to any, however unsure it is to which,
/// is the company's to answer and needs less; when nobody classified it, the usual strength is asked.
fn threshold(config: &PlanConfig, intent: Option<&IntentReply>) -> f32 {
    match intent {
        Some(intent) if intent.name == Intent::OUT_OF_SCOPE => config.out_of_scope_answerable_min,
        Some(_) => config.in_scope_answerable_min,
        None => config.answerable_min,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use talkfleet_shared::chat::{Language, Passage};

    use super::*;
    use crate::config::WorkerConfig;

    fn config() -> PlanConfig {
        PlanConfig {
            answerable_min: 0.4,
            in_scope_answerable_min: 0.1,
            out_of_scope_answerable_min: 0.6,
            small_talk_answerable_max: 0.8,
            intent_confidence_min: 0.5,
            approved_confidence_min: 0.95,
            park_below: 0.35,
            ..WorkerConfig::load(None, &[]).unwrap().plan
        }
    }

    fn intent(kind: &str, name: &str, confidence: f32) -> IntentReply {
        IntentReply {
            name: name.into(),
            confidence,
            kind: kind.into(),
            language: Language::English,
            entities: Vec::new(),
            reply: Some("Hello!".into()),
            version: String::new(),
        }
    }

    fn found(answerable: f32, passages: usize) -> RetrieveReply {
        let passage = Passage {
            id: "p".into(),
            document: "d".into(),
            title: "t".into(),
            url: String::new(),
            text: "a".into(),
            language: Language::English,
            score: answerable,
        };
        RetrieveReply { passages: vec![passage; passages], extract: None, answerable, version: String::new() }
    }

    #[track_caller]
    fn check(intent: Option<IntentReply>, found: Option<RetrieveReply>, model: ModelState, expected: Plan) {
        let evidence = Evidence { intent: intent.as_ref(), found: found.as_ref(), model, may_wait: false };
        assert_eq!(plan(&config(), evidence), expected, "{evidence:?}");
    }

    #[test]
    fn every_kind_of_message_finds_its_answer() {
        use ModelState::*;
        let question = || Some(intent("question", "track_order", 0.9));
        check(question(), Some(found(0.9, 1)), Ready, Plan::Generate);
        check(question(), Some(found(0.9, 1)), Away, Plan::Quote);
        check(question(), Some(found(0.05, 1)), Ready, Plan::Refuse(Refusal::NotKnown));
        check(question(), Some(found(0.9, 0)), Ready, Plan::Refuse(Refusal::NotKnown));
        check(question(), None, Ready, Plan::Refuse(Refusal::NotSearched));
        check(None, Some(found(0.5, 1)), Absent, Plan::Quote);
        check(
            Some(intent("question", "out_of_scope", 0.9)),
            Some(found(0.5, 1)),
            Absent,
            Plan::Refuse(Refusal::NotKnown),
        );
        check(Some(intent("question", "out_of_scope", 0.9)), Some(found(0.7, 1)), Absent, Plan::Quote);
        let handover = Plan::Handover { reply: Some("Hello!".into()) };
        check(Some(intent("handover", "human", 0.9)), Some(found(1.0, 1)), Ready, handover);
        check(Some(intent("handover", "human", 0.4)), Some(found(1.0, 1)), Absent, Plan::Quote);
    }

    #[test]
    fn a_weak_quotation_waits_for_the_model_if_it_can() {
        let intent = intent("question", "refund", 0.9);
        let planned = |answerable, model, may_wait| {
            let found = found(answerable, 1);
            plan(&config(), Evidence { intent: Some(&intent), found: Some(&found), model, may_wait })
        };
        assert_eq!(planned(0.2, ModelState::Away, true), Plan::Wait);
        assert_eq!(planned(0.2, ModelState::Away, false), Plan::Quote);
        assert_eq!(planned(0.2, ModelState::Absent, true), Plan::Quote);
        assert_eq!(planned(0.2, ModelState::Ready, true), Plan::Generate);
        assert_eq!(planned(0.5, ModelState::Away, true), Plan::Quote, "a good quotation is an answer");
        assert_eq!(planned(0.05, ModelState::Away, true), Plan::Refuse(Refusal::NotKnown), "no model knows more");
    }

    #[test]
    fn what_belongs_to_an_intent_needs_less_knowledge() {
        let refused = Plan::Refuse(Refusal::NotKnown);
        check(Some(intent("question", "refund", 0.9)), Some(found(0.2, 1)), ModelState::Absent, Plan::Quote);
        check(Some(intent("question", "refund", 0.3)), Some(found(0.2, 1)), ModelState::Absent, Plan::Quote);
        check(None, Some(found(0.2, 1)), ModelState::Absent, refused.clone());
        check(Some(intent("question", "refund", 0.9)), Some(found(0.05, 1)), ModelState::Absent, refused.clone());
        check(Some(intent("question", "out_of_scope", 0.9)), Some(found(0.5, 1)), ModelState::Absent, refused);
    }

    #[test]
    fn an_approved_answer_is_said_when_the_question_is_recognised_for_sure() {
        let approved = Plan::Approved { reply: "Hello!".into() };
        check(Some(intent("question", "refund", 0.97)), Some(found(0.9, 1)), ModelState::Ready, approved.clone());
        check(Some(intent("question", "refund", 0.97)), None, ModelState::Absent, approved);
        let without = IntentReply { reply: None, ..intent("question", "refund", 0.97) };
        check(Some(without), Some(found(0.9, 1)), ModelState::Ready, Plan::Generate);
    }

    #[test]
    fn small_talk_inside_a_real_question_goes_to_the_knowledge() {
        let hello = || Some(intent("small_talk", "greet", 0.9));
        let reply = Plan::SmallTalk { reply: Some("Hello!".into()) };
        check(hello(), Some(found(0.3, 1)), ModelState::Ready, reply.clone());
        check(hello(), None, ModelState::Ready, reply);
        check(hello(), Some(found(0.9, 1)), ModelState::Absent, Plan::Quote);
        let sure = Some(intent("small_talk", "bot_identity", 0.99));
        check(sure, Some(found(1.0, 1)), ModelState::Ready, Plan::SmallTalk { reply: Some("Hello!".into()) });
    }

    proptest! {
        #[test]
        fn nothing_is_answered_without_passages_or_below_the_threshold(
            kind in prop_oneof!["question", "small_talk", "handover", ".{0,8}"],
            name in prop_oneof!["track_order", "out_of_scope"],
            confidence in 0f32..=1.0,
            answerable in 0f32..=1.0,
            passages in 0usize..3,
            (knows_intent, searched) in any::<(bool, bool)>(),
            model in prop_oneof![Just(ModelState::Absent), Just(ModelState::Ready), Just(ModelState::Away)],
            may_wait in any::<bool>(),
        ) {
            let intent = knows_intent.then(|| intent(&kind, &name, confidence));
            let found = searched.then(|| found(answerable, passages));
            let plan = plan(&config(), Evidence { intent: intent.as_ref(), found: found.as_ref(), model, may_wait });
            match plan {
                Plan::Generate | Plan::Quote => {
                    prop_assert!(searched && passages > 0 && answerable >= config().in_scope_answerable_min);
                    prop_assert_eq!(plan == Plan::Generate, model == ModelState::Ready);
                }
                Plan::Wait => prop_assert!(may_wait && model == ModelState::Away && answerable < 0.35 && passages > 0),
                Plan::Approved { .. } => prop_assert!(knows_intent && confidence >= 0.95),
                Plan::Handover { .. } | Plan::SmallTalk { .. } => prop_assert!(knows_intent && confidence >= 0.5),
                Plan::Refuse(why) => prop_assert_eq!(why == Refusal::NotSearched, !searched),
            }
        }
    }
}
