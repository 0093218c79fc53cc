//! How each face is asked: the bytes of a connection's opening and of a message.

use std::io::Write;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use talkfleet_shared::{id::TenantId, subject};

use super::{
    nats,
    ws::{self, Opcode},
};
use crate::bench::traffic::Message;

/// One way to ask the desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(in crate::bench) enum Face {
    /// POST /v1/chat, the answer as a whole
    Http,
    /// POST /v1/chat, the answer while it is made
    Sse,
    /// One message after another over a socket of GET /v1/ws
    Ws,
    /// POST /v1/chat/completions
    Openai,
    /// A plain NATS request, as `nats request` makes it
    Nats,
}

/// Who asks whom, the same for all connections of a sender.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::bench) struct Asker {
    pub(in crate::bench) face: Face,
    pub(in crate::bench) key: String,
    pub(in crate::bench) tenant: TenantId,
    pub(in crate::bench) channel: Option<String>,
    pub(in crate::bench) deadline_ms: Option<u64>,
    /// User and password at the broker.
    pub(in crate::bench) nats_user: Option<(String, String)>,
    /// Tells conversations of this run from those of others.
    pub(in crate::bench) run: String,
}

impl Face {
    pub(in crate::bench) fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Sse => "sse",
            Self::Ws => "ws",
            Self::Openai => "openai",
            Self::Nats => "nats",
        }
    }
}

impl Asker {
    /// What a connection says before its first message; nothing for those that need no opening.
    pub(super) fn opening(&self, host: &str, inbox: &str) -> Vec<u8> {
        match self.face {
            Face::Http | Face::Sse | Face::Openai => Vec::new(),
            Face::Ws => format!(
                "GET /v1/ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGFsa2ZsZWV0LWJlbmNoIQ==\r\nAuthorization: Bearer {}\r\n\r\n",
                self.key
            )
            .into_bytes(),
            Face::Nats => {
                let user = self.nats_user.as_ref().map(|(user, password)| (user.as_str(), password.as_str()));
                nats::greeting(user, inbox)
            }
        }
    }

    /// A message; `text` is a JSON string, `number` counts those of the connection, `body` is room to write in.
    pub(super) fn message(
        &self,
        out: &mut Vec<u8>,
        body: &mut Vec<u8>,
        (host, inbox): (&str, &str),
        (message, text, number): (Message, &str, u64),
    ) {
        body.clear();
        // Writing into a Vec cannot fail.
        let _ = self.body(body, message, text, number);
        let _ = match self.face {
            Face::Http | Face::Sse | Face::Openai => self.head(out, host, body.len()),
            Face::Ws => {
                ws::write(out, Opcode::Text, body);
                return;
            }
            Face::Nats => write!(out, "PUB {} {inbox}.{number} {}\r\n", subject::chat(&self.tenant), body.len()),
        };
        out.extend_from_slice(body);
        if self.face == Face::Nats {
            out.extend_from_slice(b"\r\n");
        }
    }

    fn head(&self, out: &mut Vec<u8>, host: &str, length: usize) -> std::io::Result<()> {
        let path = if self.face == Face::Openai { "/v1/chat/completions" } else { "/v1/chat" };
        let accept = if self.face == Face::Sse { "Accept: text/event-stream\r\n" } else { "" };
        write!(
            out,
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n{accept}\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n",
            self.key
        )
    }

    fn body(&self, body: &mut Vec<u8>, message: Message, text: &str, number: u64) -> std::io::Result<()> {
        let Message { customer, .. } = message;
        match self.face {
            Face::Openai => write!(
                body,
                r#"{{"model":"talkfleet","messages":[{{"role":"user","content":{text}}}],"user":"{run}-u{customer}","conversation":"{run}-{customer}""#,
                run = self.run
            )?,
            face => {
                if face == Face::Ws {
                    write!(body, r#"{{"type":"ask","ref":"{number}","text":{text}"#)?;
                } else {
                    write!(body, r#"{{"text":{text}"#)?;
                }
                write!(body, r#","conversation":"{run}-{customer}","user":"{run}-u{customer}""#, run = self.run)?;
                if let Some(channel) = &self.channel {
                    write!(body, r#","channel":"{channel}""#)?;
                }
            }
        }
        if let Some(deadline_ms) = self.deadline_ms {
            write!(body, r#","deadline_ms":{deadline_ms}"#)?;
        }
        body.push(b'}');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};
    use serde_json::Value;

    use super::*;
    use crate::bench::traffic::{Customers, Languages, Manners};

    fn asked(face: Face) -> Vec<u8> {
        let manners = Manners { languages: Languages::Zh, follow_share: 0.0, think_ms: 1 };
        let mut customers = Customers::new(manners, 0, 1);
        let message = customers.next(0, &mut StdRng::seed_from_u64(1));
        let asker = Asker {
            face,
            key: "k".into(),
            tenant: TenantId::parse("demo").unwrap(),
            channel: Some("fast".into()),
            deadline_ms: Some(900),
            nats_user: None,
            run: "r".into(),
        };
        let (mut out, mut body) = (Vec::new(), Vec::new());
        asker.message(&mut out, &mut body, ("h", "i"), (message, customers.text(message), 7));
        out
    }

    #[test]
    fn bodies_are_json_and_their_length_is_said() {
        for face in [Face::Http, Face::Sse, Face::Openai] {
            let out = String::from_utf8(asked(face)).unwrap();
            let (head, body) = out.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
            let body: Value = serde_json::from_str(body).unwrap();
            assert_eq!((&body["deadline_ms"], &body["conversation"]), (&900.into(), &"r-0".into()));
            assert_eq!(head.contains("event-stream"), face == Face::Sse);
        }
        let out = String::from_utf8(asked(Face::Nats)).unwrap();
        let (head, body) = out.split_once("\r\n").unwrap();
        assert_eq!(head, format!("PUB chat.v1.chat.demo i.7 {}", body.len() - 2));
        assert_eq!(asked(Face::Ws)[..2], [0x81, 0x80 | 126]);
    }
}
