//! `server.watch`: a changed configuration is taken over by itself, however it was changed, and a bad one changes nothing.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use menshen_test_support::{Node, Nodes, Program, Reply, TestGateway, make_client};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const RELOADED: &str = "the configuration was reloaded";
/// Longer than what is written at once and then left alone is looked at before it is taken over.
const SETTLED: Duration = Duration::from_secs(4);

struct Watching {
    nodes: Nodes,
    node: Node,
}

impl Watching {
    async fn start() -> Self {
        let builder = TestGateway::builder().section("server", "watch = true");
        let (nodes, node) = Nodes::start_one(builder, MENSHEN).await;
        Self { nodes, node }
    }

    fn file(&self) -> &Path {
        &self.nodes.site.config
    }

    /// Returns the configuration with another header for the backend, which is how a reload shows.
    fn text(&self, marked: &str) -> String {
        let text = fs::read_to_string(self.file()).unwrap();
        let text: Vec<_> = text
            .lines()
            .filter(|line| !line.starts_with("env = "))
            .collect();
        let text = text.join("\n");
        match text.contains("[headers]\n") {
            true => text.replace("[headers]\n", &format!("[headers]\nenv = \"{marked}\"\n")),
            false => format!("{text}\n[headers]\nenv = \"{marked}\"\n"),
        }
    }

    fn reloads(&self) -> usize {
        self.node.program.stderr().matches(RELOADED).count()
    }

    async fn metric(&self, name: &str) -> String {
        let control = self.node.program.find_control_address().await;
        let http = make_client();
        let page = Reply::of(http.get(format!("http://{control}/metrics")))
            .await
            .text();
        let line = page.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("{name}: {page}")).to_owned()
    }
}

/// Puts a file in the place of another, as editors do.
fn replace(path: &Path, text: &str) {
    let other = path.with_extension("swp");
    fs::write(&other, text).unwrap();
    fs::rename(other, path).unwrap();
}

#[tokio::test]
async fn a_file_that_is_written_over_or_replaced_or_removed_first_is_taken_over() {
    let watching = Watching::start().await;
    let program = &watching.node.program;
    fs::write(watching.file(), watching.text("written")).unwrap();
    program.logs_times(RELOADED, 1).await;
    replace(watching.file(), &watching.text("replaced"));
    program.logs_times(RELOADED, 2).await;
    let text = watching.text("removed");
    fs::remove_file(watching.file()).unwrap();
    tokio::time::sleep(SETTLED).await;
    fs::write(watching.file(), text).unwrap();
    program.logs_times(RELOADED, 3).await;
    // Nothing was wrong in between.
    assert!(
        !program.stderr().contains("not reloaded"),
        "{}",
        program.stderr()
    );
    let counted = watching
        .metric("menshen_reloads_total{result=\"ok\"}")
        .await;
    assert!(counted.ends_with(" 3"), "{counted}");
    watching.node.log_in("alice").await;
}

#[tokio::test]
async fn a_bad_file_is_reported_once_and_corrected_by_the_next_change() {
    let watching = Watching::start().await;
    let program = &watching.node.program;
    let good = watching.text("good");
    fs::write(watching.file(), good.replace("[cache]", "[cash]")).unwrap();
    program.logs("not reloaded").await;
    let taken_over = "menshen_config_last_reload_taken_over";
    assert!(watching.metric(taken_over).await.ends_with(" 0"));
    tokio::time::sleep(SETTLED).await;
    assert_eq!(
        program
            .stderr()
            .matches("the configuration has changed")
            .count(),
        1
    );
    watching.node.log_in("alice").await;
    replace(watching.file(), &good);
    program.logs_times(RELOADED, 1).await;
    assert!(watching.metric(taken_over).await.ends_with(" 1"));
}

#[tokio::test]
async fn a_file_that_is_still_being_written_is_not_taken_over() {
    let watching = Watching::start().await;
    let program = &watching.node.program;
    // The first half is a configuration too, with other routes.
    let whole = watching.text("whole");
    let mut file = fs::File::create(watching.file()).unwrap();
    let since = Instant::now();
    let (mut rest, step) = (whole.as_str(), whole.len() / 50 + 1);
    while !rest.is_empty() {
        let (part, after) = rest.split_at(step.min(rest.len()));
        file.write_all(part.as_bytes()).unwrap();
        rest = after;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(since.elapsed() > SETTLED);
    program.logs_times(RELOADED, 1).await;
    assert!(
        !program.stderr().contains("not reloaded"),
        "{}",
        program.stderr()
    );
    assert_eq!(watching.reloads(), 1);
}

/// A volume of a ConfigMap as the kubelet writes it: `menshen.toml` → `..data/menshen.toml`, `..data` → a folder with a date.
struct Volume(PathBuf);

impl Volume {
    fn write(&self, date: &str, text: &str) {
        let folder = self.0.join(date);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("menshen.toml"), text).unwrap();
        let next = self.0.join("..data_tmp");
        symlink(date, &next).unwrap();
        fs::rename(next, self.0.join("..data")).unwrap();
    }
}

#[tokio::test]
async fn a_volume_of_kubernetes_that_turns_to_another_folder_is_taken_over() {
    let builder = TestGateway::builder().section("server", "watch = true");
    let mut nodes = Nodes::new(builder).await;
    let text = fs::read_to_string(&nodes.site.config).unwrap();
    let volume = Volume(nodes.site.folder.path().join("volume"));
    fs::create_dir(&volume.0).unwrap();
    volume.write("..2026_01", &text);
    let file = volume.0.join("menshen.toml");
    symlink("..data/menshen.toml", &file).unwrap();
    nodes.site.config = file;
    let node = nodes.serve(MENSHEN).await;
    volume.write(
        "..2026_02",
        &text.replace("[cache]", "max_body = \"1MiB\"\n[cache]"),
    );
    node.program.logs("not reloaded").await;
    volume.write("..2026_03", &format!("{text}\n# Turned.\n"));
    fs::remove_dir_all(volume.0.join("..2026_02")).unwrap();
    node.program.logs_times(RELOADED, 1).await;
    node.log_in("alice").await;
}

#[tokio::test]
async fn a_new_key_is_taken_over_and_nothing_where_nobody_asked_for_it() {
    let watching = Watching::start().await;
    let made = async |nodes: &Nodes| {
        let command = nodes.site.command(MENSHEN, &["keys", "new"]);
        let ended = Program::run(command).await;
        assert_eq!(ended.code, Some(0), "{}", ended.said());
        ended.stdout.trim().to_owned()
    };
    let kid = made(&watching.nodes).await;
    watching.node.program.logs_times(RELOADED, 1).await;
    let published = watching.node.get("/_auth/jwks.json", "").await.text();
    assert!(published.contains(&kid), "{published}");
    // A reload turns it off, too.
    let text = fs::read_to_string(watching.file()).unwrap();
    fs::write(
        watching.file(),
        text.replace("watch = true", "watch = false"),
    )
    .unwrap();
    watching.node.program.logs_times(RELOADED, 2).await;
    made(&watching.nodes).await;
    tokio::time::sleep(SETTLED).await;
    assert_eq!(watching.reloads(), 2);
    // And on: from then on changes are seen.
    fs::write(watching.file(), &text).unwrap();
    watching.node.program.signal("HUP").await;
    watching.node.program.logs_times(RELOADED, 3).await;
    replace(watching.file(), &text.replace("[cache]", "[cash]"));
    watching.node.program.logs("not reloaded").await;
}
