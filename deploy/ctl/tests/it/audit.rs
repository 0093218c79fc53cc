//! What operators change is noted before and after, with who it was, and nothing can be taken out again.

use serde_json::Value;

use crate::{
    harness::{Desk, cli, command},
    queue::stranger,
};

/// The deeds of an action, each as who did it, on what, and how it ended.
async fn deeds(desk: &Desk, action: &str) -> Vec<[String; 3]> {
    let told = cli(desk, &["audit", "list", "--action", action, "--json"]).await;
    let text = |deed: &Value, field: &str| deed[field].as_str().unwrap().to_owned();
    told.as_array().unwrap().iter().map(|deed| ["operator", "on", "result"].map(|field| text(deed, field))).collect()
}

#[tokio::test]
async fn what_operators_change_is_told_with_who_and_how_it_ended() {
    let desk = Desk::open().workers(0).start().await;
    let key = cli(&desk, &["keys", "create", "shop", "--name", "widget", "--operator", "Ann", "--json"]).await;
    let id = key["id"].as_str().unwrap();
    command(&desk, &["keys", "revoke", id, "--operator", "Ben"]).await;
    cli(&desk, &["conversation", "take", "c-1", "--name", "Cleo", "--operator", "Cleo", "--json"]).await;
    command(&desk, &["conversation", "release", "c-1"]).await;
    let (rolled_back, _, complaint) =
        command(&desk, &["intents", "rollback", "none-such", "--operator", "Ben", "--json"]).await;
    assert!(!rolled_back, "{complaint}");

    let deed = |who: &str, on: &str, result: &str| [who, on, result].map(str::to_owned);
    assert_eq!(deeds(&desk, "keys.create").await, [deed("Ann", &format!("{id} widget"), "done")]);
    assert_eq!(deeds(&desk, "keys.revoke").await, [deed("Ben", id, "done")]);
    assert_eq!(deeds(&desk, "conversation.take").await, [deed("Cleo", "c-1", "done")]);
    assert_eq!(deeds(&desk, "intents").await, [deed("Ben", "none-such", "failed")]);
    // Without a name it is the account, which the machine knows.
    let released = &cli(&desk, &["audit", "list", "--action", "conversation.release", "--json"]).await[0];
    let (account, machine) = released["from"].as_str().unwrap().split_once('@').unwrap();
    assert_eq!((released["operator"].as_str(), machine.is_empty()), (Some(account), false));
    assert_eq!(released["tenant"], "demo");

    let all = cli(&desk, &["audit", "list", "--json"]).await;
    assert!(!all.to_string().contains(key["key"].as_str().unwrap()), "a key is told nowhere: {all}");
    assert_eq!(cli(&desk, &["audit", "list", "--actor", "Cleo", "--json"]).await.as_array().unwrap().len(), 1);
    assert_eq!(cli(&desk, &["audit", "list", "--since", "0s", "--json"]).await, serde_json::json!([]));
    let since = all[1]["at_ms"].as_u64().unwrap();
    assert!(since > all[0]["at_ms"].as_u64().unwrap());
}

#[tokio::test]
async fn nothing_is_taken_from_the_log_and_what_cannot_be_noted_is_not_done() {
    let desk = Desk::open().workers(0).start().await;
    cli(&desk, &["keys", "create", "shop", "--json"]).await;
    let jetstream = async_nats::jetstream::new(stranger(&desk).await);
    let log = jetstream.get_stream("AUDIT").await.unwrap();
    assert!(log.delete_message(1).await.is_err(), "no entry can be deleted");
    assert!(log.purge().await.is_err(), "nor all of them");
    let open = async_nats::jetstream::stream::Config {
        deny_delete: false,
        deny_purge: false,
        ..log.get_info().await.unwrap().config
    };
    assert!(jetstream.update_stream(open).await.is_err(), "nor does the broker let that be changed");
    assert_eq!(deeds(&desk, "keys").await.len(), 1);

    jetstream.delete_stream("AUDIT").await.unwrap();
    let keys = cli(&desk, &["keys", "list", "--json"]).await.as_array().unwrap().len();
    let (made, _, complaint) = command(&desk, &["keys", "create", "shop", "--json"]).await;
    assert!(!made && complaint.contains("could not be noted"), "{complaint}");
    assert_eq!(cli(&desk, &["keys", "list", "--json"]).await.as_array().unwrap().len(), keys);
    // What makes the log notes itself once there is one.
    cli(&desk, &["topology", "apply", "--operator", "Ann", "--json"]).await;
    assert_eq!(deeds(&desk, "topology").await, [["Ann", "the live fleet", "done"].map(str::to_owned)]);
}
