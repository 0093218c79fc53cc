//! Buckets and objects that processes watch: keys, the catalog of current versions, and trained models.

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use tokio::io::AsyncReadExt;

use super::{Bus, BusError, Wire, model};

/// What a lane may not do: buckets and objects are the live fleet's.
const STORE: &str = "change a bucket or an object store";

/// One change of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    /// None when the key was deleted.
    pub value: Option<Bytes>,
    pub revision: u64,
    /// In a watch: how many entries of the bucket as it stood are still to come.
    pub pending: u64,
}

/// A bucket's current entries, then every change as it happens.
pub struct Watch(BoxStream<'static, Entry>);

impl Watch {
    /// The next entry; None when the watch broke and must be opened anew.
    pub async fn next(&mut self) -> Option<Entry> {
        self.0.next().await
    }
}

fn refused(error: impl std::fmt::Display) -> BusError {
    BusError::Refused(error.to_string())
}

impl Bus {
    async fn bucket(&self, bucket: &str) -> Result<async_nats::jetstream::kv::Store, BusError> {
        self.nats()?.jetstream.get_key_value(bucket).await.map_err(|_| BusError::Missing(format!("bucket '{bucket}'")))
    }

    /// A value, with its revision.
    pub async fn get(&self, bucket: &str, key: &str) -> Result<Option<Entry>, BusError> {
        if let Wire::Model(link) = &self.wire {
            return link.entry(bucket, key).await;
        }
        let entry = self.bucket(bucket).await?.entry(key).await.map_err(refused)?;
        Ok(entry.filter(|e| e.operation == async_nats::jetstream::kv::Operation::Put).map(entry_of))
    }

    /// Stores a value; its revision comes back.
    pub async fn put(&self, bucket: &str, key: &str, value: Bytes) -> Result<u64, BusError> {
        self.lane.live_only(STORE)?;
        if let Wire::Model(link) = &self.wire {
            return link.set(bucket, key, Some(value), false).await.map(Option::unwrap_or_default);
        }
        self.bucket(bucket).await?.put(key, value).await.map_err(refused)
    }

    /// Stores a value unless the key exists; false when it does.
    pub async fn put_new(&self, bucket: &str, key: &str, value: Bytes) -> Result<bool, BusError> {
        self.lane.live_only(STORE)?;
        if let Wire::Model(link) = &self.wire {
            return link.set(bucket, key, Some(value), true).await.map(|revision| revision.is_some());
        }
        match self.bucket(bucket).await?.create(key, value).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == async_nats::jetstream::kv::CreateErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(refused(error)),
        }
    }

    /// Deletes a key; watchers hear of it.
    pub async fn remove(&self, bucket: &str, key: &str) -> Result<(), BusError> {
        self.lane.live_only(STORE)?;
        if let Wire::Model(link) = &self.wire {
            return link.set(bucket, key, None, false).await.map(drop);
        }
        self.bucket(bucket).await?.delete(key).await.map_err(refused)
    }

    /// Every entry of a bucket as it stands.
    pub async fn entries(&self, bucket: &str) -> Result<Vec<Entry>, BusError> {
        let store = self.bucket(bucket).await?;
        let mut keys = store.keys().await.map_err(refused)?;
        let mut entries = Vec::new();
        while let Some(key) = keys.next().await {
            let key = key.map_err(refused)?;
            entries.extend(store.entry(key).await.map_err(refused)?.map(entry_of));
        }
        Ok(entries)
    }

    /// Whether a bucket holds nothing, so that a watch of it would begin in silence.
    pub async fn is_empty(&self, bucket: &str) -> Result<bool, BusError> {
        if let Wire::Model(link) = &self.wire {
            return link.is_empty(bucket).await;
        }
        Ok(self.bucket(bucket).await?.status().await.map_err(refused)?.values() == 0)
    }

    /// Follows a bucket: first what is there, then every change.
    pub async fn watch(&self, bucket: &str) -> Result<Watch, BusError> {
        if let Wire::Model(link) = &self.wire {
            return Ok(Watch(model::entries(link.watch(bucket).await?).boxed()));
        }
        // History of one: the current value of each key comes first.
        let watch = self.bucket(bucket).await?.watch_with_history(">").await.map_err(refused)?;
        let entries = watch
            .take_while(|entry| std::future::ready(entry.is_ok()))
            .filter_map(|entry| std::future::ready(entry.ok().map(entry_of)));
        Ok(Watch(entries.boxed()))
    }

    /// Stores an object.
    pub async fn put_object(&self, store: &str, name: &str, mut bytes: &[u8]) -> Result<(), BusError> {
        self.lane.live_only(STORE)?;
        self.objects(store).await?.put(name, &mut bytes).await.map(drop).map_err(refused)
    }

    /// Reads an object; its digest is checked by the library.
    pub async fn get_object(&self, store: &str, name: &str) -> Result<Vec<u8>, BusError> {
        let mut object =
            self.objects(store).await?.get(name).await.map_err(|_| BusError::Missing(format!("object '{name}'")))?;
        let mut bytes = Vec::with_capacity(object.info().size);
        object.read_to_end(&mut bytes).await.map_err(refused)?;
        Ok(bytes)
    }

    /// Deletes an object; one that is not there is fine.
    pub async fn delete_object(&self, store: &str, name: &str) -> Result<(), BusError> {
        self.lane.live_only(STORE)?;
        match self.objects(store).await?.delete(name).await {
            Err(error) if error.kind() != async_nats::jetstream::object_store::DeleteErrorKind::NotFound => {
                Err(refused(error))
            }
            _ => Ok(()),
        }
    }

    /// The names in an object store.
    pub async fn object_names(&self, store: &str) -> Result<Vec<String>, BusError> {
        let mut list = self.objects(store).await?.list().await.map_err(refused)?;
        let mut names = Vec::new();
        while let Some(info) = list.next().await {
            names.push(info.map_err(refused)?.name);
        }
        Ok(names)
    }

    async fn objects(&self, store: &str) -> Result<async_nats::jetstream::object_store::ObjectStore, BusError> {
        self.nats()?
            .jetstream
            .get_object_store(store)
            .await
            .map_err(|_| BusError::Missing(format!("object store '{store}'")))
    }
}

fn entry_of(entry: async_nats::jetstream::kv::Entry) -> Entry {
    let put = entry.operation == async_nats::jetstream::kv::Operation::Put;
    Entry { key: entry.key, value: put.then_some(entry.value), revision: entry.revision, pending: entry.delta }
}
