//! The backends of `examples/`, each as a process of its own on a port that the system chose.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const START_LIMIT: Duration = Duration::from_secs(60);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

// A test crate that needs one backend, or none, is no reason to call the others dead.
const _: () = {
    let _ = Backend::express;
    let _ = Backend::gunicorn;
    let _ = Backend::uwsgi;
    let _ = Backend::php;
    let _ = |backend: &Backend| backend.addr;
};

/// A running backend, which ends with this value.
pub struct Backend {
    /// Where it listens.
    pub addr: SocketAddr,
    _processes: Processes,
}

impl Backend {
    /// Starts `examples/express`.
    pub async fn express() -> Self {
        let modules = installed("express/node_modules", "Express");
        let mut node = Command::new("node");
        node.arg("app.js")
            .env("PORT", "0")
            .env("NODE_PATH", modules);
        Self::start("node", node, "express", "listening on ").await
    }

    /// Starts `examples/flask` under gunicorn.
    pub async fn gunicorn() -> Self {
        let mut gunicorn = Command::new(installed("python/bin/gunicorn", "gunicorn"));
        gunicorn.args(["--bind", "127.0.0.1:0", "--no-control-socket", "app:app"]);
        Self::start("gunicorn", gunicorn, "flask", "Listening at: http://").await
    }

    /// Starts `examples/flask` under uWSGI.
    pub async fn uwsgi() -> Self {
        let mut uwsgi = Command::new("uwsgi");
        uwsgi.args(["--plugin", "python3", "--virtualenv"]);
        uwsgi.arg(installed("python", "Flask"));
        uwsgi.args(["--http-socket", "127.0.0.1:0"]);
        uwsgi.args(["--module", "app:app", "--need-app"]);
        Self::start("uwsgi", uwsgi, "flask", "bound to TCP address ").await
    }

    /// Starts `examples/php` under PHP's own server.
    pub async fn php() -> Self {
        let mut php = Command::new("php");
        php.args(["-S", "127.0.0.1:0", "index.php"]);
        Self::start("php", php, "php", "Development Server (http://").await
    }

    async fn start(name: &str, command: Command, example: &str, announcement: &str) -> Self {
        let mut processes = Processes::spawn(name, command, example);
        let Ok(addr) = timeout(START_LIMIT, processes.listening(name, announcement)).await else {
            panic!(
                "{name} did not answer within {START_LIMIT:?}; it said:\n{}",
                processes.output()
            );
        };
        Self {
            addr,
            _processes: processes,
        }
    }
}

/// A process in a group of its own, and what it writes.
struct Processes {
    leader: Child,
    output: NamedTempFile,
}

impl Processes {
    fn spawn(name: &str, mut command: Command, example: &str) -> Self {
        let output = NamedTempFile::new().expect("a temporary file");
        let writer = || File::options().append(true).open(output.path());
        let leader = command
            .current_dir(root().join("examples").join(example))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(writer().expect("the temporary file"))
            .stderr(writer().expect("the temporary file"))
            .process_group(0)
            .spawn();
        match leader {
            Ok(leader) => Self { leader, output },
            Err(e) if e.kind() == io::ErrorKind::NotFound => missing(name),
            Err(e) => panic!("{name} cannot be started: {e}"),
        }
    }

    async fn listening(&mut self, name: &str, announcement: &str) -> SocketAddr {
        loop {
            if let Some(ended) = self.leader.try_wait().expect("the state of a child") {
                panic!("{name} ended with {ended}; it said:\n{}", self.output());
            }
            if let Some(addr) = announced(&self.output(), announcement)
                && answers(addr).await.is_ok()
            {
                return addr;
            }
            sleep(BETWEEN_LOOKS).await;
        }
    }

    fn output(&self) -> String {
        let bytes = fs::read(self.output.path()).expect("the temporary file");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        // The standard library signals single processes only, and gunicorn's workers are not the leader.
        let group = format!("kill -s KILL -- -{}", self.leader.id());
        let _ = Command::new("sh").args(["-c", &group]).status();
        let _ = self.leader.kill();
        let _ = self.leader.wait();
    }
}

fn announced(output: &str, announcement: &str) -> Option<SocketAddr> {
    let (_, rest) = output.split_once(announcement)?;
    // Without a character behind it, the address may be half written.
    let (addr, _) = rest.split_once(|c: char| !matches!(c, '0'..='9' | '.' | ':'))?;
    addr.parse().ok()
}

// Some accept connections before the application is loaded, so only an answer counts.
async fn answers(addr: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(b"GET /orders HTTP/1.0\r\n\r\n").await?;
    stream.read_u8().await.map(drop)
}

fn installed(path: &str, name: &str) -> PathBuf {
    let path = root().join("target/test-backends").join(path);
    if path.exists() { path } else { missing(name) }
}

fn missing(name: &str) -> ! {
    panic!("{name} is not installed: run `make test`")
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
