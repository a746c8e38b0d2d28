//! The journal of events, in `SQLite`: appended to before any effect, replayed at start.
//!
//! The events are the truth. Checkpoints and the index of deployments are caches of what a replay
//! would give, so that a restart reads little and a page finds a deployment at once.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rollout::{DeploymentId, Event, Finished, State};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection, Row, Sqlite, SqliteConnection, Transaction};

/// Raised when the stored form of a state changes: older checkpoints are then replayed afresh.
const STATE_VERSION: i64 = 1;

/// Connections for pages and the command line; the driver writes through one of its own.
const READERS: u32 = 4;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, service TEXT NOT NULL, event TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS events_by_service ON events (service, seq);
CREATE TABLE IF NOT EXISTS checkpoints (
  service TEXT PRIMARY KEY, seq INTEGER NOT NULL, version INTEGER NOT NULL, state TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS deployments (
  id TEXT PRIMARY KEY, service TEXT NOT NULL, first_seq INTEGER NOT NULL, last_seq INTEGER,
  before TEXT NOT NULL, began INTEGER NOT NULL, finished TEXT);
CREATE INDEX IF NOT EXISTS deployments_by_service ON deployments (service, began);
CREATE INDEX IF NOT EXISTS deployments_by_time ON deployments (began);
";

/// What can go wrong with the journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another Serin holds it.
    #[error(
        "the journal {0} is in use by another Serin; stop that one, or give this one a `journal` of its own in serin.yaml"
    )]
    InUse(PathBuf),
    /// Its folder or lock file cannot be written.
    #[error(
        "failed to open {path} beside the journal; check the folder's permissions and free space"
    )]
    Lock {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The database says no.
    #[error("failed to use the journal {path}; check free space and permissions")]
    Database {
        /// Which file.
        path: PathBuf,
        /// What it says.
        #[source]
        source: sqlx::Error,
    },
    /// A row cannot be read back.
    #[error("entry {seq} of the journal {path} is not readable; restore the file from a backup")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Which row.
        seq: i64,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// What is appended in one transaction.
#[derive(Debug, Default)]
pub struct Batch {
    /// Service and event, in order.
    pub events: Vec<(String, Event)>,
    /// States as of everything appended before this batch.
    pub checkpoints: Vec<(i64, State)>,
    /// Deployments that began: sequence number of the event, and the state before it.
    pub begun: Vec<Begun>,
    /// Deployments that ended.
    pub ended: Vec<(i64, Finished)>,
}

/// A deployment that began.
#[derive(Debug)]
pub struct Begun {
    /// Which.
    pub id: DeploymentId,
    /// Number of the event that began it.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// The service's state before that event.
    pub before: State,
}

/// An entry of the index of deployments.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Which.
    pub id: DeploymentId,
    /// Of which service.
    pub service: String,
    /// When it began.
    pub began: Timestamp,
    /// Its record, once it is over.
    pub finished: Option<Finished>,
}

/// Everything needed to tell one deployment's story.
#[derive(Debug)]
pub struct Recording {
    /// The index entry.
    pub entry: Entry,
    /// The service's state before it.
    pub before: State,
    /// The service's events from its first to its last.
    pub events: Vec<Event>,
}

/// The open journal. Dropping it releases the lock.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
    last: i64,
    _lock: File,
}

/// Read access for pages; cheap to clone.
#[derive(Debug, Clone)]
pub struct Reader {
    path: PathBuf,
    pool: SqlitePool,
}

impl Journal {
    /// Opens or creates the journal and takes its lock.
    ///
    /// # Errors
    /// When another Serin holds it, or the file cannot be used; the text says what to do.
    pub async fn open(path: &Path) -> Result<Self, JournalError> {
        let lock = lock(path)?;
        let writer = pool(path, 1).await?;
        let failed = |source| JournalError::Database { path: path.to_owned(), source };
        sqlx::raw_sql(SCHEMA).execute(&writer).await.map_err(failed)?;
        let last: Option<i64> = sqlx::query_scalar("SELECT max(seq) FROM events")
            .fetch_one(&writer)
            .await
            .map_err(failed)?;
        let readers = pool(path, READERS).await?;
        Ok(Self { path: path.to_owned(), writer, readers, last: last.unwrap_or(0), _lock: lock })
    }

    /// For pages and the command line.
    pub fn reader(&self) -> Reader {
        Reader { path: self.path.clone(), pool: self.readers.clone() }
    }

    /// The number of the newest event; the next ones follow it without gaps.
    pub fn last(&self) -> i64 {
        self.last
    }

    /// Appends a batch; all of it or nothing.
    ///
    /// # Errors
    /// When the database cannot write, e.g. on a full disk. Nothing was written; the same batch may be given again.
    pub async fn append(&mut self, batch: &Batch) -> Result<(), JournalError> {
        let failed = |source| JournalError::Database { path: self.path.clone(), source };
        let mut connection = self.writer.acquire().await.map_err(failed)?;
        if let Err(source) = self.try_append(&mut connection, batch).await {
            // On some errors, a full disk among them, SQLite ends the transaction by itself. The
            // connection would go on to count it, and nothing that follows would be committed.
            connection.close_on_drop();
            return Err(failed(source));
        }
        self.last += i64::try_from(batch.events.len()).unwrap_or(i64::MAX);
        Ok(())
    }

    async fn try_append(
        &self,
        connection: &mut SqliteConnection,
        batch: &Batch,
    ) -> Result<(), sqlx::Error> {
        let mut tx = connection.begin().await?;
        let mut seq = self.last;
        for (service, event) in &batch.events {
            seq += 1;
            sqlx::query("INSERT INTO events (seq, service, event) VALUES (?, ?, ?)")
                .bind(seq)
                .bind(service)
                .bind(json(event)?)
                .execute(&mut *tx)
                .await?;
        }
        for (seq, state) in &batch.checkpoints {
            let sql = "INSERT INTO checkpoints VALUES (?, ?, ?, ?) ON CONFLICT (service) DO UPDATE
                       SET seq = excluded.seq, version = excluded.version, state = excluded.state";
            let query = sqlx::query(sql).bind(&state.service).bind(seq).bind(STATE_VERSION);
            query.bind(json(state)?).execute(&mut *tx).await?;
        }
        index(&mut tx, batch).await?;
        tx.commit().await
    }

    /// Every service's state, from its checkpoint and the events after it.
    ///
    /// # Errors
    /// When the file cannot be read or an entry is damaged.
    pub async fn replay(&self) -> Result<Vec<State>, JournalError> {
        let failed = |source| JournalError::Database { path: self.path.clone(), source };
        let services: Vec<String> = sqlx::query_scalar("SELECT DISTINCT service FROM events")
            .fetch_all(&self.writer)
            .await
            .map_err(failed)?;
        let mut states = Vec::with_capacity(services.len());
        for service in services {
            let row =
                sqlx::query("SELECT seq, state FROM checkpoints WHERE service = ? AND version = ?")
                    .bind(&service)
                    .bind(STATE_VERSION)
                    .fetch_optional(&self.writer)
                    .await
                    .map_err(failed)?;
            // A checkpoint that cannot be read is only a lost short cut.
            let (seq, state) = row
                .and_then(|row| {
                    Some((row.get::<i64, _>(0), serde_json::from_str(row.get(1)).ok()?))
                })
                .unwrap_or_else(|| (0, State::new(&service)));
            let events = self.reader().events(&service, seq + 1, i64::MAX).await?;
            states.push(rollout::replay::state(state, &events));
        }
        Ok(states)
    }
}

async fn index(tx: &mut Transaction<'_, Sqlite>, batch: &Batch) -> Result<(), sqlx::Error> {
    for begun in &batch.begun {
        sqlx::query("INSERT OR IGNORE INTO deployments (id, service, first_seq, before, began) VALUES (?, ?, ?, ?, ?)")
            .bind(begun.id.as_str())
            .bind(&begun.before.service)
            .bind(begun.seq)
            .bind(json(&begun.before)?)
            .bind(begun.at.as_millisecond())
            .execute(&mut **tx)
            .await?;
    }
    for (seq, finished) in &batch.ended {
        sqlx::query("UPDATE deployments SET last_seq = ?, finished = ? WHERE id = ?")
            .bind(seq)
            .bind(json(finished)?)
            .bind(finished.id.as_str())
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

fn json(value: &impl serde::Serialize) -> Result<String, sqlx::Error> {
    serde_json::to_string(value).map_err(|e| sqlx::Error::Encode(Box::new(e)))
}

fn lock(path: &Path) -> Result<File, JournalError> {
    let file = path.with_extension("lock");
    let failed = |source| JournalError::Lock { path: file.clone(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let lock = File::create(&file).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(JournalError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

async fn pool(path: &Path, connections: u32) -> Result<SqlitePool, JournalError> {
    // NORMAL in WAL mode survives a killed process; a power cut may lose the last moments, whose
    // outcome is then reached again: evidence is read anew, and a revert knows itself by its trailer.
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(Duration::from_secs(2));
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(5))
        .connect_with(options)
        .await
        .map_err(|source| JournalError::Database { path: path.to_owned(), source })
}

impl Reader {
    fn failed(&self, source: sqlx::Error) -> JournalError {
        JournalError::Database { path: self.path.clone(), source }
    }

    /// A service's events with numbers from `from` to `to`, both included.
    ///
    /// # Errors
    /// When the file cannot be read or an entry is damaged.
    pub async fn events(
        &self,
        service: &str,
        from: i64,
        to: i64,
    ) -> Result<Vec<Event>, JournalError> {
        let sql =
            "SELECT seq, event FROM events WHERE service = ? AND seq BETWEEN ? AND ? ORDER BY seq";
        let rows = sqlx::query(sql).bind(service).bind(from).bind(to).fetch_all(&self.pool).await;
        let rows = rows.map_err(|e| self.failed(e))?;
        let read = |row: &sqlx::sqlite::SqliteRow| {
            let seq = row.get(0);
            serde_json::from_str(row.get(1)).map_err(|source| JournalError::Damaged {
                path: self.path.clone(),
                seq,
                source,
            })
        };
        rows.iter().map(read).collect()
    }

    /// The newest deployments, newest first; of one service if `service` is given, begun before `before` if given.
    ///
    /// # Errors
    /// When the file cannot be read or an entry is damaged.
    pub async fn deployments(
        &self,
        service: Option<&str>,
        before: Option<Timestamp>,
        limit: u32,
    ) -> Result<Vec<Entry>, JournalError> {
        let sql = "SELECT id, service, began, finished, first_seq FROM deployments
                   WHERE (?1 IS NULL OR service = ?1) AND (?2 IS NULL OR began < ?2)
                   ORDER BY began DESC LIMIT ?3";
        let before = before.map(Timestamp::as_millisecond);
        let rows =
            sqlx::query(sql).bind(service).bind(before).bind(limit).fetch_all(&self.pool).await;
        rows.map_err(|e| self.failed(e))?.iter().map(|row| self.entry(row)).collect()
    }

    /// One deployment's recording, if there is such a deployment.
    ///
    /// # Errors
    /// When the file cannot be read or an entry is damaged.
    pub async fn recording(&self, id: &DeploymentId) -> Result<Option<Recording>, JournalError> {
        let sql = "SELECT id, service, began, finished, first_seq, last_seq, before FROM deployments WHERE id = ?";
        let row = sqlx::query(sql).bind(id.as_str()).fetch_optional(&self.pool).await;
        let Some(row) = row.map_err(|e| self.failed(e))? else { return Ok(None) };
        let entry = self.entry(&row)?;
        let seq: i64 = row.get(4);
        let before = serde_json::from_str(row.get(6)).map_err(|source| JournalError::Damaged {
            path: self.path.clone(),
            seq,
            source,
        })?;
        let last: Option<i64> = row.get(5);
        let events = self.events(&entry.service, seq, last.unwrap_or(i64::MAX)).await?;
        Ok(Some(Recording { entry, before, events }))
    }

    fn entry(&self, row: &sqlx::sqlite::SqliteRow) -> Result<Entry, JournalError> {
        let seq: i64 = row.get(4);
        let finished: Option<&str> = row.get(3);
        let finished = finished
            .map(serde_json::from_str)
            .transpose()
            .map_err(|source| JournalError::Damaged { path: self.path.clone(), seq, source })?;
        let began = Timestamp::from_millisecond(row.get(2)).unwrap_or(Timestamp::UNIX_EPOCH);
        Ok(Entry { id: DeploymentId::from_text(row.get(0)), service: row.get(1), began, finished })
    }
}

#[cfg(test)]
mod tests;
