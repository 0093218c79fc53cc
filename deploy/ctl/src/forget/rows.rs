//! What lies in PostgreSQL: verdicts and turns, looked through row by row.

use std::{collections::BTreeMap, time::Instant};

use anyhow::Result;
use talkfleet_shared::{
    chat::TurnRecord,
    envelope::{self, Format},
    id::{RequestId, TenantId},
};
use talkfleet_worker::store::{ArchivedRow, Store, Table};

use super::{
    place::Place,
    retold::retelling,
    search::{Found, Item, Search},
};

/// A record as a row has it; None of a verdict.
fn read(record: &[u8]) -> Option<TurnRecord> {
    let format = Format::detect(None, record).ok()?;
    envelope::decode_large(record, format).ok()
}

/// Rows of one page: some megabytes.
const PAGE_ROWS: u32 = 1_000;

/// Looks through the archive. The turns come last: they say which conversations are whose, should this be interrupted.
pub(super) async fn look(store: &Store, search: &mut Search, erase: bool) -> Result<Vec<Place>> {
    Ok(vec![table(store, search, erase, Table::Feedback).await?, table(store, search, erase, Table::Turns).await?])
}

async fn table(store: &Store, search: &mut Search, erase: bool, table: Table) -> Result<Place> {
    let (began, mut place) = (Instant::now(), Place::new(format!("archive: {}", table.name())));
    let mut theirs: BTreeMap<TenantId, Vec<RequestId>> = BTreeMap::new();
    let mut retold = Vec::new();
    let (tenant, mut last) = (search.tenant().cloned(), None::<ArchivedRow>);
    loop {
        let rows = store.archived_page(table, tenant.as_ref(), last.as_ref(), PAGE_ROWS).await?;
        let whole = rows.len() < PAGE_ROWS as usize;
        for row in &rows {
            place.looked_at += 1;
            let item = Item {
                tenant: Some(&row.tenant),
                user: row.user.as_ref(),
                conversation: row.conversation.as_ref(),
                request: Some(&row.request),
                at_ms: row.at_ms,
                text: Some(&row.text),
                raw: &[&row.record, row.text.as_bytes()],
            };
            let found = search.judge(&item);
            if let Some(record) = retelling(search, &item, found, || read(&row.record)) {
                place.retold += 1;
                retold.push(record);
                continue;
            }
            match found {
                Found::Theirs => theirs.entry(row.tenant.clone()).or_default().push(row.request.clone()),
                Found::Mentions => place.mention(row.request.as_str()),
                Found::Anothers => {}
            }
        }
        last = rows.into_iter().next_back();
        if whole {
            break;
        }
    }
    place.theirs = theirs.values().map(|requests| requests.len() as u64).sum();
    let mut place = place.took(began.elapsed());
    if erase {
        for (tenant, requests) in theirs {
            place.erased += store.erase_archived(table, &tenant, &requests).await?;
        }
        for record in retold {
            place.erased += u64::from(store.rewrite_archived(&record).await?);
        }
    }
    Ok(place)
}
