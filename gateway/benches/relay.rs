//! What it costs to hand a frame to the client who waits for it, among so many who wait.

use divan::{Bencher, black_box};
use futures::FutureExt;
use talkfleet_gateway::relay::Relay;
use talkfleet_shared::{
    chat::{Frame, FrameBody},
    id::{GatewayId, RequestId},
};

const WAITING: [usize; 3] = [1, 1_000, 20_000];

fn main() {
    divan::main();
}

/// An inbox opened, one frame handed over and read, the inbox closed.
#[divan::bench(args = WAITING)]
fn one_frame_to_a_client(bencher: Bencher, waiting: usize) {
    let relay = Relay::new(GatewayId::new(), waiting + 1);
    let _others: Vec<_> = (0..waiting).filter_map(|_| relay.open(RequestId::new()).ok()).collect();
    bencher.with_inputs(RequestId::new).bench_local_values(|request| {
        let mut inbox = relay.open(request.clone()).ok()?;
        let body = FrameBody::Delta { text: "Delivery takes two to four working days.".to_owned() };
        relay.hand_over(&request.clone(), Frame { request, attempt: 1, seq: 1, body });
        black_box(inbox.next().now_or_never())
    });
}
