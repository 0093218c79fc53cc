//! What a message does about an earlier one of its conversation that is still open: wait for it, stop it, or give way.

use talkfleet_shared::{bus::BusError, chat::Problem, error::Code, id::RequestId};

use super::{
    Desk, Submission, jittered_ms,
    submit::{Named, busy},
};
use crate::channels::OnBurst;

/// An earlier message as the broker has it.
enum Earlier {
    /// It has just been settled, or its outcome is written and it will be in a moment.
    Ended,
    /// It waits, or is being answered.
    Open(RequestId),
}

impl Desk {
    /// Called each time that the broker has refused a message because of an earlier one. `stopped` is whom it has stopped.
    ///
    /// When the broker cannot be asked, the message waits: the next attempt to publish says what is wrong.
    pub(super) async fn meet_earlier(
        &self,
        submission: &Submission,
        named: &Named,
        stopped: &mut Option<RequestId>,
    ) -> Result<(), Problem> {
        let burst = self.policy(submission).burst;
        if matches!(burst, OnBurst::Queue | OnBurst::Merge) {
            return Ok(());
        }
        let met = match self.earlier(submission, named).await {
            Ok(Earlier::Open(request)) if burst == OnBurst::Reject => {
                tracing::debug!(request.id = %request, "a message is refused because of this one");
                let why = "An earlier message of this conversation is not answered yet; wait for the answer.";
                return Err(Problem::because(Code::ConversationBusy, why).retry_after_ms(jittered_ms(1_000)));
            }
            Ok(Earlier::Open(request)) if stopped.as_ref() != Some(&request) => {
                let principal = &submission.principal;
                // A visitor stops only what they asked themselves: the worker compares.
                let wish = self.bus.cancel(&principal.tenant, &request, principal.acts_for()).await;
                wish.map(|()| *stopped = Some(request))
            }
            Ok(Earlier::Open(_) | Earlier::Ended) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = met {
            tracing::debug!(request.id = %named.request, %error, "the earlier message could not be met; waiting for it");
        }
        Ok(())
    }

    async fn earlier(&self, submission: &Submission, named: &Named) -> Result<Earlier, BusError> {
        let tenant = &submission.principal.tenant;
        let open = self.bus.open_ask(tenant, &named.conversation).await?;
        let Some(open) = open.and_then(|open| open.request()) else { return Ok(Earlier::Ended) };
        // A client sends its next message as soon as it has read the answer, which is a moment before the broker lets it in.
        let written = self.bus.read_record(tenant, Some(&named.conversation), &open).await?;
        Ok(if written.is_some() || open == named.request { Earlier::Ended } else { Earlier::Open(open) })
    }

    /// A place in the conversation's line; whoever takes one ends the burst that is open before it.
    pub(super) fn place(&self, submission: &Submission, named: &Named) -> Result<super::line::Place, Problem> {
        let tenant = &submission.principal.tenant;
        self.bursts.close(tenant, &named.conversation);
        let waiting_max = match self.policy(submission).burst {
            OnBurst::Reject => 0,
            OnBurst::Queue | OnBurst::Merge | OnBurst::Interrupt => self.config.turns.conversation_waiting_max,
        };
        self.lines.enter(tenant, &named.conversation, waiting_max).ok_or_else(busy)
    }
}
