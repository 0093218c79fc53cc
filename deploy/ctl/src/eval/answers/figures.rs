//! PURE: what the gate of `eval answers` may be held to.

use crate::gate::{self, gauges};

pub type Threshold = gate::Threshold<Figure>;

// Whoever labels a file knows what their desk should reach; without a word of theirs only silence fails.
gauges! {
    /// A figure of the answers that can be held to a limit.
    Figure:
    Failures       "failures"        Rate   Some(0.01), "questions that got no answer at all";
    WrongKind      "wrong_kind"      Rate   None,       "questions that were answered, refused, handed over or chatted about otherwise than expected";
    RefusedWrongly "refused_wrongly" Rate   None,       "questions with an answer that were refused";
    AnsweredWrongly "answered_wrongly" Rate None,       "questions to be refused that were answered";
    WrongCitation  "wrong_citation"  Rate   None,       "questions with an expected document that cite another or none";
    MissingAnswer  "missing_answer"  Rate   None,       "questions with an expected wording that the answer does not hold";
    Ungrounded     "ungrounded"      Rate   None,       "answers with a sentence that their passages do not support";
    LatencyP50Ms     "latency_p50_ms"  Millis None,       "median time to the whole answer";
    LatencyP99Ms     "latency_p99_ms"  Millis None,       "99th percentile of the time to the whole answer";
}
