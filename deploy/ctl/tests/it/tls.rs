//! TLS on every side of the fleet that is ours: to the broker, mutual if wanted, and at the gateway; with certificates that change.

use std::{path::Path, sync::Arc, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use talkfleet::up::fleet::FleetOptions;
use talkfleet_shared::{
    admin::Health,
    bus::{Bus, BusError},
    config::NatsConfig,
    metrics::Metrics,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore, pki_types::ServerName, version::TLS12},
};

use crate::{
    broker::Broker,
    harness::{Desk, PATIENCE, until},
};

/// An authority and what it signs.
pub(crate) struct Certificates {
    authority: CertifiedIssuer<'static, KeyPair>,
    name: String,
}

impl Certificates {
    /// For a server of this name, and for this machine's address.
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "an authority of a test");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { authority, name: name.to_owned() }
    }

    /// A fresh certificate as `<file>.pem` with its key as `<file>.key`, beside `ca.pem`.
    pub(crate) fn write(&self, dir: &Path, file: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![self.name.clone(), "127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &*self.authority).unwrap();
        std::fs::write(dir.join("ca.pem"), self.authority.pem()).unwrap();
        std::fs::write(dir.join(format!("{file}.key")), key.serialize_pem()).unwrap();
        std::fs::write(dir.join(format!("{file}.pem")), certificate.pem()).unwrap();
    }

    /// What believes this authority and nobody else.
    fn client(&self, old: bool) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config =
            if old { config.with_protocol_versions(&[&TLS12]) } else { config.with_safe_default_protocol_versions() };
        let mut config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsConnector::from(Arc::new(config))
    }
}

async fn connect(config: &NatsConfig) -> Result<Bus, String> {
    let connected = Bus::connect(config, "test", Metrics::new("test"), Health::new()).await;
    connected.map_err(|error| match error {
        BusError::Connect { why, .. } => why,
        other => other.to_string(),
    })
}

#[tokio::test]
async fn the_broker_is_reached_by_tls_and_knows_us_by_a_certificate() {
    let certificates = Certificates::new("localhost");
    let files = tempfile::tempdir().unwrap();
    certificates.write(files.path(), "server");
    certificates.write(files.path(), "client");
    let at = |name: &str| files.path().join(name).display().to_string();
    let tls = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify: true }}",
        at("server.pem"),
        at("server.key"),
        at("ca.pem")
    );
    let broker = Broker::start(&[], &tls).await;
    let plain = broker.config("operator");
    let good =
        NatsConfig { ca_file: at("ca.pem"), cert_file: at("client.pem"), key_file: at("client.key"), ..plain.clone() };
    let bus = connect(&good).await.unwrap();
    bus.topology_apply(talkfleet_shared::topology::Scale::default()).await.unwrap();

    // What is wrong is said in words that tell what to do.
    let elsewhere = tempfile::tempdir().unwrap();
    Certificates::new("elsewhere").write(elsewhere.path(), "client");
    let stranger = elsewhere.path().join("ca.pem").display().to_string();
    let refused = [
        (
            NatsConfig { ca_file: stranger, ..good.clone() },
            "nats.ca_file does not hold the authority of its certificate",
        ),
        (NatsConfig { cert_file: String::new(), key_file: String::new(), ..good.clone() }, "nats.cert_file"),
    ];
    for (config, expected) in refused {
        let why = connect(&config).await.err().unwrap();
        assert!(why.contains(expected), "{why}");
    }

    // A broker that offers no TLS gets nothing in the clear from who was told to use it.
    let open = Broker::start(&[], "").await;
    let config = NatsConfig { ca_file: at("ca.pem"), ..open.config("operator") };
    assert!(connect(&config).await.is_err());

    // Rotated: those who are connected stay, and who comes anew is shown the new certificate.
    let served = || async { shown_by_broker(&broker.url, &certificates).await };
    let first = served().await;
    certificates.write(files.path(), "server");
    broker.reload();
    until("the new certificate", || async { (served().await != first).then_some(()) }).await;
    assert!(!bus.metrics().text().contains("talkfleet_bus_reconnects_total 2"), "it was let go");
    bus.time().await.unwrap();
    connect(&good).await.unwrap();
}

/// The certificate that the broker shows: its greeting comes first, in the clear.
async fn shown_by_broker(url: &str, certificates: &Certificates) -> Vec<u8> {
    let mut stream = TcpStream::connect(url.split("://").nth(1).unwrap()).await.unwrap();
    let mut greeting = [0; 4096];
    let _ = stream.read(&mut greeting).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = certificates.client(false).connect(name, stream).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// A connection to the gateway under TLS.
struct Visitor(TlsStream<TcpStream>);

impl Visitor {
    async fn come(address: &str, certificates: &Certificates, old: bool) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("desk.example").unwrap();
        Self(certificates.client(old).connect(name, stream).await.unwrap())
    }

    fn shown(&self) -> Vec<u8> {
        self.0.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }

    /// Asks over this connection, and leaves it open; the head of the answer and its body.
    async fn ask(&mut self, key: &str, text: &str) -> (String, Value) {
        let body = json!({ "text": text }).to_string();
        let head = format!(
            "POST /v1/chat HTTP/1.1\r\nhost: desk.example\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.0.write_all((head + &body).as_bytes()).await.unwrap();
        let mut read = Vec::new();
        loop {
            let mut piece = [0; 8192];
            let n = tokio::time::timeout(PATIENCE, self.0.read(&mut piece)).await.unwrap().unwrap();
            assert!(n > 0, "closed after {}", String::from_utf8_lossy(&read));
            read.extend_from_slice(&piece[..n]);
            let text = String::from_utf8_lossy(&read).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            if let Ok(answer) = serde_json::from_str(body) {
                return (head.to_owned(), answer);
            }
        }
    }
}

#[tokio::test]
async fn the_gateway_speaks_tls_under_a_certificate_that_changes_while_it_runs() {
    let certificates = Certificates::new("desk.example");
    let files = tempfile::tempdir().unwrap();
    certificates.write(files.path(), "http");
    let at = |name: &str| files.path().join(name).display().to_string();
    let mut desk = Desk::open().gateways(0).start().await;
    // The second is in a hurry; at the first a connection may idle for as long as this test takes.
    for patience_ms in ["120000", "1000"] {
        let gateway_set = [
            ("http.cert_file", at("http.pem")),
            ("http.key_file", at("http.key")),
            ("http.head_read_timeout_ms", patience_ms.to_owned()),
        ];
        let gateway_set = gateway_set.map(|(key, value)| (key.to_owned(), value)).to_vec();
        desk.fleet.add_gateway(&FleetOptions { gateway_set, ..desk.options.clone() }, false).await.unwrap();
    }
    desk.fleet.ready(PATIENCE).await.unwrap();
    let addresses: Vec<String> =
        desk.fleet.gateway_urls().iter().map(|url| url.split("://").nth(1).unwrap().to_owned()).collect();
    let [address, hurried] = &addresses[..] else { panic!("{addresses:?}") };
    let metrics = || async {
        let url = format!("{}/metrics", desk.fleet.admin_urls()[0]);
        reqwest::get(url).await.unwrap().text().await.unwrap()
    };

    let mut first = Visitor::come(address, &certificates, false).await;
    assert_eq!(first.0.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let (head, answer) = first.ask(&desk.key, "How long does delivery take?").await;
    assert!(head.starts_with("HTTP/1.1 200") && answer["kind"] == "answer", "{head} {answer}");
    let old = Visitor::come(address, &certificates, true).await;
    assert_eq!(old.shown(), first.shown());
    let told = metrics().await;
    assert!(told.contains("talkfleet_certificate_expires_seconds{target=\"http\"}"), "{told}");

    // Half a pair changes nothing; the whole one is shown to who comes anew, and who is there stays.
    std::fs::write(files.path().join("http.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(Visitor::come(address, &certificates, false).await.shown(), first.shown());
    certificates.write(files.path(), "http");
    until("the new certificate", || async {
        (Visitor::come(address, &certificates, false).await.shown() != first.shown()).then_some(())
    })
    .await;
    let (head, _) = first.ask(&desk.key, "How long does delivery take?").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");

    // Who is slow is told so under TLS as well; who speaks no TLS is let go.
    let mut slow = Visitor::come(hurried, &certificates, false).await;
    slow.0.write_all(b"POST /v1/chat HTTP/1.1\r\nhost:").await.unwrap();
    let mut told = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, slow.0.read_to_end(&mut told)).await.unwrap();
    assert!(told.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&told));
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: desk.example\r\n\r\n").await.unwrap();
    let mut told = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, plain.read_to_end(&mut told)).await.unwrap();
    assert!(!told.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&told));
}
