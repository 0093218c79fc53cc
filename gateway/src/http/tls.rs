//! TLS of the public listener: a certificate that is read anew when its files change, and a socket that two can hold.

use std::{
    fs, io,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use talkfleet_shared::{certificate, lifecycle::Shutdown, metrics::Metrics};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::{CryptoProvider, aws_lc_rs},
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
    server::TlsStream,
};

use super::wire::TOO_SLOW;

/// How often the files are looked at; a rotated certificate is shown to new connections this soon.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long a client that was too slow may take to be told so.
const TELL_WITHIN: Duration = Duration::from_secs(1);

/// What the metric of certificates calls ours.
const TARGET: &str = "http";

/// Lets connections in under whichever certificate is current.
#[derive(Clone)]
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
}

/// The certificate and key that new connections are shown, and the files that they came from.
#[derive(Debug)]
struct Current {
    cert_file: PathBuf,
    key_file: PathBuf,
    provider: Arc<CryptoProvider>,
    shown: RwLock<Arc<CertifiedKey>>,
}

/// The bytes of both files.
type Files = [Vec<u8>; 2];

impl Tls {
    /// Reads the files; the error names them and what to do.
    pub(crate) fn open(cert_file: &str, key_file: &str, metrics: &Metrics) -> Result<(Self, Files), String> {
        let (cert_file, key_file) = (PathBuf::from(cert_file), PathBuf::from(key_file));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let files = read(&cert_file, &key_file)?;
        let shown = RwLock::new(Arc::new(certified(&files, &cert_file, &key_file, &provider)?));
        let current = Arc::new(Current { cert_file, key_file, provider: provider.clone(), shown });
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = config
            .map_err(|error| format!("TLS cannot be offered: {error}"))?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A client that comes back is spared half of the handshake; the keys of tickets change by themselves.
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| format!("TLS cannot be offered: {error}"))?;
        note(&files, metrics);
        Ok((Self { acceptor: TlsAcceptor::from(Arc::new(config)), current }, files))
    }

    /// The handshake; whoever does not finish it in time is let go.
    pub(super) async fn accept(&self, stream: TcpStream, within: Duration) -> io::Result<TlsWire> {
        let accepted = tokio::time::timeout(within, self.acceptor.accept(stream)).await;
        let stream = accepted.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(TlsWire(Arc::new(Inner { stream: Mutex::new(stream), unanswered: AtomicBool::new(false) })))
    }

    /// Follows the files until shutdown. Open connections keep the certificate that they were shown; files that do not
    /// fit together, as between the writing of two, change nothing and are told once.
    pub(crate) async fn follow(self, mut seen: Files, metrics: Arc<Metrics>, until: Shutdown) {
        loop {
            tokio::select! {
                () = until.asked() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let current = self.current.clone();
            let read = tokio::task::spawn_blocking(move || read(&current.cert_file, &current.key_file)).await;
            match read {
                Ok(Ok(files)) if files == seen => {}
                Ok(Ok(files)) => {
                    match self.current.show(&files) {
                        Ok(()) => {
                            note(&files, &metrics);
                            tracing::info!("new connections are shown the new certificate");
                        }
                        Err(error) => tracing::error!(error, "the new certificate is not used; the old one stays"),
                    }
                    seen = files;
                }
                Ok(Err(error)) => tracing::warn!(error, "the certificate cannot be read; the one in use stays"),
                Err(error) => tracing::warn!(%error, "the certificate was not looked at"),
            }
        }
    }
}

impl Current {
    fn show(&self, files: &Files) -> Result<(), String> {
        let certified = Arc::new(certified(files, &self.cert_file, &self.key_file, &self.provider)?);
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = certified;
        Ok(())
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn read(cert_file: &PathBuf, key_file: &PathBuf) -> Result<Files, String> {
    let read = |key: &str, path: &PathBuf| {
        fs::read(path).map_err(|error| format!("{key}: the file {} cannot be read: {error}", path.display()))
    };
    Ok([read("http.cert_file", cert_file)?, read("http.key_file", key_file)?])
}

/// A certificate with the key that belongs to it.
fn certified(
    [cert, key]: &Files,
    cert_file: &PathBuf,
    key_file: &PathBuf,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let wrong = |name: &str, path: &PathBuf, why: String| format!("{name}: the file {} {why}", path.display());
    let of_cert = |why: String| wrong("http.cert_file", cert_file, why);
    let of_key = |why: String| wrong("http.key_file", key_file, why);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert).collect();
    let chain = chain.map_err(|error| of_cert(format!("is no PEM: {error}")))?;
    if chain.is_empty() {
        return Err(of_cert("holds no certificate".into()));
    }
    // What is wrong with a key is not quoted: it may be a part of one.
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| of_key("holds no private key in PEM".into()))?;
    CertifiedKey::from_der(chain, key, provider)
        .map_err(|error| of_key(format!("and http.cert_file do not belong together: {error}")))
}

fn note([cert, _]: &Files, metrics: &Metrics) {
    if let Some(end) = certificate::ends(cert) {
        certificate::note(metrics, TARGET, end);
    }
}

/// Both ends of one socket under TLS; clones share it.
#[derive(Clone)]
pub(super) struct TlsWire(Arc<Inner>);

struct Inner {
    /// Held for as long as one poll takes, and hardly ever by two.
    stream: Mutex<TlsStream<TcpStream>>,
    /// Whether something came in after the last thing that went out.
    unanswered: AtomicBool,
}

impl TlsWire {
    /// Says 408 to a client that began a request; one that was merely idle is left in peace.
    pub(super) async fn too_slow(mut self) {
        if self.0.unanswered.load(Ordering::Relaxed) {
            let told = async {
                self.write_all(TOO_SLOW).await?;
                self.shutdown().await
            };
            let _ = tokio::time::timeout(TELL_WITHIN, told).await;
        }
    }

    fn stream(&self) -> MutexGuard<'_, TlsStream<TcpStream>> {
        self.0.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for TlsWire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut *self.stream()).poll_read(context, buffer);
        if let Poll::Ready(Ok(())) = read {
            self.0.unanswered.store(buffer.filled().len() > before, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for TlsWire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.unanswered.store(false, Ordering::Relaxed);
        Pin::new(&mut *self.stream()).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.unanswered.store(false, Ordering::Relaxed);
        Pin::new(&mut *self.stream()).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream()).poll_shutdown(context)
    }
}
