//! What the broker lets each user do: its own stage, its own inbox, and nothing else. `talkfleet topology permissions` prints it.

use super::fence::{Rights, Rules, SHADOW_USER, fence};
use crate::{
    id::{BusUser, GatewayId, TenantId},
    keys::VISITOR_SECRET,
    subject::{self, INBOX},
    topology,
};

/// Who commands: creates, purges and deletes streams, publishes articles and intents, mends dead letters, replays.
pub const OPERATOR: &str = "operator";

/// The user that gateways share.
const GATEWAY: &str = "gateway";

/// A worker that plays every role in one process.
const WORKER: &str = "worker";

/// What collects the rights of a role.
type Collect = fn(&mut Gather<'_>);

/// Those of a fleet beside its gateways, each a role in a process of its own.
const ROLES: [(&str, Collect); 4] =
    [("intent", intent), ("retrieval", retrieval), ("response", response), ("archive", archive)];

/// What would take something out of a stream, or all of it.
const WIPES: [&str; 3] = ["STREAM.DELETE", "STREAM.PURGE", "STREAM.MSG.DELETE"];

/// The user of clients that ask over plain NATS, followed by their tenant.
const CLIENT: &str = "client-";

/// One of the broker's users, with what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusRights {
    pub user: String,
    pub rights: Rights,
}

/// Every user of a fleet. Gateways share the user `gateway`, unless `gateways` names one for each, from whom the others'
/// replies and inboxes are kept; `clients` are tenants whose customers ask over plain NATS.
pub fn users(gateways: &[BusUser], clients: &[TenantId]) -> Vec<BusRights> {
    let names: Vec<&str> = gateways.iter().map(BusUser::as_str).collect();
    let names = if names.is_empty() { vec![GATEWAY] } else { names };
    let of = |user: &str, stages: &[fn(&mut Gather<'_>)]| {
        let mut gather = Gather::new(user, &names);
        stages.iter().for_each(|stage| stage(&mut gather));
        BusRights { user: user.to_owned(), rights: gather.rights() }
    };
    let mut users: Vec<BusRights> = names.iter().map(|name| of(name, &[gateway])).collect();
    users.extend(ROLES.iter().map(|(role, stage)| of(role, &[*stage])));
    users.push(of(WORKER, &ROLES.map(|(_, stage)| stage)));
    users.push(of(OPERATOR, &[operator]));
    users.push(BusRights { user: SHADOW_USER.to_owned(), rights: fence() });
    users.extend(clients.iter().map(|tenant| {
        let mut client = Gather::new("", &names);
        let user = format!("{CLIENT}{tenant}");
        client.inbox(&user);
        client.says([subject::chat(tenant)]);
        BusRights { user, rights: client.rights() }
    }));
    users
}

/// The users of the live fleet's processes, gateways first.
pub(super) fn fleet() -> impl Iterator<Item = &'static str> {
    [GATEWAY].into_iter().chain(ROLES.iter().map(|(role, _)| *role)).chain([WORKER])
}

/// Lets messages in, tells their answers, and looks back. Of the streams it reads single records and the keys.
fn gateway(gateway: &mut Gather<'_>) {
    let own = BusUser::parse(gateway.user).ok().and_then(|user| GatewayId::of_user(&user));
    gateway.hears([own.map_or_else(|| format!("{}.reply.*.*", subject::PREFIX), |own| subject::replies(&own))]);
    gateway.says([subject::every_ask(), subject::every_next_ask()]);
    gateway.says([subject::every_tenant("direct"), subject::every_tenant("history")]);
    gateway.says([subject::every_cancel(), subject::every_resume(), subject::every_tenant("feedback")]);
    // It writes down that a turn expired; the first writer wins whoever it is.
    gateway.says([subject::every_turn()]);
    gateway.reads_last(topology::TURNS, &subject::every_turn());
    // Whichever release is to answer it.
    gateway.reads_last(topology::ASK, &subject::every_asks_of());
    let of_peers = [format!("{}.burst.*.*", subject::PREFIX), subject::every_listening()];
    gateway.says(of_peers.clone());
    gateway.hears(of_peers);
    gateway.counts(&[
        (topology::ASK, topology::RESPONSE),
        (topology::ASK, topology::RESPONSE_NEXT),
        (topology::JOURNAL, topology::ARCHIVE),
        (topology::ADVISORIES, topology::REAPER),
    ]);
    for name in [topology::KEYS, topology::RELEASE, topology::FORGOTTEN] {
        gateway.follows(&bucket(name));
    }
    gateway.says([subject::every_tenant("present")]);
    // Only this one: keys are the operator's to make.
    gateway.says([format!("$KV.{}.{VISITOR_SECRET}", topology::KEYS)]);
    // Whoever asks over plain NATS is answered wherever they wait, but nobody of the fleet beside other gateways.
    gateway.serves("chat");
    gateway.says([format!("{INBOX}.>")]);
    let others = fleet().skip(1).chain([OPERATOR, SHADOW_USER]);
    gateway.deny.extend(others.map(|user| format!("{INBOX}.{user}.>")));
}

fn intent(intent: &mut Gather<'_>) {
    intent.serves("intent");
    intent.answers(&["response", WORKER, OPERATOR]);
    intent.follows(&bucket(topology::CATALOG));
    intent.follows(&objects(topology::MODELS));
    intent.follows(&bucket(topology::FORGOTTEN));
}

fn retrieval(retrieval: &mut Gather<'_>) {
    retrieval.serves("retrieve");
    retrieval.answers(&["response", WORKER, OPERATOR]);
    retrieval.follows(&bucket(topology::CATALOG));
    retrieval.follows(&bucket(topology::FORGOTTEN));
}

/// Owns turns; what kills its workers it sets aside.
fn response(response: &mut Gather<'_>) {
    response.takes(topology::ASK, topology::RESPONSE);
    response.takes(topology::ASK, topology::RESPONSE_NEXT);
    response.takes(topology::ADVISORIES, topology::REAPER);
    for what in ["STREAM.MSG.GET", "STREAM.MSG.DELETE"] {
        response.calls(&format!("{what}.{}", topology::ASK));
    }
    response.hears([subject::every_tenant("direct"), subject::every_cancel(), subject::every_resume()]);
    response.says([
        subject::every_tenant("intent"),
        subject::every_tenant("retrieve"),
        subject::every_tenant("history"),
    ]);
    response.says([
        format!("{}.reply.*.*", subject::PREFIX),
        subject::every_turn(),
        subject::every_tenant(subject::DEAD),
    ]);
    response.calls(&format!("STREAM.INFO.{}", topology::TURNS));
    response.reads_last(topology::TURNS, &subject::every_turn());
    response.reads_last(topology::CANCELS, &subject::every_cancel());
    for name in [topology::OWNERS, topology::RELEASE, topology::FORGOTTEN] {
        response.follows(&bucket(name));
    }
    // It says that it is there, and as which release.
    response.hears(["$SRV.>".into()]);
    response.says([subject::every_tenant("present")]);
}

fn archive(archive: &mut Gather<'_>) {
    archive.takes(topology::JOURNAL, topology::ARCHIVE);
    archive.serves("history");
    let gateways = archive.gateways.to_vec();
    archive.answers(&gateways);
    archive.answers(&["response", WORKER, OPERATOR]);
    archive.says([subject::every_tenant("changed"), subject::every_tenant(subject::DEAD)]);
    archive.hears([subject::every_tenant("changed")]);
    archive.reads_last(topology::TURNS, &subject::every_turn());
    archive.follows(topology::TURNS);
    // After another database has taken over, what the journal took in shortly before is read once more; and how long the
    // oldest of its records waits stands in the record.
    archive.follows(topology::JOURNAL);
    archive.follows(&bucket(topology::FORGOTTEN));
}

/// Everything but other users' inboxes, and taking what operators did out of the log of it.
fn operator(operator: &mut Gather<'_>) {
    let [live, shadow] = [subject::PREFIX, subject::SHADOW].map(|prefix| format!("{prefix}.>"));
    // Snapshots: pieces are acknowledged, and given, on subjects of their own.
    operator
        .says(["$JS.API.>", "$JS.SNAPSHOT.>", "$JS.ACK.>", "$JS.FC.>", "$KV.>", "$O.>", "$SRV.>"].map(str::to_owned));
    operator.says([live.clone(), shadow.clone()]);
    operator.hears([live, shadow, "$JS.EVENT.>".into(), "$SRV.>".into()]);
    operator.deny.extend(WIPES.map(|what| format!("$JS.API.{what}.{}", topology::AUDIT)));
}

fn bucket(name: &str) -> String {
    format!("KV_{name}")
}

fn objects(name: &str) -> String {
    format!("OBJ_{name}")
}

/// Collects what a user may do.
struct Gather<'a> {
    user: &'a str,
    gateways: &'a [&'a str],
    publish: Vec<String>,
    deny: Vec<String>,
    subscribe: Vec<String>,
}

impl<'a> Gather<'a> {
    fn new(user: &'a str, gateways: &'a [&'a str]) -> Self {
        let mut gather = Self { user, gateways, publish: Vec::new(), deny: Vec::new(), subscribe: Vec::new() };
        if !user.is_empty() {
            gather.inbox(user);
        }
        gather
    }

    /// An inbox that nobody else reads; published to by its owner to learn that the broker has dealt with all before.
    fn inbox(&mut self, user: &str) {
        let own = format!("{INBOX}.{user}.>");
        self.says([own.clone()]);
        self.hears([own]);
    }

    fn says(&mut self, subjects: impl IntoIterator<Item = String>) {
        add(&mut self.publish, subjects);
    }

    fn hears(&mut self, subjects: impl IntoIterator<Item = String>) {
        add(&mut self.subscribe, subjects);
    }

    fn calls(&mut self, api: &str) {
        self.says([format!("$JS.API.{api}")]);
    }

    /// Offers a service; who may be answered is said apart. Not by the broker's `allow_responses`: that would let whoever
    /// asks choose any subject for this user to publish on.
    fn serves(&mut self, what: &str) {
        self.hears([subject::every_tenant(what), "$SRV.>".into()]);
    }

    fn answers(&mut self, callers: &[&str]) {
        self.says(callers.iter().map(|caller| format!("{INBOX}.{caller}.>")));
    }

    /// Pulls from a durable consumer and settles what it brings; both shapes of acks are in use.
    fn takes(&mut self, stream: &str, consumer: &str) {
        self.calls(&format!("STREAM.INFO.{stream}"));
        self.calls(&format!("CONSUMER.INFO.{stream}.{consumer}"));
        self.calls(&format!("CONSUMER.MSG.NEXT.{stream}.{consumer}"));
        self.says([format!("$JS.ACK.{stream}.{consumer}.>"), format!("$JS.ACK.*.*.{stream}.{consumer}.>")]);
    }

    /// Tells how much waits for whom, and for how long; of a stream that keeps what was read it learns nothing more.
    fn counts(&mut self, consumers: &[(&str, &str)]) {
        for (stream, consumer) in consumers {
            self.calls(&format!("CONSUMER.INFO.{stream}.{consumer}"));
            if *stream != topology::JOURNAL {
                self.calls(&format!("STREAM.INFO.{stream}"));
            }
        }
    }

    /// Reads the newest message on a subject.
    fn reads_last(&mut self, stream: &str, subject: &str) {
        self.calls(&format!("DIRECT.GET.{stream}.{subject}"));
    }

    /// Reads all of a stream, as it is and as it goes on, by consumers that vanish with their reader.
    fn follows(&mut self, stream: &str) {
        self.calls(&format!("STREAM.INFO.{stream}"));
        for what in ["CREATE.{}", "CREATE.{}.>", "INFO.{}.*", "DELETE.{}.*", "MSG.NEXT.{}.*"] {
            self.calls(&format!("CONSUMER.{}", what.replace("{}", stream)));
        }
        for what in ["DIRECT.GET.{}", "DIRECT.GET.{}.>", "STREAM.MSG.GET.{}"] {
            self.calls(&what.replace("{}", stream));
        }
        self.says([format!("$JS.FC.{stream}.>"), format!("$JS.FC.*.*.{stream}.>")]);
    }

    fn rights(self) -> Rights {
        let publish = Rules { allow: self.publish, deny: self.deny };
        Rights { publish, subscribe: Rules { allow: self.subscribe, deny: Vec::new() } }
    }
}

/// Adds what is not there yet.
fn add(list: &mut Vec<String>, subjects: impl IntoIterator<Item = String>) {
    for subject in subjects {
        if !list.contains(&subject) {
            list.push(subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, users: &[BusRights]) -> Rights {
        users.iter().find(|user| user.user == name).unwrap().rights.clone()
    }

    /// Whether a subject that is published, or a pattern that is subscribed to, lies within a rule.
    fn within(rule: &str, subject: &str) -> bool {
        let (mut rule, mut subject) = (rule.split('.'), subject.split('.'));
        loop {
            match (rule.next(), subject.next()) {
                (Some(">"), Some(_)) | (None, None) => return true,
                (Some("*"), Some(token)) if token != ">" => {}
                (Some(wanted), Some(token)) if wanted == token => {}
                _ => return false,
            }
        }
    }

    fn may(rules: &Rules, subject: &str) -> bool {
        let any = |list: &[String]| list.iter().any(|rule| within(rule, subject));
        any(&rules.allow) && !any(&rules.deny)
    }

    #[test]
    fn only_the_operator_changes_streams() {
        for BusRights { user, rights } in users(&[], &[]) {
            for what in ["STREAM.CREATE", "STREAM.UPDATE", "STREAM.DELETE", "STREAM.PURGE", "STREAM.RESTORE"] {
                for stream in [topology::ASK, topology::JOURNAL, "KV_KEYS", "NEW"] {
                    let subject = format!("$JS.API.{what}.{stream}");
                    assert_eq!(may(&rights.publish, &subject), user == OPERATOR, "{user} {subject}");
                }
            }
        }
    }

    #[test]
    fn operators_write_down_what_they_do_and_nobody_takes_it_out() {
        for BusRights { user, rights } in users(&[], &[TenantId::parse("demo").unwrap()]) {
            assert_eq!(may(&rights.publish, &subject::audit()), user == OPERATOR, "{user}");
            for what in WIPES {
                let subject = format!("$JS.API.{what}.{}", topology::AUDIT);
                assert!(!may(&rights.publish, &subject), "{user} {subject}");
            }
        }
    }

    #[test]
    fn inboxes_are_private() {
        let users = users(&[], &[TenantId::parse("demo").unwrap()]);
        for BusRights { user, rights } in &users {
            for other in users.iter().map(|other| &other.user) {
                let inbox = format!("{INBOX}.{other}.a.b");
                assert_eq!(may(&rights.subscribe, &inbox), user == other, "{user} {inbox}");
            }
            for pattern in ["_INBOX.>", "_INBOX.*.>", ">", "chat.v1.>"] {
                let operator = user == OPERATOR && pattern == "chat.v1.>";
                assert_eq!(may(&rights.subscribe, pattern), operator, "{user} {pattern}");
            }
        }
    }

    #[test]
    fn a_gateway_of_its_own_hears_only_its_replies() {
        let names = ["gateway-1", "gateway-2"].map(|name| BusUser::parse(name).unwrap());
        let users = users(&names, &[]);
        assert!(!users.iter().any(|user| user.user == "gateway"));
        let first = user("gateway-1", &users);
        assert!(may(&first.subscribe, "chat.v1.reply.gateway-1.*"));
        for strange in ["chat.v1.reply.gateway-2.*", "chat.v1.reply.*.*", "_INBOX.gateway-2.a"] {
            assert!(!may(&first.subscribe, strange), "{strange}");
        }
        assert!(may(&first.publish, "_INBOX.gateway-2.a"), "gateways answer one another");
        assert!(may(&user("archive", &users).publish, "_INBOX.gateway-2.a"));
    }

    #[test]
    fn a_worker_of_every_role_may_what_each_of_them_may() {
        let users = users(&[], &[]);
        let worker = user(WORKER, &users);
        for (role, _) in ROLES {
            let rights = user(role, &users);
            let own = format!("{INBOX}.{role}.>");
            let lacks =
                rights.publish.allow.iter().filter(|rule| **rule != own && !worker.publish.allow.contains(rule));
            assert_eq!(lacks.collect::<Vec<_>>(), Vec::<&String>::new(), "{role}");
        }
    }
}
