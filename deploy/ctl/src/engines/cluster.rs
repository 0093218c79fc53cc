//! Several nats-servers as one cluster, each a child of its own that can be killed, stopped, continued and revived.
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process};

use super::child::{Child, Recipe};
use super::error::EngineError;
use super::find::{Needs, Program};
use super::home::{Home, Secrets, write_private};
use super::launch;
use super::packages::Engine;
use super::progress::Progress;
use super::ready::Ready;
use super::source::{self, Besides};
use super::{EngineOptions, USER};

/// A cluster whose servers have their ports, and whose links may lead through somebody who cuts them.
pub struct NatsCluster {
    nodes: Vec<Node>,
    program: Program,
    secrets: Secrets,
    sync_always: bool,
}

/// Whoever connects as this user is never forbidden anything.
const OPERATOR: &str = "operator";

struct Node {
    home: Home,
    ports: NodePorts,
    server_name: String,
    /// The ports on which it reaches the others.
    routes: Vec<u16>,
    recipe: Option<Recipe>,
    child: Mutex<Option<Child>>,
}

/// Where a server listens.
#[derive(Debug, Clone, Copy)]
pub struct NodePorts {
    pub client: u16,
    pub route: u16,
    pub monitor: u16,
}

impl NatsCluster {
    /// Finds the program and free ports for `nodes` servers; nothing runs yet.
    pub async fn prepare(
        options: &EngineOptions,
        nodes: usize,
        progress: &dyn Progress,
    ) -> Result<NatsCluster, EngineError> {
        let wanted = [(Engine::Nats, Needs::default())];
        let mut programs =
            source::programs(&wanted, Besides::default(), &options.programs, &options.sources, progress).await?;
        let nodes = (0..nodes).map(|number| Node::open(&options.data.join(format!("nats-{number}")), number));
        let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
        let secrets = nodes.first().map_or(Err(EngineError::NotOurs { engine: Engine::Nats }), |n| n.home.secrets())?;
        Ok(NatsCluster { nodes, program: programs.remove(0), secrets, sync_always: options.nats_sync_always })
    }

    /// Where each server listens.
    pub fn ports(&self) -> Vec<NodePorts> {
        self.nodes.iter().map(|node| node.ports).collect()
    }

    /// The folder of a server's store.
    pub fn folder(&self, node: usize) -> PathBuf {
        self.nodes[node].home.folder(Engine::Nats)
    }

    /// The address of a cluster whose servers are reached on these ports, with the fleet's user and password in it.
    pub fn url(&self, ports: &[u16]) -> String {
        self.url_as(USER, ports)
    }

    /// The address for an operator, whom [`NatsCluster::forbid`] does not touch.
    pub fn operator_url(&self, ports: &[u16]) -> String {
        self.url_as(OPERATOR, ports)
    }

    fn url_as(&self, user: &str, ports: &[u16]) -> String {
        let password = &self.secrets.nats;
        let urls: Vec<_> = ports.iter().map(|port| format!("nats://{user}:{password}@127.0.0.1:{port}")).collect();
        urls.join(",")
    }

    /// Forbids the fleet to publish on a subject, or nothing any more, by a reload as an operator would do it.
    pub fn forbid(&self, subject: Option<&str>) -> Result<(), EngineError> {
        for (number, node) in self.nodes.iter().enumerate() {
            let path = node.home.folder(Engine::Nats).join("nats.conf");
            let text = self.configuration(node, subject);
            write_private(&path, text.as_bytes()).map_err(EngineError::folder(&path))?;
            self.signal(number, Signal::HUP);
        }
        Ok(())
    }

    /// Starts every server; `routes[i][j]` is the port on which server i reaches server j.
    pub async fn start(&mut self, routes: &[Vec<u16>]) -> Result<(), EngineError> {
        for (number, to) in routes.iter().enumerate() {
            let others = to.iter().enumerate().filter(|(other, _)| *other != number);
            self.nodes[number].routes = others.map(|(_, port)| *port).collect();
            self.nodes[number].recipe = Some(self.recipe(number)?);
        }
        let starts = (0..self.nodes.len()).map(|number| self.revive(number));
        futures::future::try_join_all(starts).await.map(drop)
    }

    /// `kill -9`.
    pub fn kill(&self, node: usize) {
        drop(self.nodes[node].child().take());
    }

    /// Starts a server that does not run, over the same store and on the same ports.
    pub async fn revive(&self, node: usize) -> Result<(), EngineError> {
        let node = &self.nodes[node];
        let Some(recipe) = &node.recipe else { return Err(EngineError::NotOurs { engine: Engine::Nats }) };
        if node.child().as_mut().is_some_and(|child| child.exited().is_none()) {
            return Ok(());
        }
        let child = launch::launch(&node.home, recipe).await?;
        *node.child() = Some(child);
        Ok(())
    }

    /// As an operator stops it: it hands its leaderships over and closes its stores.
    pub async fn stop(&self, node: usize) {
        let child = self.nodes[node].child().take();
        if let Some(child) = child {
            child.stop(Signal::TERM).await;
        }
    }

    /// A signal such as SIGSTOP, SIGCONT, SIGHUP (read the configuration anew) or SIGUSR2 (lame duck).
    pub fn signal(&self, node: usize, signal: Signal) {
        let pid = self.nodes[node].child().as_ref().map(Child::id);
        if let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
            // Our own child, not yet reaped; gone already is fine.
            let _ = kill_process(pid, signal);
        }
    }

    fn recipe(&self, number: usize) -> Result<Recipe, EngineError> {
        let node = &self.nodes[number];
        let folder = node.home.folder(Engine::Nats);
        let path = folder.join("nats.conf");
        write_private(&path, self.configuration(node, None).as_bytes()).map_err(EngineError::folder(&path))?;
        Ok(Recipe {
            engine: Engine::Nats,
            program: self.program.path.clone(),
            args: vec!["-c".into(), "nats.conf".into()],
            folder,
            handle: None,
            run_as: None,
            log: node.home.log(Engine::Nats),
            ready: Ready::Nats { port: node.ports.client, server_name: node.server_name.clone() },
            stop: Signal::TERM,
        })
    }

    /// Nothing is advertised: whoever is told an address by the cluster would go round the links that are to be cut.
    fn configuration(&self, node: &Node, forbidden: Option<&str>) -> String {
        let NodePorts { client, route, monitor } = node.ports;
        let sync_interval = if self.sync_always { "always" } else { "2m" };
        let (server_name, password) = (&node.server_name, &self.secrets.nats);
        let routes: Vec<_> = node.routes.iter().map(|port| format!("\"nats-route://127.0.0.1:{port}\"")).collect();
        let denied = forbidden.map(|subject| format!(r#", permissions: {{ publish: {{ deny: ["{subject}"] }} }}"#));
        format!(
            r#"server_name: "{server_name}"
listen: "127.0.0.1:{client}"
http: "127.0.0.1:{monitor}"
jetstream {{ store_dir: ".", max_file_store: 20GB, sync_interval: "{sync_interval}" }}
cluster {{ name: "talkfleet", listen: "127.0.0.1:{route}", no_advertise: true, routes: [{}] }}
authorization {{ users: [
  {{ user: "{USER}", password: "{password}"{} }}
  {{ user: "{OPERATOR}", password: "{password}" }}
] }}
max_payload: 256KB
max_control_line: 4KB
max_pending: 16MB
write_deadline: "5s"
"#,
            routes.join(", "),
            denied.unwrap_or_default()
        )
    }
}

impl Node {
    fn open(data: &Path, number: usize) -> Result<Node, EngineError> {
        let home = Home::open(data)?;
        let port = |key| home.port(Engine::Nats, key, None);
        let ports = NodePorts { client: port("nats")?, route: port("nats-route")?, monitor: port("nats-monitor")? };
        // It ends with its number, by which a leader is known.
        let server_name = format!("talkfleet-{}-{number}", std::process::id());
        Ok(Node { home, ports, server_name, routes: Vec::new(), recipe: None, child: Mutex::new(None) })
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
