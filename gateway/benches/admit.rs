//! What it costs to decide whether a request may come in, where there is room.

use std::time::Duration;

use divan::{Bencher, black_box};
use futures::FutureExt;
use talkfleet_gateway::{
    admit::{
        Lane,
        bucket::{Buckets, Draw, Rate, Wish},
        gate::{Gates, Permit},
    },
    config::GatewayConfig,
};
use talkfleet_shared::{
    chat::{DeliveryClass, Frame, FrameBody, Problem},
    error::Code,
    id::{RequestId, TenantId},
    metrics::Metrics,
};

/// Customers whose buckets are held.
const USERS: usize = 100_000;

/// Longer than any request waits.
const BUDGET: Duration = Duration::from_secs(30);

fn main() {
    divan::main();
}

/// A user's, a tenant's and an address's bucket, in this process.
#[divan::bench]
fn draw_from_three_buckets(bencher: Bencher) {
    let rate = Rate::per_minute(6_000_000, 1_000_000);
    let draw = |policy, key| rate.map(|rate| Draw { policy, key, rate, wish: Wish::Take });
    let of_user = |user: usize| {
        let keys = [("user", format!("tf:demo:limit:user:{user}")), ("tenant", "tf:demo:limit:tenant".into())];
        let keys = keys.into_iter().chain([("address", format!("tf:limit:address:10.0.0.{}", user % 256))]);
        keys.filter_map(|(policy, key)| draw(policy, key)).collect::<Vec<_>>()
    };
    let accounts: Vec<_> = (0..USERS).map(of_user).collect();
    let (mut buckets, mut at) = (Buckets::default(), 0);
    bencher.bench_local(|| {
        at += 1;
        buckets.draw(black_box(&accounts[at * 7_919 % USERS]), Duration::from_micros(at as u64))
    });
}

/// A request's way through the gate: in, taken by the fleet, its last frame, out; beside as many as are under way.
#[divan::bench(args = [0, 1_000, 10_000])]
fn pass_the_gate(bencher: Bencher, under_way: usize) {
    let flags = [("admission.concurrency_start".to_owned(), "20000".to_owned())];
    let (Ok(config), Ok(tenant), Ok(request)) =
        (GatewayConfig::load(None, &flags), TenantId::parse("demo"), RequestId::parse("r-1"))
    else {
        return;
    };
    let gates = Gates::new(&config.admission, config.turns.waiting_max, &Metrics::new("bench"));
    let last = Frame { request, attempt: 1, seq: 1, body: FrameBody::Failed { problem: Problem::new(Code::Internal) } };
    let enter = || gates.of(DeliveryClass::Fast).enter(&tenant, Lane::Interactive, BUDGET).now_or_never()?.ok();
    let accepted = |mut permit: Permit| {
        permit.accepted();
        permit
    };
    let _others: Vec<_> = (0..under_way).filter_map(|_| enter()).map(accepted).collect();
    bencher.bench_local(|| enter().map(accepted).map(|mut permit| permit.hear(black_box(&last))));
}
