//! Every row of the fault table as a scenario.

use std::time::Duration;

use rand::{Rng, rngs::StdRng};
use talkfleet_shared::topology;

use super::{
    fault::{Fault, Where, Who},
    link::Weather,
    model::Mood,
    scenario::{Blow, Expected, Needs, S, Scenario, Told, at, often},
};

/// All of them, in the order of the table.
pub(super) fn all() -> Vec<Scenario> {
    [processes(), brokers(), links(), engines(), models(), operators()].into_iter().flatten().collect()
}

/// Workers and gateways that die, freeze and leave.
fn processes() -> Vec<Scenario> {
    let slow_words = |scenario: Scenario| Scenario { rate: 60.0, word_gap: Duration::from_millis(300), ..scenario };
    vec![
        Scenario::new("quiet", "no fault at all: the figures to compare with", 10, |_| Vec::new()).expect(Expected {
            errors_max: 0,
            gap_max: S(1),
            extra_max: S(2),
            ..Expected::default()
        }),
        slow_words(Scenario::new("kill-worker", "kill -9 one worker with 50 turns in flight", 36, |rng| {
            often(rng, 2, 20, |n| Fault::Kill(Who::Responder(n), Duration::ZERO))
        }))
        .expect(Expected {
            extra_max: S(6),
            anew_max: Some(S(4)),
            restarts_min: 50,
            errors_max: 0,
            ..Expected::default()
        }),
        Scenario::new(
            "kill-role-worker",
            "kill -9 a worker of intent and retrieval, and one of the archive",
            20,
            |rng| {
                let thinker = often(rng, 2, 8, |n| Fault::Kill(Who::Thinker(n), Duration::ZERO));
                thinker
                    .into_iter()
                    .chain(often(rng, 2, 7, |n| Fault::Kill(Who::Archivist(n), Duration::ZERO)))
                    .collect()
            },
        )
        .expect(Expected { errors_max: 0, gap_max: S(3), extra_max: S(3), ..Expected::default() }),
        Scenario::new("kill-all-workers", "kill -9 all workers, back after 10 s", 24, |_| {
            vec![at(5, Fault::HoldDown(Who::EveryWorker, S(10)))]
        })
        .expect(Expected { gap_max: S(16), extra_max: S(16), answered_min: 0.95, ..Expected::default() }),
        Scenario::new("kill-mid-answer", "kill -9 in mid-answer", 24, |_| {
            (0..4).map(|n| at(3 + n * 6, Fault::Mood(Mood::Kills, Duration::from_millis(400)))).collect()
        })
        .expect(Expected { extra_max: S(6), restarts_min: 1, errors_max: 0, ..Expected::default() }),
        Scenario::new("kill-at-record", "kill -9 after the record was sent, before the ack, five times", 20, |_| {
            vec![at(2, Fault::KillAtRecord(5))]
        })
        .expect(Expected { extra_max: S(18), ..Expected::default() }),
        Scenario::new("freeze-worker", "SIGSTOP a worker for 20 s, continue", 30, |rng| {
            often(rng, 1, 1, |n| Fault::Freeze(Who::Responder(n), S(20)))
        })
        .expect(Expected { extra_max: S(6), errors_max: 0, ..Expected::default() }),
        slow_words(Scenario::new("kill-gateway", "kill -9 a gateway with open streams", 24, |rng| {
            often(rng, 3, 8, |n| Fault::Kill(Who::Gateway(n), Duration::ZERO))
        }))
        .expect(Expected { extra_max: S(3), ..Expected::default() }),
        Scenario::new(
            "kill-at-ask",
            "kill -9 a gateway between the broker's ack and 'accepted', six times",
            20,
            |_| vec![at(2, Fault::KillAtAsk(6))],
        )
        .expect(Expected { extra_max: S(3), ..Expected::default() }),
        Scenario::new("freeze-gateway", "SIGSTOP a gateway for 10 s, continue", 20, |rng| {
            often(rng, 1, 1, |n| Fault::Freeze(Who::Gateway(n), S(10)))
        })
        .expect(Expected { extra_max: S(22), ..Expected::default() }),
        Scenario::new("rolling", "SIGTERM, rolling through every process under load", 50, |_| {
            // The first ten seconds are what the others are compared with.
            let gateways = (0..2).map(|n| at(10 + n as u64 * 5, Fault::Terminate(Who::Gateway(n))));
            let responders = (0..3).map(|n| at(20 + n as u64 * 5, Fault::Terminate(Who::Responder(n))));
            let others = [Fault::Terminate(Who::Thinker(0)), Fault::Terminate(Who::Thinker(1))];
            let others = others.into_iter().zip([35, 40]).map(|(fault, s)| at(s, fault));
            let archivists = (0..2).map(|n| at(45, Fault::Terminate(Who::Archivist(n))));
            gateways.chain(responders).chain(others).chain(archivists).collect()
        })
        .expect(Expected {
            gap_max: S(3),
            extra_max: S(4),
            p99_factor_max: Some(2.0),
            errors_max: 0,
            // These customers have no balancer that knows which gateway is going.
            errors_but: &["connect", "broken", "draining"],
            ..Expected::default()
        }),
        Scenario::new("mixed", "a worker, a gateway and the leader of the queue die within ten seconds", 16, |_| {
            vec![
                at(2, Fault::Kill(Who::Responder(0), Duration::ZERO)),
                at(4, Fault::Kill(Who::Gateway(0), Duration::ZERO)),
                at(7, Fault::Kill(Who::Leader(topology::ASK), S(3))),
            ]
        })
        .expect(Expected { gap_max: S(12), extra_max: S(16), answered_min: 0.97, ..Expected::default() }),
        // Four deliveries take 33 s; a customer with less time is told `expired` before.
        Scenario {
            poison: 2,
            budget: S(60),
            ..Scenario::new("poison", "two messages that kill whoever answers them", 20, |_| Vec::new())
        }
        .expect(Expected {
            behind_max: Some(S(60)),
            failed_min: 2,
            failed_max: 2,
            dead_min: 2,
            deaths_max: Some(8),
            ..Expected::default()
        }),
        Scenario {
            poison: 2,
            budget: S(12),
            ..Scenario::new(
                "poison-in-haste",
                "two such messages whose time is up before their last delivery",
                20,
                |_| Vec::new(),
            )
        }
        .expect(Expected {
            behind_max: Some(S(60)),
            answered_min: 0.99,
            dead_min: 2,
            deaths_max: Some(8),
            ..Expected::default()
        }),
        Scenario::new("deliver-twice", "everything is delivered twice for 15 s", 20, |_| {
            vec![at(2, Fault::DeliverTwice(S(15)))]
        })
        .expect(Expected { extra_max: S(6), errors_max: 0, ..Expected::default() }),
        slow_words(Scenario::new(
            "takeover",
            "people take conversations over in mid-answer and give them back",
            20,
            |_| vec![at(2, Fault::TakeOver(S(15)))],
        ))
        .expect(Expected { answered_min: 0.5, cancelled_min: 20, errors_max: 0, ..Expected::default() }),
        Scenario::new("deaf-customers", "200 sockets that never read", 20, |_| {
            vec![at(2, Fault::DeafCustomers(200, S(15)))]
        })
        .expect(Expected { gap_max: S(3), extra_max: S(5), errors_max: 0, ..Expected::default() }),
        Scenario {
            needs: Needs::OtherClocks(60),
            ..Scenario::new("clock-ahead", "workers' clocks 60 s ahead", 10, |_| Vec::new())
        }
        .expect(Expected { errors_max: 0, extra_max: S(2), ..Expected::default() }),
        Scenario {
            needs: Needs::OtherClocks(-60),
            ..Scenario::new("clock-behind", "workers' clocks 60 s behind", 10, |_| Vec::new())
        }
        .expect(Expected { errors_max: 0, extra_max: S(2), ..Expected::default() }),
        Scenario {
            rate: 15.0,
            ..Scenario::new("thousand-kills", "1,000 kill -9 in one run, anybody at any point", 600, thousand)
        }
        .expect(Expected {
            gap_max: S(30),
            extra_max: S(60),
            answered_min: 0.97,
            failed_max: 60,
            ..Expected::default()
        }),
    ]
}

/// Mostly those who own turns; now and then a gateway, a role, a server of the cluster, an engine.
fn thousand(rng: &mut StdRng) -> Vec<Blow> {
    let every = Duration::from_millis(590);
    let blow = |n: u32| {
        let number = rng.random_range(0..64);
        let who = match rng.random_range(0..100) {
            0..70 => Who::Responder(number),
            70..84 => Who::Gateway(number),
            84..92 => Who::Archivist(number),
            92..95 => Who::Thinker(number),
            95..97 => Who::Node(number),
            97..99 => Who::Redis,
            _ => Who::Postgres,
        };
        Blow { at: S(2) + every * n, fault: Fault::Kill(who, Duration::from_millis(400)) }
    };
    (0..1_000).map(blow).collect()
}

/// nats-servers that die, freeze, leave, and run out of room.
fn brokers() -> Vec<Scenario> {
    let waits = Expected { gap_max: S(10), extra_max: S(10), ..Expected::default() };
    let told = |known_after_s, within_s| Some(Told { known_after: S(known_after_s), within: S(within_s) });
    vec![
        Scenario::new("kill-leader", "kill -9 the leader of the queue, back after 10 s", 30, |_| {
            vec![at(5, Fault::Kill(Who::Leader(topology::ASK), S(10)))]
        })
        .expect(Expected { errors_max: 0, ..waits }),
        Scenario::new("kill-records-leader", "kill -9 the leader of the records, back after 10 s", 30, |_| {
            vec![at(5, Fault::Kill(Who::Leader(topology::TURNS), S(10)))]
        })
        .expect(Expected { errors_max: 0, ..waits }),
        Scenario::new("kill-queue-leader", "kill -9 the leader of the queue's consumer, back after 10 s", 30, |_| {
            vec![at(5, Fault::Kill(Who::QueueLeader, S(10)))]
        })
        // A delivery that was lost with it waits for the election, and then for its redelivery.
        .expect(Expected { errors_max: 0, extra_max: S(13), ..waits }),
        Scenario::new("kill-nats", "kill -9 one nats-server after another", 40, |rng| {
            often(rng, 2, 18, |n| Fault::Kill(Who::Node(n), S(5)))
        })
        .expect(Expected { errors_max: 0, ..waits }),
        Scenario::new("restart-nats", "nats-servers restarted gracefully in turn", 40, |_| {
            (0..3).map(|n| at(3 + 11 * n, Fault::Restart(Who::Node(n as usize)))).collect()
        })
        .expect(Expected { gap_max: S(3), extra_max: S(6), errors_max: 0, ..Expected::default() }),
        // Whoever still has a connection takes it for an election, which is waited for ten seconds, the last ack longer.
        Scenario::new("two-of-three", "kill -9 two of three nats-servers, back after 20 s", 40, |rng| {
            often(rng, 1, 1, |n| Fault::Kill(Who::TwoNodes(n), S(20)))
        })
        .expect(Expected {
            gap_max: S(32),
            extra_max: S(44),
            answered_min: 0.9,
            told: told(12, 2),
            memory_growth_max_mb: Some(64),
            ..waits
        }),
        Scenario::new("all-nats", "kill -9 all nats-servers, back after 10 s", 34, |_| {
            vec![at(5, Fault::Kill(Who::EveryNode, S(10)))]
        })
        .expect(Expected {
            gap_max: S(22),
            extra_max: S(34),
            answered_min: 0.95,
            told: told(2, 2),
            memory_growth_max_mb: Some(64),
            ..waits
        }),
        Scenario::new("freeze-nats", "SIGSTOP the leader of the queue for 10 s, continue", 34, |_| {
            vec![at(5, Fault::Freeze(Who::Leader(topology::ASK), S(10)))]
        })
        .expect(Expected { gap_max: S(15), extra_max: S(20), ..Expected::default() }),
        Scenario {
            needs: Needs::LosableDisks,
            ..Scenario::new("power-cut", "all nats-servers lose their power", 30, |_| vec![at(8, Fault::PowerCut)])
        }
        .expect(Expected { gap_max: S(20), extra_max: S(34), answered_min: 0.95, ..Expected::default() }),
        Scenario {
            needs: Needs::SmallDisks,
            ..Scenario::new("disk-full", "the brokers' disks are full for 10 s", 34, |_| {
                vec![at(5, Fault::FillDisks(S(10)))]
            })
        }
        .expect(Expected { gap_max: S(30), extra_max: S(40), answered_min: 0.9, told: told(2, 5), ..waits }),
    ]
}

/// Links that are slow, cut one way, cut both ways, and reset.
fn links() -> Vec<Scenario> {
    let rides_out = Expected { gap_max: S(15), extra_max: S(20), answered_min: 0.97, ..Expected::default() };
    vec![
        Scenario::new("slow-links", "every link to NATS 50 ms slower each way for 10 s", 20, |_| {
            let slow = Weather::Slow(Duration::from_millis(50));
            let to = [Where::GatewaysToNats, Where::WorkersToNats];
            to.map(|at_link| at(3, Fault::Weather(at_link, slow, S(10)))).into()
        })
        .expect(Expected { errors_max: 0, ..Expected::default() }),
        Scenario::new("cut-workers", "the workers' links to NATS cut for 5 s", 24, |_| {
            vec![at(3, Fault::Weather(Where::WorkersToNats, Weather::Cut, S(5)))]
        })
        .expect(rides_out),
        Scenario::new("cut-gateways", "the gateways' links to NATS cut for 5 s", 24, |_| {
            vec![at(3, Fault::Weather(Where::GatewaysToNats, Weather::Cut, S(5)))]
        })
        .expect(rides_out),
        Scenario::new("one-way-out", "nothing gets from the workers to NATS for 5 s", 24, |_| {
            vec![at(3, Fault::Weather(Where::WorkersToNats, Weather::CutOut, S(5)))]
        })
        .expect(rides_out),
        Scenario::new("one-way-back", "nothing gets from NATS to the gateways for 5 s", 24, |_| {
            vec![at(3, Fault::Weather(Where::GatewaysToNats, Weather::CutBack, S(5)))]
        })
        .expect(rides_out),
        Scenario::new("reset-links", "every connection to NATS reset for 3 s", 24, |_| {
            let to = [Where::GatewaysToNats, Where::WorkersToNats];
            to.map(|at_link| at(3, Fault::Weather(at_link, Weather::Reset, S(3)))).into()
        })
        .expect(rides_out),
        Scenario::new("partition", "one nats-server cut off from everybody for 10 s", 34, |rng| {
            often(rng, 1, 1, |n| Fault::Weather(Where::AroundNode(n), Weather::Cut, S(10)))
        })
        .expect(Expected { gap_max: S(20), extra_max: S(24), answered_min: 0.97, ..Expected::default() }),
    ]
}

/// Redis and PostgreSQL.
fn engines() -> Vec<Scenario> {
    let unnoticed =
        Expected { gap_max: S(2), extra_max: S(3), errors_max: 0, archived_within: S(30), ..Expected::default() };
    vec![
        Scenario::new("kill-redis", "kill -9 Redis, back after 5 s", 20, |_| {
            vec![at(3, Fault::Kill(Who::Redis, S(5)))]
        })
        .expect(unnoticed),
        Scenario::new("freeze-redis", "SIGSTOP Redis for 8 s, continue", 20, |_| {
            vec![at(3, Fault::Freeze(Who::Redis, S(8)))]
        })
        .expect(unnoticed),
        Scenario::new("flush-redis", "Redis forgets everything, three times", 15, |rng| {
            often(rng, 3, 4, |_| Fault::Flush)
        })
        .expect(unnoticed),
        Scenario::new("slow-redis", "Redis 200 ms away, then cut off", 20, |_| {
            let slow = Weather::Slow(Duration::from_millis(200));
            vec![
                at(2, Fault::Weather(Where::ToRedis, slow, S(6))),
                at(10, Fault::Weather(Where::ToRedis, Weather::Cut, S(5))),
            ]
        })
        .expect(unnoticed),
        Scenario::new("kill-postgres", "kill -9 PostgreSQL, back after 15 s", 24, |_| {
            vec![at(3, Fault::Kill(Who::Postgres, S(15)))]
        })
        .expect(unnoticed),
        Scenario::new("freeze-postgres", "SIGSTOP PostgreSQL for 8 s, continue", 20, |_| {
            vec![at(3, Fault::Freeze(Who::Postgres, S(8)))]
        })
        .expect(unnoticed),
        Scenario::new("cut-postgres", "the links to PostgreSQL cut for 8 s", 20, |_| {
            vec![at(3, Fault::Weather(Where::ToPostgres, Weather::Cut, S(8)))]
        })
        .expect(unnoticed),
    ]
}

/// The model's API, and roles that are away.
fn models() -> Vec<Scenario> {
    let bends = |extra_s| Expected { extra_max: S(extra_s), errors_max: 0, degraded_min: 0.05, ..Expected::default() };
    vec![
        Scenario::new("model-hangs", "the model takes requests and says nothing for 8 s", 24, |_| {
            vec![at(3, Fault::Mood(Mood::Hangs, S(8)))]
        })
        .expect(Expected { gap_max: S(12), ..bends(14) }),
        Scenario::new("model-resets", "the model breaks off in mid-stream", 16, |_| {
            vec![at(3, Fault::Mood(Mood::Resets, S(8)))]
        })
        .expect(bends(6)),
        Scenario::new("model-garbage", "the model sends what is no completion", 16, |_| {
            vec![at(3, Fault::Mood(Mood::Garbage, S(8)))]
        })
        .expect(bends(6)),
        Scenario::new("model-429", "the model answers 429 with Retry-After", 16, |_| {
            vec![at(3, Fault::Mood(Mood::Refuses(429), S(8)))]
        })
        .expect(bends(6)),
        Scenario::new("model-500", "the model answers 500", 16, |_| vec![at(3, Fault::Mood(Mood::Refuses(500), S(8)))])
            .expect(bends(6)),
        Scenario::new("model-away", "the model is away for two minutes", 150, |_| {
            vec![at(5, Fault::Mood(Mood::Refuses(503), S(120)))]
        })
        .expect(Expected { degraded_until: Some(S(15)), ..bends(6) }),
        Scenario::new("roles-away", "nobody classifies or searches for 10 s", 24, |_| {
            vec![at(3, Fault::HoldDown(Who::EveryThinker, S(10)))]
        })
        .expect(bends(6)),
    ]
}

/// What operators do by mistake.
fn operators() -> Vec<Scenario> {
    vec![
        Scenario::new("consumer-deleted", "an operator deletes the queue's consumer", 24, |_| {
            vec![at(3, Fault::DeleteConsumer)]
        })
        .expect(Expected { gap_max: S(12), extra_max: S(14), ..Expected::default() }),
        Scenario::new("wrong-permissions", "a reload forbids workers to write records, for 8 s", 24, |_| {
            vec![at(3, Fault::ForbidRecords(S(8)))]
        })
        .expect(Expected { gap_max: S(12), extra_max: S(16), errors_max: 0, ..Expected::default() }),
        Scenario::new("records-deleted", "an operator deletes the stream of records", 24, |_| {
            vec![at(12, Fault::DeleteRecords)]
        })
        .expect(Expected { gap_max: S(12), extra_max: S(14), answered_min: 0.9, ..Expected::default() }),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;

    use super::*;

    #[test]
    fn every_scenario_has_its_name_and_all_blows_fall_while_messages_come() {
        let all = all();
        let names: HashSet<_> = all.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), all.len());
        for scenario in &all {
            let blows = (scenario.blows)(&mut StdRng::seed_from_u64(1));
            assert!(blows.iter().all(|blow| blow.at < scenario.lasts), "{}", scenario.name);
        }
    }

    #[test]
    fn a_seed_is_a_schedule() {
        let kills = all().into_iter().find(|scenario| scenario.name == "thousand-kills").unwrap();
        let told = |seed| format!("{:?}", (kills.blows)(&mut StdRng::seed_from_u64(seed)));
        assert_eq!(told(7), told(7));
        assert_ne!(told(7), told(8));
        assert_eq!((kills.blows)(&mut StdRng::seed_from_u64(7)).len(), 1_000);
    }
}
