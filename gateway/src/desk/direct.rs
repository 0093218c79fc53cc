//! Messages of the classes journaled and fast: handed to a worker past the queue, in the order of their conversation here.

use std::time::Duration;

use talkfleet_shared::{
    bus::{AskHeaders, SubmitError},
    chat::{DeliveryClass, Problem},
    error::Code,
    retry::Delays,
};

use super::{
    Desk, Frames, Submission, broker_away,
    story::Script,
    submit::{Named, busy},
};

/// How long nothing may come before the worker that has a message is asked for it: no queue brings it to another.
const DIRECT_PATIENCE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));

impl Desk {
    /// Hands a message to a worker past the queue. Nobody else keeps its conversation's order, so it keeps its place in
    /// the line until it is answered.
    pub(super) async fn hand_over_directly(
        &self,
        submission: &Submission,
        named: &Named,
        class: DeliveryClass,
    ) -> Result<Frames, Problem> {
        let mut place = self.place(submission, named)?;
        let reached = tokio::time::timeout_at(named.patient_until().into(), place.reach_head());
        reached.await.map_err(|_| busy())?;
        let inbox = self.open_inbox(named.request.clone())?;
        let headers =
            AskHeaders { last_only: submission.last_only, ..self.ask_headers(submission, named, inbox.subject()) };
        let tenant = &submission.principal.tenant;
        match self.bus.submit_direct(tenant, &named.conversation, &submission.ask, &headers, class).await {
            Ok(()) => {}
            Err(SubmitError::TooLarge) => return Err(Problem::new(Code::BodyTooLarge)),
            Err(error) => {
                tracing::warn!(request.id = %named.request, %error, "a message could not be handed over");
                return Err(broker_away());
            }
        }
        self.remember(submission, named, named.began + named.budget);
        let patience = Delays::new(DIRECT_PATIENCE.0, DIRECT_PATIENCE.1);
        let script = Script { patience, ..self.script(submission, named, inbox) };
        Ok(Frames::running(Script { class, last_only: submission.last_only, place: Some(place), ..script }))
    }
}
