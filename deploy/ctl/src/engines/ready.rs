//! Is an engine ready? Asked in its own protocol, and of the very instance that was started.
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// An engine on this machine that takes longer to say hello is not ready.
const PROBE_WAIT_MAX: Duration = Duration::from_millis(500);
/// PostgreSQL's request for TLS, answered with one byte before any login: length 8, code 80877103.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
/// A NATS INFO line is about 400 bytes; whatever runs longer is something else.
const LINE_BYTES_MAX: u64 = 16_384;

#[derive(Clone)]
pub(super) enum Ready {
    Nats { port: u16, server_name: String },
    Redis { port: u16, password: String },
    Postgres { port: u16, postmaster: PathBuf },
}

impl Ready {
    pub(super) async fn probe(&self, pid: u32) -> bool {
        tokio::time::timeout(PROBE_WAIT_MAX, self.ask(pid)).await.is_ok_and(|answer| answer.unwrap_or(false))
    }

    async fn ask(&self, pid: u32) -> std::io::Result<bool> {
        match self {
            Ready::Nats { port, server_name } => {
                let info = first_line(TcpStream::connect(("127.0.0.1", *port)).await?).await?;
                let info: serde_json::Value = serde_json::from_str(info.trim_start_matches("INFO "))?;
                Ok(info["server_name"] == **server_name && info["jetstream"] == true)
            }
            Ready::Redis { port, password } => {
                let mut socket = TcpStream::connect(("127.0.0.1", *port)).await?;
                socket.write_all(format!("AUTH {password}\r\nPING\r\n").as_bytes()).await?;
                let mut lines = BufReader::new(socket.take(LINE_BYTES_MAX)).lines();
                let (auth, ping) = (lines.next_line().await?, lines.next_line().await?);
                Ok(auth.as_deref() == Some("+OK") && ping.as_deref() == Some("+PONG"))
            }
            Ready::Postgres { port, postmaster } => {
                if !postmaster_says_ready(&std::fs::read_to_string(postmaster)?, pid) {
                    return Ok(false);
                }
                let mut socket = TcpStream::connect(("127.0.0.1", *port)).await?;
                socket.write_all(&SSL_REQUEST).await?;
                Ok(matches!(socket.read_u8().await?, b'N' | b'S'))
            }
        }
    }
}

async fn first_line(socket: TcpStream) -> std::io::Result<String> {
    let mut line = String::new();
    BufReader::new(socket.take(LINE_BYTES_MAX)).read_line(&mut line).await?;
    Ok(line)
}

/// `postmaster.pid` is how `pg_ctl` knows too: the process id in its first line, the state in its eighth.
fn postmaster_says_ready(text: &str, pid: u32) -> bool {
    let mut lines = text.lines().map(str::trim);
    lines.next() == Some(pid.to_string().as_str()) && lines.nth(6) == Some("ready")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postmaster_is_ready_when_it_says_so_of_itself() {
        let text = |state: &str| format!("4711\n/data\n1795360137\n45433\n\n127.0.0.1\n 10117129 4\n{state}\n");
        assert!(postmaster_says_ready(&text("ready   "), 4711));
        assert!(!postmaster_says_ready(&text("starting"), 4711));
        assert!(!postmaster_says_ready(&text("ready"), 4712));
        assert!(!postmaster_says_ready("4711\n", 4711));
    }

    #[tokio::test]
    async fn somebody_elses_nats_is_not_ours() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let hello = async {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                socket.write_all(b"INFO {\"server_name\":\"a\",\"jetstream\":true}\r\n").await.unwrap();
            }
        };
        let check = async {
            assert!(Ready::Nats { port, server_name: "a".into() }.probe(1).await);
            assert!(!Ready::Nats { port, server_name: "b".into() }.probe(1).await);
        };
        tokio::select! { () = hello => {}, () = check => {} }
    }
}
