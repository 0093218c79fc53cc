//! PostgreSQL as it is locked in production: a login for each part that may do what its code does and nothing else, and TLS.

use std::{fs, os::unix::fs::MetadataExt as _, path::PathBuf};

use serde_json::{Value, json};
use sqlx::PgPool;
use talkfleet_shared::config::Url;
use talkfleet_worker::store::Store;

use crate::{
    certificates::Authority,
    harness::{Desk, until},
};

/// The file that is shipped.
const ROLES: &str = include_str!("../../../sql/roles.sql");

/// A login of a role; its name is its password.
async fn login(superuser: &PgPool, name: &str, role: &str) {
    for sql in
        [format!("drop role if exists {name}"), format!("create role {name} login password '{name}' in role {role}")]
    {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(superuser).await.unwrap();
    }
}

/// The address of a database of this server for a login.
fn url_of(superuser_url: &str, login: &str, database: &str) -> String {
    let (_, place) = superuser_url.rsplit_once('@').unwrap();
    let (host, _) = place.split_once('/').unwrap();
    format!("postgres://{login}:{login}@{host}/{database}")
}

async fn migrate(url: &str) -> (bool, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_talkfleet"));
    let done = command.args(["database", "migrate", "--database", url]).output().await.unwrap();
    (done.status.success(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
}

/// Tries a statement within a transaction that is taken back.
async fn may(pool: &PgPool, sql: &str) -> Result<(), String> {
    let mut transaction = pool.begin().await.unwrap();
    let tried = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut *transaction).await;
    transaction.rollback().await.unwrap();
    tried.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn every_part_does_its_work_as_its_own_login_and_nothing_else() {
    let mut desk = Desk::open().own_database().roles(&["intent", "retrieval", "response"]).start().await;
    let url = desk.engines.database_url.clone();
    let superuser = PgPool::connect(&url).await.unwrap();
    sqlx::raw_sql(ROLES).execute(&superuser).await.unwrap();
    for part in ["archive", "retrieval", "history", "knowledge", "forget", "backup"] {
        login(&superuser, part, &format!("talkfleet_{part}")).await;
    }
    let of = |part: &str| url_of(&url, part, "talkfleet");
    let (migrated, said) = migrate(&url).await;
    assert!(migrated, "{said}");

    // The fleet works as these logins.
    desk.options.worker_set.push(("database.migrate".into(), "false".into()));
    for (roles, part) in [(&["intent", "retrieval", "response"][..], "retrieval"), (&["archive"][..], "archive")] {
        desk.options.roles = roles.iter().map(|role| (*role).to_owned()).collect();
        desk.options.worker_set.retain(|(key, _)| key != "database.url");
        desk.options.worker_set.push(("database.url".into(), of(part)));
        desk.fleet.add_worker(&desk.options).await.unwrap();
    }
    desk.fleet.drain_worker(0).await;
    let body = json!({ "text": "How long does delivery take?", "conversation": "locked" });
    let (status, answer) = desk.post("/v1/chat", &body).await;
    assert_eq!((status, &answer["degraded"]), (200, &json!([])), "{answer}");
    let verdict = json!({ "id": answer["id"], "verdict": "up" });
    assert!((200..300).contains(&desk.post("/v1/feedback", &verdict).await.0));
    for table in ["turns", "feedback"] {
        until(table, || async {
            let count = format!("select count(*) from {table}");
            let rows: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(count)).fetch_one(&superuser).await.unwrap();
            (rows == 1).then_some(())
        })
        .await;
    }
    let (_, told) = desk.get("/v1/conversations/locked").await;
    assert_eq!(told["turns"].as_array().map(Vec::len), Some(1), "{told}");
    // An operator adds an article as the one who looks after these.
    let article = desk.data.path().join("locked.md");
    fs::write(&article, "# Lockers\n\nParcels wait in a locker for seven days, then they go back to the shop.\n")
        .unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_talkfleet"));
    command.args(["knowledge", "add", "--database", &of("knowledge"), "--nats", &desk.engines.nats_url]).arg(&article);
    let added = command.output().await.unwrap();
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    until("the article is searched", || async {
        let answer = desk.ask("How long does a parcel wait in a locker?").await;
        answer["text"].as_str()?.contains("seven days").then_some(())
    })
    .await;

    // And nothing else is theirs.
    let allowed = [
        ("history", "select record, body from turns"),
        ("forget", "delete from turns"),
        ("forget", "delete from feedback"),
        ("backup", "select * from turns, feedback, usage, knowledge, documents, passages"),
        ("retrieval", "select * from passages"),
    ];
    let refused = [
        ("retrieval", "select question from turns"),
        ("retrieval", "select * from feedback"),
        ("retrieval", "delete from documents"),
        ("retrieval", "create table mine (id int)"),
        ("archive", "select body from documents"),
        ("archive", "update turns set answer = ''"),
        ("archive", "drop table turns"),
        ("archive", "create table mine (id int)"),
        ("history", "insert into usage values ('demo', now(), 'm', 1, 1, 1)"),
        ("history", "select * from passages"),
        ("knowledge", "select question from turns"),
        ("forget", "update turns set answer = ''"),
        ("forget", "select * from passages"),
        ("backup", "delete from turns"),
        ("backup", "create table mine (id int)"),
        ("backup", "create temporary table mine (id int)"),
    ];
    for (part, sql) in allowed {
        may(&PgPool::connect(&of(part)).await.unwrap(), sql).await.unwrap();
    }
    for (part, sql) in refused {
        let why = may(&PgPool::connect(&of(part)).await.unwrap(), sql).await.expect_err(sql);
        assert!(why.contains("permission denied") || why.contains("must be owner"), "{part}: {sql}: {why}");
    }
}

#[tokio::test]
async fn the_owner_makes_the_schema_and_workers_wait_for_it() {
    let desk = Desk::open().own_database().roles(&["response"]).start().await;
    let url = &desk.engines.database_url;
    let superuser = PgPool::connect(url).await.unwrap();
    sqlx::raw_sql("create database fresh").execute(&superuser).await.unwrap();
    let (server, _) = url.rsplit_once('/').unwrap();
    let fresh = PgPool::connect(&format!("{server}/fresh")).await.unwrap();
    sqlx::raw_sql(ROLES).execute(&fresh).await.unwrap();
    login(&fresh, "archivist", "talkfleet_archive").await;
    login(&fresh, "migrator", "talkfleet_owner").await;
    sqlx::raw_sql("alter role migrator set role = talkfleet_owner").execute(&fresh).await.unwrap();
    let mut options = desk.options.clone();
    options.roles = vec!["archive".into()];
    options.worker_set.push(("database.url".into(), url_of(url, "archivist", "fresh")));
    options.worker_set.push(("database.migrate".into(), "false".into()));
    let mut fleet = desk.fleet;
    fleet.add_worker(&options).await.unwrap();
    let missing = async || {
        let told = reqwest::get(format!("{}/readyz", fleet.worker_urls()[1])).await.unwrap();
        told.json::<Value>().await.unwrap()["missing"]["database"].as_str().map(str::to_owned)
    };
    let why = until("the worker waits", || async { missing().await }).await;
    assert!(why.contains("talkfleet database migrate"), "{why}");
    let (migrated, said) = migrate(&url_of(url, "migrator", "fresh")).await;
    assert!(migrated, "{said}");
    until("the worker goes on", || async { missing().await.is_none().then_some(()) }).await;
    let owner: String = sqlx::query_scalar("select tableowner from pg_tables where tablename = 'turns'")
        .fetch_one(&fresh)
        .await
        .unwrap();
    assert_eq!(owner, "talkfleet_owner");
    let (again, said) = migrate(&url_of(url, "archivist", "fresh")).await;
    assert!(!again && said.contains("permission denied"), "what is not one's own is not granted on: {said}");
    fleet.drain().await;
}

/// Gives a database of this test another certificate, which it shows from the next connection on.
async fn show(desk: &Desk, authority: &Authority) {
    let cluster: PathBuf = desk.data.path().join("postgres/cluster");
    let owner = fs::metadata(&cluster).unwrap();
    let server = authority.vouch("postgres");
    for (name, pem) in [("server.crt", server.cert), ("server.key", server.key), ("clients.crt", authority.pem.clone())]
    {
        let path = cluster.join(name);
        fs::write(&path, pem).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let pool = PgPool::connect(&desk.engines.database_url).await.unwrap();
    sqlx::raw_sql("alter system set ssl = on").execute(&pool).await.unwrap();
    sqlx::raw_sql("alter system set ssl_ca_file = 'clients.crt'").execute(&pool).await.unwrap();
    sqlx::raw_sql("select pg_reload_conf()").execute(&pool).await.unwrap();
}

#[tokio::test]
async fn over_tls_the_server_is_checked_and_new_certificates_are_taken() {
    let files = tempfile::tempdir().unwrap();
    let mut desk = Desk::open().own_database().roles(&["intent", "retrieval", "response"]).start().await;
    let url = desk.engines.database_url.clone();
    let [first, second] = ["first", "second"].map(Authority::new);
    show(&desk, &first).await;
    let file = |name: &str| files.path().join(name).display().to_string();
    let write = |authority: &Authority| {
        let own = authority.vouch("talkfleet");
        for (name, pem) in [("ca.pem", &authority.pem), ("own.pem", &own.cert), ("own.key", &own.key)] {
            fs::write(file(name), pem).unwrap();
        }
    };
    write(&first);
    let encrypted = |ca: &str| Url::new(format!("{url}?sslmode=verify-full&sslrootcert={ca}"));
    until("TLS", || async { Store::connect(&encrypted(&file("ca.pem")), 1).await.ok() }).await;
    fs::write(file("other.pem"), &second.pem).unwrap();
    let error = Store::connect(&encrypted(&file("other.pem")), 1).await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");

    // Only over TLS, and with a certificate of one's own.
    let hba = desk.data.path().join("postgres/cluster/pg_hba.conf");
    fs::write(&hba, "hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n").unwrap();
    let [ca, own, key] = ["ca.pem", "own.pem", "own.key"].map(&file);
    let with_tls = format!("{url}?sslmode=verify-full&sslrootcert={ca}&sslcert={own}&sslkey={key}");
    let admin = PgPool::connect(&with_tls).await.unwrap();
    sqlx::raw_sql("select pg_reload_conf()").execute(&admin).await.unwrap();
    until("in the clear nobody is let in", || async { PgPool::connect(&url).await.is_err().then_some(()) }).await;
    desk.options.roles = vec!["archive".into()];
    for (key, name) in
        [("database.ca_file", "ca.pem"), ("database.cert_file", "own.pem"), ("database.key_file", "own.key")]
    {
        desk.options.worker_set.push((key.into(), file(name)));
    }
    desk.fleet.add_worker(&desk.options).await.unwrap();
    let archived = async |turns: i64| {
        desk.ask("How long does delivery take?").await;
        until("an archived turn", || async {
            let rows: i64 = sqlx::query_scalar("select count(*) from turns").fetch_one(&admin).await.unwrap();
            (rows == turns).then_some(())
        })
        .await;
    };
    archived(1).await;
    let ssl =
        "select bool_or(ssl) from pg_stat_ssl join pg_stat_activity using (pid) where application_name = 'talkfleet'";
    assert!(sqlx::query_scalar::<_, bool>(ssl).fetch_one(&admin).await.unwrap());

    // Other certificates on both sides, and every connection cut: new ones are made with what the files hold now.
    let cluster = desk.data.path().join("postgres/cluster");
    let owner = fs::metadata(&cluster).unwrap();
    let server = second.vouch("postgres");
    for (name, pem) in [("server.crt", &server.cert), ("server.key", &server.key), ("clients.crt", &second.pem)] {
        fs::write(cluster.join(name), pem).unwrap();
        std::os::unix::fs::chown(cluster.join(name), Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    write(&second);
    let cut =
        "select pg_reload_conf(), pg_terminate_backend(pid) from pg_stat_activity where application_name = 'talkfleet'";
    sqlx::raw_sql(cut).execute(&admin).await.unwrap();
    archived(2).await;
}
