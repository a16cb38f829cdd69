//! The backends of `examples/`, each as a process of its own on a port that the system chose.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::{NamedTempFile, TempDir};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::repository::{fail_without, find_installed, find_repository};

const START_LIMIT: Duration = Duration::from_secs(60);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

// A test crate that needs one backend, or none, is no reason to call the others dead.
const _: () = {
    let _ = Backend::express;
    let _ = Backend::gunicorn;
    let _ = Backend::uwsgi;
    let _ = Backend::django;
    let _ = Backend::go;
    let _ = Backend::php;
    let _ = Backend::that_checks;
    let _ = |backend: &Backend| backend.addr;
};

/// The audience of the assertions that a backend of [`Backend::that_checks`] takes.
pub const AUDIENCE: &str = "api";

/// A running backend, which ends with this value.
pub struct Backend {
    /// Where it listens.
    pub addr: SocketAddr,
    _processes: Processes,
    _program: Option<TempDir>,
}

/// How a backend of `examples/` is started.
struct Start {
    program: &'static str,
    command: Command,
    example: &'static str,
    announcement: &'static str,
    built: Option<TempDir>,
}

impl Backend {
    /// Starts `examples/express`.
    pub async fn express() -> Self {
        Self::start(Start::express()).await
    }

    /// Starts `examples/flask` under gunicorn.
    pub async fn gunicorn() -> Self {
        Self::start(Start::gunicorn("flask", "app:app")).await
    }

    /// Starts `examples/flask` under uWSGI.
    pub async fn uwsgi() -> Self {
        Self::start(Start::uwsgi()).await
    }

    /// Starts `examples/django` under gunicorn.
    pub async fn django() -> Self {
        Self::start(Start::gunicorn("django", "app:application")).await
    }

    /// Starts `examples/go`.
    pub async fn go() -> Self {
        Self::start(Start::go()).await
    }

    /// Starts `examples/php` under PHP's own server.
    pub async fn php() -> Self {
        Self::start(Start::php()).await
    }

    /// Starts the example that is called so with its middleware, which checks assertions against the keys at `jwks`.
    pub async fn that_checks(example: &str, jwks: &str) -> Self {
        let mut start = match example {
            "express" => Start::express(),
            "flask" => Start::gunicorn("flask", "app:app"),
            "flask under uWSGI" => Start::uwsgi(),
            "django" => Start::gunicorn("django", "app:application"),
            "go" => Start::go(),
            _ => panic!("{example} has no middleware that can be run"),
        };
        start
            .command
            .env("MENSHEN_JWKS", jwks)
            .env("MENSHEN_AUDIENCE", AUDIENCE);
        Self::start(start).await
    }

    async fn start(start: Start) -> Self {
        let Start {
            program,
            command,
            example,
            announcement,
            built,
        } = start;
        let mut processes = Processes::spawn(program, command, example);
        let Ok(addr) = timeout(START_LIMIT, processes.listening(program, announcement)).await
        else {
            panic!(
                "{program} did not answer within {START_LIMIT:?}; it said:\n{}",
                processes.output()
            );
        };
        Self {
            addr,
            _processes: processes,
            _program: built,
        }
    }
}

impl Start {
    fn express() -> Self {
        let modules = find_installed("express/node_modules", "Express");
        let mut node = Command::new("node");
        node.arg("app.js")
            .env("PORT", "0")
            .env("NODE_PATH", modules);
        Self::of("node", node, "express", "listening on ")
    }

    fn gunicorn(example: &'static str, application: &str) -> Self {
        let mut gunicorn = Command::new(find_installed("python/bin/gunicorn", "gunicorn"));
        gunicorn.args(["--bind", "127.0.0.1:0", "--no-control-socket", application]);
        Self::of("gunicorn", gunicorn, example, "Listening at: http://")
    }

    fn uwsgi() -> Self {
        let mut uwsgi = Command::new("uwsgi");
        uwsgi.args(["--plugin", "python3", "--virtualenv"]);
        uwsgi.arg(find_installed("python", "Flask"));
        uwsgi.args(["--http-socket", "127.0.0.1:0"]);
        uwsgi.args(["--module", "app:app", "--need-app"]);
        Self::of("uwsgi", uwsgi, "flask", "bound to TCP address ")
    }

    fn php() -> Self {
        let mut php = Command::new("php");
        php.args(["-S", "127.0.0.1:0", "index.php"]);
        Self::of("php", php, "php", "Development Server (http://")
    }

    /// Builds `examples/go` as a program of its own: one that `go run` starts is another process, whose folder stays behind.
    fn go() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("shop");
        let workspace = find_installed("go", "Go");
        let built = Command::new("go")
            .args(["build", "-o"])
            .args([program.as_os_str(), ".".as_ref()])
            .current_dir(find_repository().join("examples/go"))
            // Without modules, since their proxy is not reached from everywhere: setup.sh puts what Debian has in their places.
            .env("GO111MODULE", "off")
            .env("GOFLAGS", "")
            .env(
                "GOPATH",
                format!("{}:/usr/share/gocode", workspace.display()),
            )
            .env("GOCACHE", workspace.join("cache"))
            .output();
        match built {
            Ok(built) if built.status.success() => {}
            Ok(built) => panic!("examples/go: {}", String::from_utf8_lossy(&built.stderr)),
            Err(_) => fail_without("Go"),
        }
        let mut shop = Command::new(program);
        shop.env("PORT", "0");
        Self {
            built: Some(folder),
            ..Self::of("shop", shop, "go", "listening on ")
        }
    }

    fn of(
        program: &'static str,
        command: Command,
        example: &'static str,
        announcement: &'static str,
    ) -> Self {
        Self {
            program,
            command,
            example,
            announcement,
            built: None,
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
            .current_dir(find_repository().join("examples").join(example))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(writer().expect("the temporary file"))
            .stderr(writer().expect("the temporary file"))
            .process_group(0)
            .spawn();
        match leader {
            Ok(leader) => Self { leader, output },
            Err(e) if e.kind() == io::ErrorKind::NotFound => fail_without(name),
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
