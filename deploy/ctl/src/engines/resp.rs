//! A few commands to a Redis of our own, in its own protocol: what makes, moves and mends a cluster.
use std::io;

use futures::future::BoxFuture;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// The largest text that one of these answers may be.
const TEXT_BYTES_MAX: usize = 16_000_000;

/// What a server answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Text(String),
    Number(i64),
    Nothing,
    Many(Vec<Answer>),
}

impl Answer {
    /// Its text; a list's lines.
    pub fn text(&self) -> String {
        match self {
            Answer::Text(text) => text.clone(),
            Answer::Number(number) => number.to_string(),
            Answer::Nothing => String::new(),
            Answer::Many(all) => all.iter().map(Answer::text).collect::<Vec<_>>().join("\n"),
        }
    }
}

/// A connection that asks one thing after another.
pub struct Resp(BufReader<TcpStream>);

impl Resp {
    pub async fn connect(port: u16, user: &str, password: &str) -> io::Result<Resp> {
        let mut resp = Resp(BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?));
        resp.ask(&["AUTH", user, password]).await?;
        Ok(resp)
    }

    /// Asks a command; a refusal is an error with the server's own words.
    pub async fn ask(&mut self, command: &[&str]) -> io::Result<Answer> {
        let mut text = format!("*{}\r\n", command.len());
        command.iter().for_each(|part| text.push_str(&format!("${}\r\n{part}\r\n", part.len())));
        self.0.get_mut().write_all(text.as_bytes()).await?;
        self.read().await
    }

    fn read(&mut self) -> BoxFuture<'_, io::Result<Answer>> {
        Box::pin(async move {
            let mut line = String::new();
            self.0.read_line(&mut line).await?;
            let strange = || io::Error::other("no answer of Redis");
            let (kind, rest) = line.trim_end().split_at_checked(1).ok_or_else(strange)?;
            let number = || rest.parse::<i64>().map_err(|_| strange());
            Ok(match kind {
                "+" => Answer::Text(rest.to_owned()),
                "-" => return Err(io::Error::other(rest.to_owned())),
                ":" => Answer::Number(number()?),
                "$" => match usize::try_from(number()?) {
                    Ok(length) if length <= TEXT_BYTES_MAX => {
                        let mut bytes = vec![0; length + 2];
                        self.0.read_exact(&mut bytes).await?;
                        bytes.truncate(length);
                        Answer::Text(String::from_utf8_lossy(&bytes).into_owned())
                    }
                    Ok(_) => return Err(strange()),
                    Err(_) => Answer::Nothing,
                },
                "*" => {
                    let mut all = Vec::new();
                    for _ in 0..number()?.max(0) {
                        all.push(self.read().await?);
                    }
                    Answer::Many(all)
                }
                _ => return Err(strange()),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_kind_of_answer_is_read() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let all = "+OK\r\n*3\r\n$2\r\nab\r\n:7\r\n$-1\r\n-NOPERM no\r\n";
            socket.write_all(all.as_bytes()).await.unwrap();
            let mut heard = vec![0; 200];
            let _ = socket.read(&mut heard).await.unwrap();
            std::future::pending::<()>().await;
        };
        let client = async {
            let mut resp = Resp::connect(port, "default", "p").await.unwrap();
            let all = vec![Answer::Text("ab".into()), Answer::Number(7), Answer::Nothing];
            assert_eq!(resp.ask(&["X"]).await.unwrap(), Answer::Many(all));
            assert_eq!(resp.ask(&["X"]).await.unwrap_err().to_string(), "NOPERM no");
        };
        tokio::select! { () = server => {}, () = client => {} }
    }
}
