//! A deployment's evidence as a file, from the journal to a replay.

use rollout::{DeploymentId, GitOutcome, Phase};

use super::world::{Recorder, Site};
use crate::bundle::{self, Replayed};

async fn replayed(recorder: &Recorder, id: &DeploymentId) -> Replayed {
    let recording = recorder.journal.reader().recording(id).await.unwrap().unwrap();
    let verdict = recording.entry.finished.as_ref().and_then(|finished| finished.verdict.clone());
    let text = bundle::write(&recording).unwrap();
    let replayed = bundle::replay(text.as_bytes(), |_| ()).unwrap();
    assert!(replayed.is_same(), "{id}: {:?}", replayed.difference);
    assert_eq!(bundle::difference(verdict.as_ref(), replayed.verdict.as_ref()), None);
    replayed
}

#[tokio::test]
async fn what_was_decided_is_decided_again_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::open(folder.path()).await;
    let path = "/api/v1/deployments/checkout-044f2c1-2/bundle";
    let answer = site.get(path).await;
    assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
    let text = answer.text().await.unwrap();
    let replayed = bundle::replay(text.as_bytes(), |_| ()).unwrap();
    assert!(replayed.is_same(), "{:?}", replayed.difference);
    assert_eq!(replayed.header.subject, "Add gift cards to the basket");
    assert_eq!(replayed.header.outcome.as_deref(), Some("rolled back"));
    assert!(10 < replayed.scrapes && replayed.verdict.is_some());
    assert!(text.contains("{\"at\": \""), "times with nanoseconds");
    assert_eq!(site.get("/api/v1/deployments/nope/bundle").await.status(), 404);
    // The one before promoted, and this one is not over.
    let recorder = site.recorder.lock().await;
    for (id, outcome) in [
        ("search-024f2c1-2", Some("promoted")),
        ("checkout-014f2c1-1", Some("adopted")),
        ("payments-034f2c1-2", Some("rolled back")),
    ] {
        let header = self::replayed(&recorder, &DeploymentId::from_text(id)).await.header;
        assert_eq!(header.outcome.as_deref(), outcome, "{id}");
    }
    let text =
        site.get("/api/v1/deployments/checkout-054f2c1-3/bundle").await.text().await.unwrap();
    let live = bundle::replay(text.as_bytes(), |_| ()).unwrap();
    assert!(live.is_same() && live.header.outcome.is_none());
    assert_eq!(live.verdict, recorder.states["checkout"].live.as_ref().unwrap().verdict);
}

/// Traffic until the deployment is where `there` says.
async fn until(recorder: &mut Recorder, share: f64, there: fn(&Phase) -> bool) {
    for second in 0.. {
        assert!(second < 1_200, "it did not come to that");
        recorder.confirm("shop").await;
        if recorder.phase("shop").is_some_and(there) {
            return;
        }
        recorder.traffic("shop", 900.0, share).await;
    }
}

#[tokio::test]
async fn a_bake_that_is_compared_again_is_replayed_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::new(folder.path()).await;
    recorder.adopt("shop", "Open the shop").await;
    recorder.tip("shop", 2, "Greet people by name", "Ada Lovelace").await;
    recorder.started("shop").await;
    let id = recorder.id("shop");
    until(&mut recorder, 0.002, |phase| matches!(phase, Phase::Baking { .. })).await;
    until(&mut recorder, 0.03, |phase| matches!(phase, Phase::Comparing { .. })).await;
    let suspended = replayed_live(&recorder, &id).await;
    assert_eq!(suspended.verdict, None, "nothing is known of the comparison yet");
    // It was no more than a bad moment.
    until(&mut recorder, 0.002, |phase| matches!(phase, Phase::Baking { .. })).await;
    let changes = replayed_live(&recorder, &id).await.header.changes;
    let told: Vec<&bundle::Told> = changes.iter().map(|change| &change.what).collect();
    assert!(told.contains(&&bundle::Told::ComparesAgain), "{told:?}");
    assert!(told.contains(&&bundle::Told::ComparedAgain), "{told:?}");
    until(&mut recorder, 0.05, |phase| matches!(phase, Phase::Comparing { .. })).await;
    let files = vec!["deploy/shop/app.py".to_owned()];
    recorder.fails("shop", 0.05, GitOutcome::Conflict { files }).await;
    let end = replayed(&recorder, &id).await;
    assert_eq!(end.verdict.unwrap().outcome, analysis::Outcome::Fail);
}

async fn replayed_live(recorder: &Recorder, id: &DeploymentId) -> Replayed {
    let recording = recorder.journal.reader().recording(id).await.unwrap().unwrap();
    let text = bundle::write(&recording).unwrap();
    let replayed = bundle::replay(text.as_bytes(), |_| ()).unwrap();
    assert!(replayed.is_same(), "{:?}", replayed.difference);
    let live = recorder.states["shop"].live.as_ref().unwrap();
    assert_eq!(replayed.verdict, live.verdict);
    replayed
}
