//! Real processes: started, crashed, ignored, orphaned, adopted, ended.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use rollout_targets::process::StartError;
use tokio::time::{Instant, timeout};

mod service;
mod world;

use service::{get, keeper};
use world::{BOUND, Ground, World, is_gone, kill, until};

#[tokio::test]
async fn a_version_runs_with_its_environment_until_it_is_stopped() {
    let world = World::new();
    std::fs::create_dir(world.folder.path().join("app")).expect("made");
    let mut launch = world.launch("serve");
    launch.spec.instances = 2;
    launch.spec.working_directory = Some("app".into());
    launch.spec.command.push("port-${PORT}".to_owned());
    launch.spec.environment.insert("LISTEN".to_owned(), "on ${PORT}".to_owned());
    launch.spec.environment.insert("PORT".to_owned(), "1".to_owned());
    let attributes = "team=pay,port=${PORT}".to_owned();
    launch.spec.environment.insert("OTEL_RESOURCE_ATTRIBUTES".to_owned(), attributes);

    let running = world.start(&launch).await.expect("started");
    let names: Vec<&str> = running.iter().map(|one| one.instance.as_str()).collect();
    assert_eq!(names, ["checkout-4f2c1a9-0", "checkout-4f2c1a9-1"]);
    assert_eq!(world.processes.running("checkout", &launch.revision), running);
    assert_eq!(world.processes.running("checkout", "another"), []);

    let told = get(running[1].address, "/env");
    let port = running[1].address.port();
    for line in [
        format!("PORT={port}"),
        format!("LISTEN=on {port}"),
        format!("arg port-{port}"),
        "SERIN_SERVICE=checkout".to_owned(),
        "SERIN_REVISION=4f2c1a9d0c7be1a0".to_owned(),
        "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:8787".to_owned(),
        "OTEL_SERVICE_NAME=checkout".to_owned(),
        format!(
            "OTEL_RESOURCE_ATTRIBUTES=team=pay,port={port},service.version=4f2c1a9d0c7be1a0,vcs.ref.head.revision=4f2c1a9d0c7be1a0,service.instance.id=checkout-4f2c1a9-1"
        ),
        format!("in {}/app", world.folder.path().canonicalize().expect("there").display()),
    ] {
        assert!(told.lines().any(|told| told == line), "{line} is not in {told}");
    }
    assert!(!told.contains("CARGO"), "the environment of Serin is not passed on: {told}");

    world.stop(&launch).await;
    assert!(running.iter().all(|one| is_gone(one.pid)));
    world.stop(&launch).await;
}

#[tokio::test]
async fn starting_twice_is_starting_once() {
    let world = World::new();
    let launch = world.launch("serve");
    let (one, other) = tokio::join!(world.start(&launch), world.start(&launch));
    let (one, other) = (one.expect("started"), other.expect("started"));
    assert_eq!(one, other);
    assert_eq!(world.start(&launch).await.expect("runs"), one);

    let mut more = launch.clone();
    more.spec.instances = 3;
    let three = world.start(&more).await.expect("started");
    assert_eq!((three.len(), &three[0]), (3, &one[0]));
    assert_eq!(world.start(&launch).await.expect("runs"), one);
    until("the surplus is gone", || three[1..].iter().all(|surplus| is_gone(surplus.pid))).await;
    world.stop(&launch).await;
}

#[tokio::test]
async fn a_command_that_cannot_be_executed_is_named() {
    let world = World::new();
    std::fs::write(world.folder.path().join("plain"), "text").expect("written");
    for program in ["no-such-program", "./missing", "./plain", "Gebühr ☕"] {
        let mut launch = world.launch("serve");
        launch.spec.command = vec![program.to_owned()];
        let error = world.start(&launch).await.expect_err("not a program");
        assert!(matches!(error, StartError::NoSuchCommand { .. }), "{error:?}");
        assert!(error.is_version_fault() && error.to_string().contains(program), "{error}");
        assert_eq!(world.records(), 0);
    }
}

#[tokio::test]
async fn a_version_that_exits_at_once_says_its_last_words() {
    let world = World::new();
    let mut launch = world.launch("exit");
    launch.spec.instances = 2;
    let error = world.start(&launch).await.expect_err("it exits");
    assert!(error.is_version_fault());
    let text = error.to_string();
    assert!(text.contains("ended before it was healthy (exit status: 3)"), "{text}");
    assert!(text.contains("\n  | no database at db.example:5432"), "{text}");
    assert_eq!(world.records(), 0);

    let error = world.start(&world.launch("chatty")).await.expect_err("it exits");
    let StartError::Exited { log_tail, .. } = error else { panic!("{error:?}") };
    assert!(log_tail.len() <= 20 && log_tail.iter().all(|line| line.chars().count() <= 301));
    assert!(log_tail.last().expect("lines").starts_with("line 9999 xxx"), "{log_tail:?}");
}

#[tokio::test]
async fn a_version_that_is_never_healthy_is_ended() {
    let world = World::new();
    let mut launch = world.launch("unready");
    launch.spec.start_timeout = Duration::from_secs(3);
    let error = world.start(&launch).await.expect_err("503");
    let text = error.to_string();
    assert!(text.contains("not healthy within 3 s (last answer: HTTP 503)"), "{text}");
    assert!(text.contains("| role unready"), "{text}");
    assert_eq!(world.records(), 0);
    assert_eq!(world.processes.running(&launch.service, &launch.revision), []);
}

#[tokio::test]
async fn a_crash_is_reported_and_the_instance_comes_back_on_its_port() {
    let mut world = World::new();
    let launch = world.launch("serve");
    let first = world.start(&launch).await.expect("started").remove(0);
    get(first.address, "/crash");
    let exit = world.exit().await;
    assert_eq!((exit.service.as_str(), exit.revision.as_str()), ("checkout", "4f2c1a9d0c7be1a0"));
    assert_eq!(exit.instance, "checkout-4f2c1a9-0");
    assert_eq!(exit.status, "exit status: 7");
    assert_eq!((exit.failures, exit.restart_in), (1, Duration::from_secs(1)));
    assert_eq!(exit.log_tail.last().map(String::as_str), Some("crashing as asked"));

    let second = world.running_but(&launch, first.pid).await.remove(0);
    assert_eq!(second.address, first.address);
    kill(second.pid);
    let exit = world.exit().await;
    assert_eq!((exit.failures, exit.restart_in), (2, Duration::from_secs(2)));
    assert_eq!(exit.status, "signal: 9 (SIGKILL)");
    // A stop during the pause ends it.
    world.stop(&launch).await;
}

#[tokio::test]
async fn a_port_that_is_taken_meanwhile_is_replaced() {
    let world = World::new();
    let launch = world.launch("robbed");
    let running = world.start(&launch).await.expect("started on another port").remove(0);
    assert!(get(running.address, "/").starts_with("HTTP/1.0 200"));
    let stranger = std::fs::read_to_string(world.folder.path().join("stranger")).expect("written");
    world.stop(&launch).await;
    let stranger = stranger.parse().expect("a process id");
    assert!(!is_gone(stranger), "a process of somebody else is left alone");
    kill(stranger);
}

#[tokio::test]
async fn a_process_that_ignores_sigterm_is_killed_after_its_grace() {
    let world = World::new();
    let mut launch = world.launch("deaf");
    launch.spec.stop_grace = Duration::from_millis(700);
    let pid = world.start(&launch).await.expect("started")[0].pid;
    let began = Instant::now();
    world.stop(&launch).await;
    assert!(is_gone(pid));
    assert!(began.elapsed() >= launch.spec.stop_grace, "it was not given its grace");
}

#[tokio::test]
async fn the_whole_group_ends_with_its_leader() {
    let mut world = World::new();
    let launch = world.launch("parent");
    let first = world.start(&launch).await.expect("started").remove(0);
    let children = |world: &World| -> Vec<u32> {
        let log = world.log();
        let lines = log.lines().filter_map(|line| line.strip_prefix("child "));
        lines.map(|pid| pid.parse().expect("a process id")).collect()
    };
    kill(first.pid);
    world.exit().await;
    let orphan = children(&world)[0];
    until("the orphan is gone", || is_gone(orphan)).await;

    world.running_but(&launch, first.pid).await;
    world.stop(&launch).await;
    let all = children(&world);
    assert_eq!(all.len(), 2);
    until("the second child is gone", || all.iter().all(|pid| is_gone(*pid))).await;
}

#[tokio::test]
async fn a_stop_cuts_a_start_short_and_a_later_start_waits_for_it() {
    let world = World::new();
    let unready = world.launch("unready");
    let serve = world.launch("serve");
    let (cut, (), again) = tokio::join!(
        biased;
        world.start(&unready),
        async {
            until("a process is there", || world.records() == 1).await;
            world.processes.stop(&unready.service, &unready.revision).await.expect("stopped");
        },
        async {
            until("a process is there", || world.records() == 1).await;
            world.start(&serve).await
        },
    );
    let cut = cut.expect_err("stopped");
    assert!(matches!(cut, StartError::Stopped) && !cut.is_version_fault(), "{cut:?}");
    again.expect("started after the stop");
    world.stop(&serve).await;
}

#[tokio::test]
async fn processes_outlive_a_killed_serin_and_are_adopted() {
    let folder = Ground::new();
    let mut serin = keeper(folder.path()).spawn().expect("started");
    let output = BufReader::new(serin.stdout.take().expect("piped"));
    let pid = output
        .lines()
        .map(|line| line.expect("text"))
        .find_map(|line| line.strip_prefix("instance ").map(str::to_owned))
        .expect("it starts its instance");
    let pid: u32 = pid.parse().expect("a process id");
    serin.kill().expect("killed with SIGKILL");
    serin.wait().expect("reaped");

    let mut world = World::on(folder);
    assert_eq!(world.processes.running("checkout", "4f2c1a9d0c7be1a0"), [], "not looked at yet");
    let launch = world.launch("serve");
    let adopted = world.start(&launch).await.expect("adopted").remove(0);
    assert_eq!(adopted.pid, pid);

    kill(pid);
    let exit = world.exit().await;
    assert!(exit.status.contains("exit status is unknown"), "{}", exit.status);
    let next = world.running_but(&launch, pid).await.remove(0);
    assert_eq!(next.address, adopted.address);
    world.stop(&launch).await;
}

#[tokio::test]
async fn an_adopted_process_without_record_is_found_and_one_that_hangs_is_replaced() {
    let world = World::new();
    let serve = world.launch("serve");
    let pid = world.start(&serve).await.expect("started")[0].pid;
    let instances = world.folder.path().join("processes/instances");
    for entry in std::fs::read_dir(instances).expect("there") {
        std::fs::remove_file(entry.expect("listed").path()).expect("removed");
    }
    let world = world.restarted();
    let mut hangs = serve.clone();
    hangs.spec.health_path = "/crash".to_owned();
    hangs.spec.start_timeout = Duration::from_secs(2);
    // The found process crashes over this path, and so does every one after it.
    let error = world.start(&hangs).await.expect_err("crashes");
    assert!(matches!(error, StartError::Exited { .. }), "{error:?}");
    until("the found process is gone", || is_gone(pid)).await;

    let stopped = world.processes.clone();
    assert_eq!(stopped.running(&serve.service, &serve.revision), []);
    let unready = world.launch("unready");
    let started = world.processes.start(&unready);
    assert!(timeout(Duration::from_millis(500), started).await.is_err(), "it starts on");
    let world = world.restarted();
    let mut impatient = serve.clone();
    impatient.spec.start_timeout = Duration::from_secs(3);
    let fresh = world.start(&impatient).await.expect("replaced by one that serves");
    assert_eq!(fresh.len(), 1);
    world.stop(&serve).await;
}

#[tokio::test]
async fn a_sweep_ends_what_nothing_wants() {
    let world = World::new();
    let kept = world.launch("serve");
    let mut orphan = world.launch("serve");
    orphan.revision = "0ld".to_owned();
    let keeps = world.start(&kept).await.expect("started");
    let goes = world.start(&orphan).await.expect("started");

    let world = world.restarted();
    let keep = [(kept.service.clone(), kept.revision.clone())];
    timeout(BOUND, world.processes.sweep(&keep)).await.expect("swept in time");
    until("the orphan is gone", || is_gone(goes[0].pid)).await;
    assert_eq!(world.start(&kept).await.expect("adopted"), keeps);
    timeout(BOUND, world.processes.sweep(&[])).await.expect("swept in time");
    until("all are gone", || is_gone(keeps[0].pid)).await;
    assert_eq!(world.records(), 0);
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_not_the_versions_fault() {
    let folder = Ground::new();
    std::fs::write(folder.path().join("processes"), "in the way").expect("written");
    let world = World::on(folder);
    let launch = world.launch("serve");
    let error = world.start(&launch).await.expect_err("no folder");
    assert!(!error.is_version_fault(), "{error:?}");
    assert!(error.to_string().contains("cannot use the folder"), "{error}");

    std::fs::remove_file(world.folder.path().join("processes")).expect("removed");
    world.start(&launch).await.expect("the folder is opened later");
    world.stop(&launch).await;

    let mut elsewhere = launch.clone();
    elsewhere.checkout = world.folder.path().join("none");
    let error = world.start(&elsewhere).await.expect_err("no checkout");
    assert!(!error.is_version_fault(), "{error:?}");
    elsewhere.checkout = world.folder.path().into();
    elsewhere.spec.working_directory = Some("..".into());
    let error = world.start(&elsewhere).await.expect_err("outside");
    assert!(error.is_version_fault(), "{error:?}");
}
