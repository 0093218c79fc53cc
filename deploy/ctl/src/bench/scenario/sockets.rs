//! Many WebSockets held open over two gateways, each with a message now and then that is answered in thirty pieces.

use std::time::Duration;

use anyhow::Result;
use tokio::sync::mpsc;

use crate::{
    bench::{
        cost::Process, driver::Face, figures::mib, fleet::Ground, measure::Plan, report::Outcome, subject::Bench,
        traffic::Manners,
    },
    chaos::model::{Model, Mood},
};

/// Gateways that share the sockets.
const GATEWAYS: usize = 2;

/// How long a customer is silent between two messages.
const SILENT_S: f64 = 10.0;

/// How an answer comes: as fast as a quick model writes.
const PIECES: usize = 30;
const GAP: Duration = Duration::from_millis(50);

/// Answers that are being made at once; each waits for its model nearly all of the time.
const AT_ONCE: usize = 4_096;

const SECONDS: f64 = 30.0;

/// Descriptors of a load generator beside its sockets.
const OTHER_DESCRIPTORS: usize = 200;

pub(super) async fn run(bench: &mut Bench) -> Result<Outcome> {
    let sockets = bench.args.load.sockets as usize;
    let (doomed, _never) = mpsc::unbounded_channel();
    let model = Model::open(Mood::Talks { pieces: PIECES, gap: GAP }, doomed).await?;
    bench.stand_on(ground(bench, &model, sockets)).await?;
    let rate = sockets as f64 / SILENT_S;
    let plan = bench.args.plan(rate, SECONDS);
    let plan = Plan {
        face: Face::Ws,
        connections_max: sockets,
        clients: plan.clients.max(sockets.div_ceil(sockets_each())),
        holds_connections: true,
        // Half of them go on with what they began.
        manners: Manners { follow_share: 0.5, ..plan.manners },
        ..plan
    };
    let before = gateways_rss(bench);
    let run = bench.measure(format!("{sockets} sockets"), &plan).await?;
    let held: f64 =
        run.figures.rss_mib.iter().filter(|(name, _)| name.starts_with("gateway")).map(|(_, mib)| mib).sum();
    let each = (held - mib(before)) * 1_048_576.0 / sockets as f64;
    let lost = run.figures.issued - run.figures.answered;
    let mut outcome = Outcome::of(run);
    outcome.tell("sockets", sockets);
    outcome.tell("lost", lost);
    outcome.tell("gateway_bytes_per_socket", each.round());
    outcome.tell("gateways_rss_mib", held);
    outcome.found.push(format!(
        "{sockets} sockets over {GATEWAYS} gateways: {lost} messages without an answer in time, {each:.0} bytes of gateway memory \
         a socket beyond what the gateways had before, messages under way included"
    ));
    Ok(outcome)
}

fn ground(bench: &Bench, model: &Model, sockets: usize) -> Ground {
    let own = bench.ground();
    let set = |key: &str, value: String| (key.to_owned(), value);
    let worker = [
        set("plan.answer_cache_entries", "0".into()),
        // A sentence that is compared with its passages leaves as a whole.
        set("plan.grounding", "off".into()),
        set("roles.response_concurrency", AT_ONCE.to_string()),
        set("model.base_url", format!("http://127.0.0.1:{}/bench/v1", model.port)),
        set("model.api_key", "\"not-a-real-key\"".into()),
        set("model.concurrency", AT_ONCE.to_string()),
    ];
    let gateway = [set("http.connections_max", (sockets + 1_000).to_string())];
    Ground {
        gateways: own.gateways.max(GATEWAYS),
        worker_set: worker.into_iter().chain(own.worker_set).collect(),
        gateway_set: gateway.into_iter().chain(own.gateway_set).collect(),
        ..own
    }
}

/// Sockets that one load generator may hold, since a process may open so many files.
fn sockets_each() -> usize {
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let descriptors = descriptors.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    descriptors.saturating_sub(OTHER_DESCRIPTORS).max(1)
}

fn gateways_rss(bench: &Bench) -> u64 {
    let gateways = bench.processes().into_iter().filter(|process| process.name.starts_with("gateway"));
    gateways.filter_map(|process: Process| process.usage()).map(|usage| usage.rss_bytes).sum()
}
