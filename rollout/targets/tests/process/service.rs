//! The other side of the tests: this test binary, started again by a target under test, behaves as
//! a service. No program beside the test itself has to be there.

#![expect(
    clippy::print_stdout,
    clippy::exit,
    clippy::disallowed_methods,
    clippy::zombie_processes,
    reason = "this is a service: it has an environment, output, an exit status and children"
)]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio, Termination};
use std::time::Duration;

use rollout_targets::process::{Launch, ProcessSpec, Processes};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Variable that says how to behave; without it the test binary runs its tests.
const ROLE: &str = "TEST_SERVICE_ROLE";

/// A launch of this test binary in a given role.
pub(crate) fn launch(checkout: &std::path::Path, role: &str) -> Launch {
    let own = std::env::current_exe().expect("the test binary has a path");
    let command =
        [own.to_str().expect("a path of text"), "a_service_for_the_other_tests", "--nocapture"];
    let mut spec = ProcessSpec::new(command.map(str::to_owned).to_vec());
    spec.environment.insert(ROLE.to_owned(), role.to_owned());
    spec.start_timeout = Duration::from_secs(20);
    Launch {
        service: "checkout".to_owned(),
        revision: "4f2c1a9d0c7be1a0".to_owned(),
        checkout: checkout.to_owned(),
        spec,
    }
}

/// Another Serin with a `serve` instance, as a process that can be killed. It writes the process
/// id of its instance to its output.
pub(crate) fn keeper(folder: &std::path::Path) -> Command {
    let own = std::env::current_exe().expect("the test binary has a path");
    let mut command = Command::new(own);
    command
        .args(["a_service_for_the_other_tests", "--nocapture"])
        .env(ROLE, "keep")
        .current_dir(folder)
        .stdout(Stdio::piped());
    command
}

/// Asks an instance for a path and returns the whole answer.
pub(crate) fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("sent");
    let mut answer = String::new();
    // A service that crashes over a request closes the connection without an answer.
    let _ = std::io::Read::read_to_string(&mut stream, &mut answer);
    answer
}

#[test]
fn a_service_for_the_other_tests() -> Outcome {
    let Ok(role) = std::env::var(ROLE) else {
        return Outcome(0);
    };
    println!("role {role}");
    match role.as_str() {
        "serve" => serve("200 OK"),
        "unready" => serve("503 Service Unavailable"),
        "deaf" => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("runtime")
            .block_on(async {
                let _ignored = signal(SignalKind::terminate()).expect("registered");
                tokio::task::spawn_blocking(|| serve("200 OK")).await.expect("serves")
            }),
        "parent" => {
            let child = Command::new("sleep").arg("3600").spawn().expect("sleep is everywhere");
            println!("child {}", child.id());
            serve("200 OK")
        }
        "keep" => keep(),
        "robbed" => robbed(),
        "chatty" => {
            for line in 0..10_000 {
                println!("line {line} {}", "x".repeat(500));
            }
            std::process::exit(9)
        }
        _ => {
            println!("no database at db.example:5432");
            std::process::exit(3)
        }
    }
}

/// What the harness turns into an exit code.
struct Outcome(u8);

impl Termination for Outcome {
    fn report(self) -> ExitCode {
        self.0.into()
    }
}

fn serve(status: &str) -> ! {
    let port = std::env::var("PORT").expect("PORT is set");
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).expect("the port is free");
    for stream in listener.incoming() {
        let mut stream = stream.expect("accepted");
        let mut line = String::new();
        // A client may close early.
        let _ = BufReader::new(&stream).read_line(&mut line);
        let body = match line.split(' ').nth(1) {
            Some("/crash") => {
                println!("crashing as asked");
                std::process::exit(7);
            }
            Some("/env") => {
                let mut variables: Vec<String> =
                    std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
                variables.extend(std::env::args().map(|argument| format!("arg {argument}")));
                let folder = std::env::current_dir().expect("there");
                variables.push(format!("in {}", folder.display()));
                variables.join("\n")
            }
            Some(_) | None => String::new(),
        };
        let _ = write!(stream, "HTTP/1.0 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    }
    unreachable!("a listener never ends")
}

/// Finds its port taken by a stranger the first time it is started, and serves the second time.
fn robbed() -> ! {
    if let Ok(stranger) = std::fs::read_to_string("stranger") {
        println!("stranger {stranger}");
        serve("200 OK");
    }
    let mut stranger = Command::new(std::env::current_exe().expect("a path"));
    let stranger = stranger
        .args(["a_service_for_the_other_tests", "--nocapture"])
        .env(ROLE, "unready")
        .process_group(0)
        .spawn()
        .expect("started");
    std::fs::write("stranger", stranger.id().to_string()).expect("written");
    let port = std::env::var("PORT").expect("PORT is set");
    while TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
        std::thread::yield_now();
    }
    std::process::exit(1)
}

fn keep() -> ! {
    let folder = PathBuf::from(".").canonicalize().expect("there");
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    runtime.block_on(async {
        let (exits, _received) = mpsc::channel(1);
        let processes = Processes::new(folder.join("processes"), exits);
        let running = processes.start(&launch(&folder, "serve")).await.expect("started");
        println!("\ninstance {}", running[0].pid);
        std::future::pending().await
    })
}
