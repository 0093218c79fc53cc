//! nats-server: its configuration, one user with a password, JetStream under the data folder.
use talkfleet_shared::bus::{SHADOW_USER, fence};

use super::child::Recipe;
use super::error::EngineError;
use super::home::{Home, Secrets, write_private};
use super::packages::Engine;
use super::ready::Ready;
use super::{USER, find::Program};

pub(super) struct Ports {
    pub(super) client: u16,
    pub(super) monitor: u16,
}

pub(super) fn recipe(
    home: &Home,
    program: &Program,
    ports: &Ports,
    secrets: &Secrets,
    sync_always: bool,
) -> Result<Recipe, EngineError> {
    let folder = home.folder(Engine::Nats);
    // Unlike the ports it is nobody else's, so a probe can tell this server from a stranger on the same port.
    let server_name = format!("talkfleet-{}-{}", std::process::id(), ports.client);
    let path = folder.join("nats.conf");
    let text = configuration(&server_name, ports, secrets, sync_always);
    write_private(&path, text.as_bytes()).map_err(EngineError::folder(&path))?;
    Ok(Recipe {
        engine: Engine::Nats,
        program: program.path.clone(),
        args: vec!["-c".into(), "nats.conf".into()],
        folder,
        handle: None,
        run_as: None,
        log: home.log(Engine::Nats),
        ready: Ready::Nats { port: ports.client, server_name },
        stop: rustix::process::Signal::TERM,
    })
}

pub(super) fn url(port: u16, secrets: &Secrets) -> String {
    format!("nats://{USER}:{}@127.0.0.1:{port}", secrets.nats)
}

/// The address for a replay's workers, who may do little.
pub(super) fn shadow_url(port: u16, secrets: &Secrets) -> String {
    format!("nats://{SHADOW_USER}:{}@127.0.0.1:{port}", secrets.nats_shadow)
}

/// The limits are those of production (the largest ask is 64 KiB, the largest record below 256 KB). The store stands
/// relative to the folder in which the server runs, so no path has to be quoted.
fn configuration(server_name: &str, ports: &Ports, secrets: &Secrets, sync_always: bool) -> String {
    let Ports { client, monitor } = ports;
    // Two minutes are the server's own default.
    let sync_interval = if sync_always { "always" } else { "2m" };
    let (password, shadow) = (&secrets.nats, &secrets.nats_shadow);
    let fence = serde_json::to_string(&fence()).unwrap_or_default();
    format!(
        r#"server_name: "{server_name}"
listen: "127.0.0.1:{client}"
http: "127.0.0.1:{monitor}"
jetstream {{ store_dir: ".", max_file_store: 20GB, sync_interval: "{sync_interval}" }}
authorization {{ users: [
  {{ user: "{USER}", password: "{password}" }}
  {{ user: "{SHADOW_USER}", password: "{shadow}", permissions: {fence} }}
] }}
max_payload: 256KB
max_control_line: 4KB
max_pending: 16MB
write_deadline: "5s"
"#
    )
}
