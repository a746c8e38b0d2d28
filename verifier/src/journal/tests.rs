//! The journal on real files: what is read back is what was appended, whatever happens in between.

use rollout::{Happened, Order};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn event(second: i64, by: &str) -> Event {
    Event { at: at(second), what: Happened::Operated { by: by.to_owned(), order: Order::Pause } }
}

fn batch(events: &[(&str, Event)]) -> Batch {
    let events = events.iter().map(|(service, event)| ((*service).to_owned(), event.clone()));
    Batch { events: events.collect(), ..Batch::default() }
}

#[tokio::test]
async fn what_was_appended_is_read_back_in_order_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let mut journal = Journal::open(&path).await.unwrap();
    journal.append(&batch(&[("shop", event(1, "ann")), ("cart", event(2, "bob"))])).await.unwrap();
    journal.append(&batch(&[("shop", event(3, "eve"))])).await.unwrap();
    // Dropped without closing: a crash.
    drop(journal);
    let journal = Journal::open(&path).await.unwrap();
    assert_eq!(journal.last(), 3);
    let events = journal.reader().events("shop", 1, i64::MAX).await.unwrap();
    assert_eq!(events, [event(1, "ann"), event(3, "eve")]);
    let mut states = journal.replay().await.unwrap();
    states.sort_by(|a, b| a.service.cmp(&b.service));
    assert_eq!(states, [State::new("cart"), State::new("shop")]);
}

#[tokio::test]
async fn a_second_serin_on_one_journal_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let first = Journal::open(&path).await.unwrap();
    let refused = Journal::open(&path).await.unwrap_err();
    assert!(matches!(refused, JournalError::InUse(_)), "{refused:?}");
    assert!(refused.to_string().contains("in use by another Serin; stop that one"));
    drop(first);
    Journal::open(&path).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_the_same_batch_may_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let mut journal = Journal::open(&path).await.unwrap();
    journal.append(&batch(&[("shop", event(1, "ann"))])).await.unwrap();
    let pages: i64 =
        sqlx::query_scalar("PRAGMA page_count").fetch_one(&journal.writer).await.unwrap();
    let limit = |pages: i64| sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
    sqlx::query(limit(pages)).execute(&journal.writer).await.unwrap();
    let large = batch(&[("shop", event(2, &"x".repeat(100_000)))]);
    let error = journal.append(&large).await.unwrap_err();
    assert!(crate::chain(&error).contains("full"), "{}", crate::chain(&error));
    assert_eq!(journal.last(), 1);
    sqlx::query(limit(1_000_000)).execute(&journal.writer).await.unwrap();
    journal.append(&large).await.unwrap();
    assert_eq!(journal.last(), 2);
    assert_eq!(journal.reader().events("shop", 1, i64::MAX).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_checkpoint_is_only_a_short_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let mut journal = Journal::open(&path).await.unwrap();
    journal.append(&batch(&[("shop", event(1, "ann"))])).await.unwrap();
    let checkpoint = State { attempts: 7, ..State::new("shop") };
    let taken = Batch { checkpoints: vec![(1, checkpoint.clone())], ..Batch::default() };
    journal.append(&taken).await.unwrap();
    assert_eq!(journal.replay().await.unwrap(), [checkpoint]);
    sqlx::query("UPDATE checkpoints SET state = '{'").execute(&journal.writer).await.unwrap();
    assert_eq!(journal.replay().await.unwrap(), [State::new("shop")]);
    sqlx::query("UPDATE checkpoints SET version = 0").execute(&journal.writer).await.unwrap();
    assert_eq!(journal.replay().await.unwrap(), [State::new("shop")]);
}

#[tokio::test]
async fn a_damaged_entry_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let mut journal = Journal::open(&path).await.unwrap();
    journal.append(&batch(&[("shop", event(1, "ann"))])).await.unwrap();
    sqlx::query("UPDATE events SET event = 'x'").execute(&journal.writer).await.unwrap();
    let error = journal.replay().await.unwrap_err();
    assert!(error.to_string().starts_with("entry 1 of the journal"), "{error}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Journal::open(&file.join("journal.db")).await.unwrap_err();
    assert!(error.to_string().contains("check the folder's permissions and free space"), "{error}");
}
