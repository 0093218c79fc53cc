//! What the bus needs of a broker, and the two that give it: nats-server, and the model that simulations run on.

use std::{sync::Arc, time::Duration};

use async_nats::{
    Client, HeaderMap, Message, RequestErrorKind, Subject, Subscriber,
    jetstream::{self, AckKind, consumer::PullConsumer, context::PublishErrorKind, stream::DirectGetErrorKind},
};
use bytes::Bytes;
use futures::StreamExt;
use time::OffsetDateTime;

use super::{BusError, CallError, model};

/// How long a server may take to say that nobody answers.
const ROUND_TRIP_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to a broker.
#[derive(Clone)]
pub(super) enum Wire {
    Nats(Arc<Nats>),
    Model(model::Link),
}

/// A connection to nats-server.
pub(super) struct Nats {
    pub(super) client: Client,
    pub(super) jetstream: jetstream::Context,
}

/// A stream has taken a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) sequence: u64,
    /// It was there already, under the same id.
    pub(super) duplicate: bool,
}

/// Why a stream did not take a message.
#[derive(Debug)]
pub(super) enum StoreError {
    /// It was to be the first on its subject, and is not.
    NotFirst,
    Failed(BusError),
}

/// A message as it lies in a stream.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) sequence: u64,
    pub(super) subject: Subject,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) stored_at: OffsetDateTime,
}

/// What is heard on a subject.
pub(super) enum Heard {
    Nats(Subscriber),
    Model(model::Ear),
}

/// A durable consumer.
pub(super) enum Consumer {
    Nats(Box<PullConsumer>),
    Model(model::Puller),
}

/// An open pull of one.
pub(super) enum Pull {
    Nats(jetstream::consumer::pull::Batch),
    Model(model::Pull),
}

/// A message that one was given.
pub(super) enum Taken {
    Nats(jetstream::Message),
    Model(model::Taken),
}

impl Wire {
    pub(super) fn is_connected(&self) -> bool {
        match self {
            Self::Nats(nats) => nats.client.connection_state() == async_nats::connection::State::Connected,
            Self::Model(link) => link.is_connected(),
        }
    }

    /// Waits until the broker has everything that was published so far.
    pub(super) async fn flush(&self) -> Result<(), BusError> {
        match self {
            Self::Nats(nats) => nats.round_trip().await,
            Self::Model(link) => link.flush().await,
        }
    }

    pub(super) async fn publish(&self, subject: String, headers: HeaderMap, body: Bytes) -> Result<(), BusError> {
        match self {
            Self::Nats(nats) => nats.client.publish_with_headers(subject, headers, body).await.map_err(refused),
            Self::Model(link) => link.publish(subject, headers, body).await,
        }
    }

    /// Publishes; when nobody hears it, the broker says so on `reply`. A model keeps silent.
    pub(super) async fn publish_from(
        &self,
        subject: String,
        reply: String,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(), BusError> {
        match self {
            Self::Nats(nats) => {
                nats.client.publish_with_reply_and_headers(subject, reply, headers, body).await.map_err(refused)
            }
            Self::Model(link) => link.publish(subject, headers, body).await,
        }
    }

    /// The broker knows of it when this returns. Each message reaches one of those who subscribe within a group.
    pub(super) async fn subscribe(&self, subject: String, group: Option<&str>) -> Result<Heard, BusError> {
        match self {
            Self::Nats(nats) => {
                let subscribed = match group {
                    Some(group) => nats.client.queue_subscribe(subject, group.to_owned()).await,
                    None => nats.client.subscribe(subject).await,
                };
                let heard = subscribed.map(Heard::Nats).map_err(refused)?;
                nats.round_trip().await?;
                Ok(heard)
            }
            Self::Model(link) => Ok(Heard::Model(link.subscribe(&subject, group).await)),
        }
    }

    /// Publishes, and waits for the first who answers.
    pub(super) async fn request(
        &self,
        subject: String,
        headers: HeaderMap,
        body: Bytes,
        within: Duration,
    ) -> Result<Message, CallError> {
        match self {
            Self::Nats(nats) => {
                let request = async_nats::Request::new().headers(headers).payload(body).timeout(Some(within));
                nats.client.send_request(subject, request).await.map_err(|error| CallError::of(&error))
            }
            Self::Model(link) => link.request(subject, headers, body, within).await,
        }
    }

    /// Publishes into whichever stream captures the subject, and waits until it is stored.
    pub(super) async fn store(&self, subject: String, headers: HeaderMap, body: Bytes) -> Result<Stored, StoreError> {
        match self {
            Self::Nats(nats) => {
                let sent = async { nats.jetstream.publish_with_headers(subject, headers, body).await?.await };
                match sent.await {
                    Ok(ack) => Ok(Stored { sequence: ack.sequence, duplicate: ack.duplicate }),
                    Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Err(StoreError::NotFirst),
                    Err(error) => Err(StoreError::Failed(super::stored_error(&error))),
                }
            }
            Self::Model(link) => link.store(&subject, headers, body).await,
        }
    }

    /// The newest message on a subject.
    pub(super) async fn last(&self, stream: &str, subject: String) -> Result<Option<Kept>, BusError> {
        match self {
            Self::Nats(nats) => {
                let stream = nats.stream(stream).await?;
                match stream.direct_get_builder().last_by_subject(subject).send().await {
                    Ok(message) => Ok(Some(message.into())),
                    Err(error) => match error.kind() {
                        DirectGetErrorKind::NotFound => Ok(None),
                        DirectGetErrorKind::TimedOut => Err(BusError::Timeout),
                        _ => Err(refused(error)),
                    },
                }
            }
            Self::Model(link) => link.last(stream, &subject).await,
        }
    }

    /// The message of a sequence, as the stream's leader has it.
    pub(super) async fn kept(&self, stream: &str, sequence: u64) -> Result<Option<Kept>, BusError> {
        use async_nats::jetstream::stream::RawMessageErrorKind as Kind;
        match self {
            Self::Nats(nats) => match nats.stream(stream).await?.get_raw_message(sequence).await {
                Ok(message) => Ok(Some(message.into())),
                Err(error) if matches!(error.kind(), Kind::NoMessageFound) => Ok(None),
                Err(error) => Err(refused(error)),
            },
            Self::Model(link) => link.kept(stream, sequence).await,
        }
    }

    pub(super) async fn delete(&self, stream: &str, sequence: u64) -> Result<(), BusError> {
        match self {
            Self::Nats(nats) => nats.stream(stream).await?.delete_message(sequence).await.map(drop).map_err(refused),
            Self::Model(link) => link.delete(stream, sequence).await,
        }
    }

    pub(super) async fn consumer(&self, stream: &str, name: &str) -> Result<Consumer, BusError> {
        match self {
            Self::Nats(nats) => nats.consumer(stream, name).await.map(|consumer| Consumer::Nats(Box::new(consumer))),
            Self::Model(link) => link.consumer(stream, name).await.map(Consumer::Model),
        }
    }
}

impl Nats {
    /// Asks where nobody answers, which the server says at once: by then it has dealt with all that was sent before. The
    /// library's own flush waits for the socket only.
    async fn round_trip(&self) -> Result<(), BusError> {
        let request = async_nats::Request::new().timeout(Some(ROUND_TRIP_TIMEOUT));
        match self.client.send_request(self.client.new_inbox(), request).await {
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(()),
            Err(error) if error.kind() == RequestErrorKind::TimedOut => Err(BusError::Timeout),
            Err(_) => Err(BusError::Away),
            Ok(_) => Ok(()),
        }
    }

    /// A handle of a stream; costs no round trip.
    pub(super) async fn stream(&self, name: &str) -> Result<jetstream::stream::Stream<()>, BusError> {
        self.jetstream.get_stream_no_info(name).await.map_err(refused)
    }

    pub(super) async fn consumer(&self, stream: &str, name: &str) -> Result<PullConsumer, BusError> {
        use async_nats::jetstream::context::ConsumerInfoErrorKind as Kind;
        let stream = self.stream(stream).await?;
        if let Err(error) = stream.consumer_info(name).await {
            return Err(match error.kind() {
                Kind::NotFound | Kind::StreamNotFound => BusError::Missing(format!("consumer '{name}'")),
                Kind::TimedOut => BusError::Timeout,
                _ => refused(error),
            });
        }
        stream.get_consumer(name).await.map_err(refused)
    }
}

impl Heard {
    pub(super) async fn next(&mut self) -> Option<Message> {
        match self {
            Self::Nats(subscriber) => subscriber.next().await,
            Self::Model(ear) => ear.next().await,
        }
    }

    /// Hears no more from here on; what is under way still comes by [`Heard::next`], then None.
    pub(super) async fn close(&mut self) {
        match self {
            Self::Nats(subscriber) => {
                let _ = subscriber.drain().await;
            }
            Self::Model(ear) => ear.close(),
        }
    }
}

impl Consumer {
    /// Asks for at most so many messages, within this time.
    pub(super) async fn pull(&self, messages_max: usize, expires: Duration) -> Result<Pull, BusError> {
        match self {
            Self::Nats(consumer) => {
                let pull = consumer.batch().max_messages(messages_max).expires(expires).messages().await;
                pull.map(Pull::Nats).map_err(refused)
            }
            Self::Model(puller) => puller.pull(messages_max, expires).await.map(Pull::Model),
        }
    }

    /// How many messages wait that were never delivered.
    pub(super) async fn waiting(&mut self) -> Result<u64, BusError> {
        match self {
            Self::Nats(consumer) => consumer.get_info().await.map(|info| info.num_pending).map_err(refused),
            Self::Model(puller) => puller.waiting().await,
        }
    }
}

impl Pull {
    /// The next message; None when the pull is over.
    pub(super) async fn next(&mut self) -> Option<Result<Taken, BusError>> {
        match self {
            Self::Nats(batch) => Some(batch.next().await?.map(Taken::Nats).map_err(refused)),
            Self::Model(pull) => pull.next().await.map(|taken| Ok(Taken::Model(taken))),
        }
    }
}

impl Taken {
    pub(super) fn message(&self) -> &Message {
        match self {
            Self::Nats(message) => &message.message,
            Self::Model(taken) => &taken.message,
        }
    }

    pub(super) fn message_mut(&mut self) -> &mut Message {
        match self {
            Self::Nats(message) => &mut message.message,
            Self::Model(taken) => &mut taken.message,
        }
    }

    /// How often it was delivered, this time included, and when it was stored.
    pub(super) fn facts(&self) -> Result<(u32, OffsetDateTime), BusError> {
        match self {
            Self::Nats(message) => {
                let info = message.info().map_err(refused)?;
                Ok((info.delivered.clamp(1, i64::from(u32::MAX)) as u32, info.published))
            }
            Self::Model(taken) => Ok((taken.delivered, taken.stored_at)),
        }
    }

    /// Tells the broker, and does not wait for it.
    pub(super) async fn ack(&self, kind: AckKind) -> Result<(), BusError> {
        match self {
            Self::Nats(message) => message.ack_with(kind).await.map_err(refused),
            Self::Model(taken) => taken.ack(kind).await,
        }
    }

    /// Tells the broker, and waits until it has confirmed.
    ///
    /// Not by the library's own double ack, which subscribes and unsubscribes for each one: that costs the broker twice as much.
    pub(super) async fn ack_confirmed(&self, wire: &Wire, kind: AckKind) -> Result<(), BusError> {
        match (self, wire) {
            (Self::Nats(message), Wire::Nats(nats)) => {
                let ack_to =
                    message.reply.clone().ok_or_else(|| refused("the message names nobody to acknowledge to"))?;
                let ack = async_nats::Request::new().payload(kind.into()).timeout(Some(ROUND_TRIP_TIMEOUT));
                match nats.client.send_request(ack_to, ack).await {
                    Ok(_) => Ok(()),
                    Err(error) if error.kind() == RequestErrorKind::TimedOut => Err(BusError::Timeout),
                    Err(error) => Err(refused(error)),
                }
            }
            (Self::Model(taken), _) => taken.ack_confirmed(kind).await,
            (Self::Nats(_), Wire::Model(_)) => Err(refused("a model of the broker delivered nothing of this kind")),
        }
    }
}

impl From<jetstream::message::StreamMessage> for Kept {
    fn from(message: jetstream::message::StreamMessage) -> Self {
        Self {
            sequence: message.sequence,
            subject: message.subject,
            headers: message.headers,
            body: message.payload,
            stored_at: message.time,
        }
    }
}

fn refused(error: impl std::fmt::Display) -> BusError {
    BusError::Refused(error.to_string())
}
