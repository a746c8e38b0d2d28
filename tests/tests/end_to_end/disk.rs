//! A full disk at the journal: nothing goes on, but a failing canary loses its traffic.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use verifier::demo::service::Dependency;

use crate::harness::{World, says};
use crate::shop::good;

/// A small file system of its own; unmounted in the end.
struct Disk(PathBuf);

/// Keeps a disk full until it is dropped: what a database gives back is taken at once.
struct Filling {
    path: PathBuf,
    goes_on: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.goes_on.store(false, Ordering::SeqCst);
        // A thread that has panicked fills no more either.
        let _ = self.thread.take().map(JoinHandle::join);
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Disk {
    /// None where this user may not mount one.
    fn mount(path: &Path) -> Option<Self> {
        std::fs::create_dir_all(path).ok()?;
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(path).output();
        mounted.is_ok_and(|done| done.status.success()).then(|| Self(path.to_owned()))
    }

    fn fill(&self) -> Filling {
        let path = self.0.join("filling");
        let mut file = File::create(&path).expect("a file");
        let goes_on = Arc::new(AtomicBool::new(true));
        let watched = goes_on.clone();
        let thread = std::thread::spawn(move || {
            while watched.load(Ordering::SeqCst) {
                // Whole pages first and then the rest, until nothing more fits.
                for size in [4_096, 1] {
                    while file.write_all(&vec![0; size]).is_ok() {}
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Filling { path, goes_on, thread: Some(thread) }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, since Serin may still hold files of it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_traffic_still_goes_back_and_the_rest_follows_when_there_is_room() {
    let mut world = World::new().await;
    let Some(disk) = Disk::mount(&world.path().join("disk")) else {
        println!("left out: a full disk at the journal; this user may not mount a file system");
        return;
    };
    world.settings = "journal: disk/journal.db\n".to_owned();
    let policy = world.policy().with("steps", "[{ weight: 20%, atLeast: 10m, deadline: 20m }]");
    world.open_shop(&policy).await;
    let dependency = Dependency::start().await.expect("a dependency");
    let text = format!("{}dependency: {}\n", good("Ask for prices"), dependency.url());
    let bad = world.forge.version("shop", "Ask for prices", &text);
    world.on_trial(&bad).await;
    world.more_requests(200).await;
    let filling = disk.fill();
    // First the journal refuses, and only then the canary fails: later evidence counts as well.
    says(&world.trouble("journal").await, &["failed to use the journal", "check free space"]);
    world.more_requests(300).await;
    assert!(0 < world.answers(&bad).ok);
    dependency.fail(0.5);
    world.until("the canary fails", async || (5 < world.answers(&bad).failed).then_some(())).await;
    let mut seen = world.answers(&bad);
    loop {
        world.more_requests(200).await;
        let now = world.answers(&bad);
        if now == seen {
            break;
        }
        assert!(now.failed < 300, "the canary keeps its traffic: {now:?}\n{}", world.log());
        seen = now;
    }
    says(&world.troubles().await, &["failed to use the journal"]);
    assert_eq!(world.forge.tip(), bad, "nothing is written before the journal is");
    drop(filling);
    let ended = world.ends(&bad, "rolledBack").await;
    assert_eq!(ended["git"]["undone"], true, "{ended:#}");
    assert_eq!(world.forge.reverts_of(&bad), 1);
    assert_eq!(world.answers(&bad), seen, "its traffic never came back");
    assert_eq!(world.troubles().await, "");
}
