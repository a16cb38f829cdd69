//! Other gateways that ask ours, each a process of its own with its snippet from `examples/gateways`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::TestGateway;
use crate::repository::{fail_without, find_installed, find_repository};

const START_LIMIT: Duration = Duration::from_secs(15);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// How often another process may snatch the port between its choice and its use.
const TRIES: usize = 3;

/// A program that stands in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// nginx with `auth_request`.
    Nginx,
    /// Caddy with `forward_auth`.
    Caddy,
    /// HAProxy with a Lua action.
    Haproxy,
    /// Traefik with ForwardAuth.
    Traefik,
    /// Envoy with `ext_authz`.
    Envoy,
}

/// A running gateway in front, or behind; it is killed when dropped.
#[derive(Debug)]
pub struct Front {
    /// Where it listens.
    pub address: SocketAddr,
    _process: Child,
    _reserved: UdpSocket,
    _folder: TempDir,
}

impl Front {
    /// Starts a gateway that asks `t` about each request and forwards to its upstream.
    pub async fn start(kind: Kind, t: &TestGateway) -> Self {
        let write = |folder: &Path, address| kind.write_snippet(folder, address, t);
        // A stranger is refused only by a gateway that asks.
        Self::launch(kind, write, "401").await
    }

    /// Starts a gateway that asks nobody and forwards everything to `upstream`; nginx or Caddy.
    pub async fn plain(kind: Kind, upstream: SocketAddr) -> Self {
        let write = |folder: &Path, address| kind.write_plain(folder, address, upstream);
        Self::launch(kind, write, "200").await
    }

    async fn launch(kind: Kind, write: impl Fn(&Path, SocketAddr), ready: &str) -> Self {
        let mut said = String::new();
        for _ in 0..TRIES {
            match Self::attempt(kind, &write, ready).await {
                Ok(front) => return front,
                Err(output) => said = output,
            }
        }
        panic!("{} does not start; it said:\n{said}", kind.name());
    }

    async fn attempt(
        kind: Kind,
        write: impl Fn(&Path, SocketAddr),
        ready: &str,
    ) -> Result<Self, String> {
        let (address, reserved) = reserve();
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), address);
        let output = folder.path().join("output");
        let mut process = kind.spawn(folder.path(), &output);
        let limit = Instant::now() + START_LIMIT;
        let said = || fs::read_to_string(&output).unwrap_or_default();
        while !answers(address, ready).await {
            let ended = process.try_wait().expect("the state of a child").is_some();
            if ended || Instant::now() > limit {
                return Err(said());
            }
            sleep(BETWEEN_LOOKS).await;
        }
        Ok(Self {
            address,
            _process: process,
            _reserved: reserved,
            _folder: folder,
        })
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Caddy => "caddy",
            Self::Haproxy => "haproxy",
            Self::Traefik => "traefik",
            Self::Envoy => "envoy",
        }
    }

    /// Copies the snippet with the addresses of this test in place of its own.
    fn write_snippet(self, folder: &Path, address: SocketAddr, t: &TestGateway) {
        let snippets = find_repository()
            .join("examples/gateways")
            .join(self.name());
        for entry in fs::read_dir(snippets).expect("snippets") {
            let path = entry.expect("a file").path();
            let mut text = fs::read_to_string(&path).expect("a text");
            for (port, now) in [
                (8000, address),
                (8080, t.address),
                (3000, t.upstream.address),
            ] {
                text = text
                    .replace(&format!("127.0.0.1:{port}"), &now.to_string())
                    .replace(
                        &format!("port_value: {port}"),
                        &format!("port_value: {}", now.port()),
                    );
            }
            self.write(folder, path.file_name().expect("a name"), text);
        }
    }

    fn write_plain(self, folder: &Path, address: SocketAddr, upstream: SocketAddr) {
        let (name, text) = if self == Self::Caddy {
            let text =
                format!("{{\nadmin off\n}}\nhttp://{address} {{\nreverse_proxy {upstream}\n}}\n");
            ("Caddyfile", text)
        } else {
            let server = format!(
                "server {{ listen {address}; location / {{ proxy_pass http://{upstream}; }} }}"
            );
            (
                "nginx.conf",
                format!("events {{}}\nhttp {{\n{server}\n}}\n"),
            )
        };
        self.write(folder, name.as_ref(), text);
    }

    fn write(self, folder: &Path, name: &OsStr, mut text: String) {
        if self == Self::Nginx {
            // Debian's own places are root's.
            let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|name| format!("{name}_temp_path {}/{name};\n", folder.display()));
            let inside = format!("http {{\naccess_log off;\n{}", places.concat());
            text = text.replace("http {", &inside);
        }
        fs::write(folder.join(name), text).expect("is written");
    }

    fn spawn(self, folder: &Path, output: &Path) -> Child {
        let (program, arguments): (PathBuf, Vec<String>) = match self {
            Self::Nginx => {
                let pid = format!(
                    "daemon off; master_process off; pid {}/pid;",
                    folder.display()
                );
                let conf = folder.join("nginx.conf").display().to_string();
                let arguments = ["-e", "stderr", "-c", &conf, "-g", &pid];
                ("nginx".into(), arguments.map(str::to_owned).to_vec())
            }
            Self::Caddy => (
                "caddy".into(),
                ["run", "--config", "Caddyfile"].map(str::to_owned).to_vec(),
            ),
            Self::Haproxy => (
                "haproxy".into(),
                ["-db", "-f", "haproxy.cfg"].map(str::to_owned).to_vec(),
            ),
            Self::Traefik => (
                find_installed("gateways/bin/traefik", "traefik"),
                vec!["--configFile=traefik.yml".to_owned()],
            ),
            Self::Envoy => (
                find_installed("gateways/bin/envoy", "envoy"),
                [
                    "-c",
                    "envoy.yaml",
                    "--disable-hot-restart",
                    "--concurrency",
                    "1",
                ]
                .map(str::to_owned)
                .to_vec(),
            ),
        };
        let file = || File::options().create(true).append(true).open(output);
        let path = std::env::var("PATH").unwrap_or_default();
        let spawned = Command::new(&program)
            .args(arguments)
            .current_dir(folder)
            .env("HOME", folder)
            // Where Debian keeps servers, which is not in everybody's path.
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .stdin(Stdio::null())
            .stdout(file().expect("a file"))
            .stderr(file().expect("a file"))
            .kill_on_drop(true)
            .spawn();
        match spawned {
            Ok(process) => process,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => fail_without(self.name()),
            Err(error) => panic!("{} cannot be started: {error}", self.name()),
        }
    }
}

/// Returns whether a stranger is answered there with this status.
async fn answers(address: SocketAddr, status: &str) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let request =
            format!("GET /ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer.ends_with(status.as_bytes()))
    };
    tokio::time::timeout(Duration::from_secs(5), asked)
        .await
        .is_ok_and(|asked| asked.unwrap_or(false))
}

/// Finds a port and keeps it from other fronts, in this process and others, for as long as the socket is held.
///
/// None of these programs can tell which port the system chose, and some share theirs (`SO_REUSEPORT`), so a front that was
/// given another's port would start and be sent its requests. The port is below those that the system gives away.
fn reserve() -> (SocketAddr, UdpSocket) {
    let random = RandomState::new();
    for attempt in 0..1000_u32 {
        let port = 4000 + (random.hash_one(attempt) % 5900) as u16;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if let Ok(reserved) = UdpSocket::bind(address)
            && TcpListener::bind(address).is_ok()
        {
            return (address, reserved);
        }
    }
    panic!("no port is free");
}
