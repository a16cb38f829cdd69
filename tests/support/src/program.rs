//! The program as a process of its own, and what it says.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::{APP_SECRET, Builder, CONTROL_SECRET, OTHER_SECRET};

/// An address that nobody is asked at.
pub const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// How long the program may take to say something, or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder in which a program runs, with a configuration file.
pub struct Site {
    /// The folder; it holds `keys` and `data` once a gateway has been started there.
    pub folder: TempDir,
    /// The configuration file.
    pub config: PathBuf,
}

/// A running program, which is killed when dropped.
pub struct Program {
    child: Killed,
    stdout: Stream,
    stderr: Stream,
}

/// What a program that has ended left behind.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

/// A process that has ended when this has been dropped, so that another may use its files at once.
struct Killed(Child);

struct Stream {
    said: Arc<Said>,
    reading: JoinHandle<()>,
    /// The same pipe; a read of it does not wait.
    rest: fs::File,
}

#[derive(Default)]
struct Said {
    bytes: Mutex<Vec<u8>>,
    more: Notify,
}

impl Builder {
    /// Writes the configuration down, for the program to run with.
    pub fn site(&self, upstream: SocketAddr, simulator: SocketAddr) -> Site {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("menshen.toml");
        fs::write(&config, self.toml(&folder, upstream, simulator)).expect("a file");
        Site { folder, config }
    }

    /// Writes the configuration down, for a program that asks neither upstream nor WeChat.
    pub fn site_alone(&self) -> Site {
        self.site(NOBODY, NOBODY)
    }
}

impl Site {
    /// Changes the configuration's text, which must hold what is replaced.
    pub fn change(&self, from: &str, to: &str) {
        let text = fs::read_to_string(&self.config).expect("a file");
        assert!(text.contains(from), "{text}");
        fs::write(&self.config, text.replace(from, to)).expect("a file");
    }

    /// Describes the program with this configuration and with the secret of its apps.
    pub fn command(&self, binary: &str, arguments: &[&str]) -> Command {
        let mut command = Program::command(binary, arguments);
        command.arg("--config").arg(&self.config);
        command
            .current_dir(&self.folder)
            .env("APP_SECRET", APP_SECRET)
            .env("OTHER_SECRET", OTHER_SECRET)
            .env("CONTROL_SECRET", CONTROL_SECRET);
        command
    }
}

impl Program {
    /// Describes a program with nothing in its environment but `PATH`; see [`Program::start`].
    pub fn command<S: AsRef<OsStr>>(binary: &str, arguments: &[S]) -> Command {
        let mut command = Command::new(binary);
        command.args(arguments).env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }

    /// Starts a program.
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
        Self {
            stdout: Stream::of(child.stdout.take().expect("is piped").into_owned_fd()),
            stderr: Stream::of(child.stderr.take().expect("is piped").into_owned_fd()),
            child: Killed(child),
        }
    }

    /// Starts a program and waits for its end.
    pub async fn run(command: Command) -> Ended {
        Self::start(command).ended().await
    }

    /// Waits for a whole line on standard output that holds a text, and returns it.
    pub async fn prints(&self, text: &str) -> String {
        self.stdout.line(text, 1, PATIENCE).await
    }

    /// Waits for a whole line on standard error that holds a text, and returns it.
    pub async fn logs(&self, text: &str) -> String {
        self.logs_within(text, PATIENCE).await
    }

    /// Does the same with another limit, for a program that is slow on purpose.
    pub async fn logs_within(&self, text: &str, limit: Duration) -> String {
        self.stderr.line(text, 1, limit).await
    }

    /// Waits until so many whole lines on standard error hold a text.
    pub async fn logs_times(&self, text: &str, times: usize) {
        self.stderr.line(text, times, PATIENCE).await;
    }

    /// Waits until it listens, and finds where.
    pub async fn find_address(&self) -> SocketAddr {
        address_in(&self.logs("listening").await)
    }

    /// Waits until its private listener is open, and finds where.
    pub async fn find_control_address(&self) -> SocketAddr {
        address_in(&self.logs("open for control").await)
    }

    /// Returns everything on standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Returns everything on standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Returns the process's id.
    pub fn id(&self) -> u32 {
        self.child.0.id().expect("it should still run")
    }

    /// Sends a signal, such as `TERM`.
    pub async fn signal(&self, name: &str) {
        let id = self.id();
        // The standard library sends no signal but KILL.
        let kill = format!("kill -s {name} {id}");
        let sent = Command::new("sh").args(["-c", &kill]).status().await;
        assert!(sent.expect("sh should start").success(), "{kill}");
    }

    /// Returns the most memory that it has had so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        memory(self.id(), "VmHWM:")
    }

    /// Has it read its configuration again, for the `count`th time.
    pub async fn reload(&self, count: usize) {
        self.signal("HUP").await;
        self.logs_times("was reloaded", count).await;
    }

    /// Has it stop in order, and waits for the end.
    pub async fn stop(self) -> Ended {
        self.signal("TERM").await;
        self.ended().await
    }

    /// Waits for the end.
    pub async fn ended(mut self) -> Ended {
        let Ok(status) = timeout(PATIENCE, self.child.0.wait()).await else {
            let (stdout, stderr) = (self.stdout.text(), self.stderr.text());
            panic!("it should end within {PATIENCE:?}; it said:\n{stdout}\n{stderr}");
        };
        Ended {
            code: status.expect("is a child").code(),
            stdout: self.stdout.end().await,
            stderr: self.stderr.end().await,
        }
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // One that was waited for cannot be killed.
        if self.0.start_kill().is_err() {
            return;
        }
        let since = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && since.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
    }
}

impl Ended {
    /// Checks that it failed with a code, and said one line on standard error.
    #[track_caller]
    pub fn check_failed(&self, code: i32) {
        assert_eq!(self.code, Some(code), "{}", self.said());
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
    }

    /// Returns everything it said.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Returns how many bytes of memory a process occupies now.
pub fn resident_memory(process: u32) -> u64 {
    memory(process, "VmRSS:")
}

fn memory(process: u32, what: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with(what));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.expect("a size").parse::<u64>().expect("a number") * 1024
}

/// Copies a program. A copy made by this process could be open for writing in a child that another test has just started, and so
/// could not be run.
pub fn copy_program(from: impl AsRef<OsStr>, to: &Path) {
    let copied = std::process::Command::new("cp")
        .arg("--")
        .arg(from)
        .arg(to)
        .status();
    assert!(
        copied.expect("cp should start").success(),
        "{}",
        to.display()
    );
}

/// Finds the first address of this machine with a port in a text.
pub fn address_in(text: &str) -> SocketAddr {
    let (_, port) = text.split_once("127.0.0.1:").expect("an address");
    let end = port.find(|c: char| !c.is_ascii_digit());
    let port = port[..end.unwrap_or(port.len())].parse().expect("a port");
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl Stream {
    fn of(pipe: io::Result<OwnedFd>) -> Self {
        let pipe = pipe.expect("a pipe");
        let rest = pipe.try_clone().expect("a descriptor").into();
        let mut pipe = Receiver::from_owned_fd(pipe).expect("a pipe");
        let said = Arc::<Said>::default();
        let to = Arc::clone(&said);
        let reading = tokio::spawn(async move {
            let mut part = [0; 16 * 1024];
            while let Ok(length @ 1..) = pipe.read(&mut part).await {
                let part = &part[..length];
                to.bytes.lock().expect("is not poisoned").extend(part);
                to.more.notify_waiters();
            }
        });
        Self {
            said,
            reading,
            rest,
        }
    }

    fn text(&self) -> String {
        let bytes = self.said.bytes.lock().expect("is not poisoned");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns everything that a program said that has ended. A child of it may hold the pipe open, and is not waited for.
    async fn end(mut self) -> String {
        self.reading.abort();
        let _ = (&mut self.reading).await;
        let mut rest = Vec::new();
        if let Err(error) = self.rest.read_to_end(&mut rest) {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
        }
        self.said
            .bytes
            .lock()
            .expect("is not poisoned")
            .extend(rest);
        self.text()
    }

    async fn line(&self, text: &str, times: usize, limit: Duration) -> String {
        let wait = async {
            loop {
                let more = self.said.more.notified();
                let so_far = self.text();
                let mut whole = so_far
                    .split_inclusive('\n')
                    .filter(|line| line.ends_with('\n'));
                let mut those = whole.by_ref().filter(|line| line.contains(text));
                if let Some(line) = those.nth(times - 1) {
                    return line.to_owned();
                }
                more.await;
            }
        };
        match timeout(limit, wait).await {
            Ok(line) => line,
            Err(_) => panic!("it should say {text:?}; it said:\n{}", self.text()),
        }
    }
}
