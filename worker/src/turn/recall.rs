//! The conversation so far: the client's own account, else the desk's memory, else the archive's.

use talkfleet_shared::{
    bus::AskDelivery,
    chat::DeliveryClass,
    clock::{now, since},
    spans::Kind,
};

use super::{Desk, draft::Recalled};
use crate::roles::Caller;

/// What was said before this message.
pub async fn recall(desk: &Desk, ask: &AskDelivery, caller: Caller<'_>) -> Recalled {
    if let Some(history) = &ask.ask.history {
        return Recalled { history: history.clone(), degraded: false };
    }
    let has_past = !ask.opening && ask.class != DeliveryClass::Fast;
    let Some(memory) = desk.memory.as_ref().filter(|_| has_past) else {
        return Recalled { history: Vec::new(), degraded: false };
    };
    let started = now();
    let mut span = desk.bus.tracer().child(caller.trace, "recall", Kind::Internal);
    let caller = Caller { trace: span.trace(), ..caller };
    let user = ask.ask.user.as_ref();
    let recalled = memory.recall(&ask.tenant, &ask.conversation, user, desk.now()).await;
    let outcome = if recalled.is_ok() { "ok" } else { "degraded" };
    desk.bus.metrics().stage("recall", outcome, since(started));
    match recalled {
        Ok(history) => Recalled { history, degraded: false },
        Err(error) => {
            span.fail("memory");
            tracing::debug!(%error, "the archive is asked in place of the memory");
            let history = desk.roles.history(caller, &ask.conversation, user, desk.turns_max).await;
            Recalled { history: history.unwrap_or_default(), degraded: true }
        }
    }
}
