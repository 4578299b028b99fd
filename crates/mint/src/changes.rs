//! What a commit changed, for those who wait for it (NUT-17).

use std::sync::Arc;

use cashu::Point;
use tokio::sync::broadcast;

use crate::store::{Change, Table};

/// Commits that a slow listener may fall behind; past it the listener is told that it missed some, and asks for the state again.
const BACKLOG: usize = 256;

/// Something whose state is another now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// A mint quote was made or minted.
    MintQuote(String),
    /// A melt quote was made or paid.
    MeltQuote(String),
    /// A token was spent.
    Spent(Point),
}

/// Tells listeners what each commit changed.
#[derive(Clone)]
pub struct Changes(broadcast::Sender<Arc<[Changed]>>);

impl Default for Changes {
    fn default() -> Self {
        Changes(broadcast::Sender::new(BACKLOG))
    }
}

impl Changes {
    /// Listens from now on.
    pub fn listen(&self) -> broadcast::Receiver<Arc<[Changed]>> {
        self.0.subscribe()
    }

    /// Tells of changes that are durable. Costs nothing while nobody listens.
    pub fn tell<'a>(&self, changes: impl Iterator<Item = &'a Change>) {
        if self.0.receiver_count() > 0 {
            let changed: Vec<Changed> = changes.flat_map(changed_by).collect();
            let _ = self.0.send(changed.into());
        }
    }
}

fn changed_by(change: &Change) -> Vec<Changed> {
    let id = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
    let changed = |(table, key, _): &(Table, Vec<u8>, Vec<u8>)| match table {
        Table::Spent => Point::from_bytes(key).ok().map(Changed::Spent),
        Table::MintQuotes | Table::Issued => Some(Changed::MintQuote(id(key))),
        Table::MeltQuotes | Table::Redeemed => Some(Changed::MeltQuote(id(key))),
        _ => None,
    };
    change.rows.iter().filter_map(changed).collect()
}
