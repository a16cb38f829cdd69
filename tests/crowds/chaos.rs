//! Each way in which WeChat goes wrong, under two hundred logins at once: what it costs WeChat, and what users are told.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may panic"
)]

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::join_all;
use menshen_test_support::{Grant, Node, Nodes, Relay, Reply, Secrets, TestGateway, make_client};
use serde_json::{Value, json};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const CODES: usize = 200;
/// One in so many codes is sent twice at once.
const TWICE: usize = 5;
/// WeChat is well again, so nobody need wait for longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// An end that a code may come to.
struct End {
    /// What its user is told.
    told: &'static str,
    /// The fewest and the most calls to WeChat that it may cost.
    calls: [usize; 2],
    /// What the user is told who sends it again once WeChat is well, and how many calls that costs.
    again: (&'static str, usize),
}

const GRANTED: End = End::is_final("200");
const TIMEOUT: End = End::is_final("504 wechat_timeout");
const ERROR: End = End::is_final("502 wechat_error");
/// Somebody else answered, who may have passed the code on.
const FOREIGN: End = End {
    told: UNREACHABLE,
    calls: [1, 1],
    again: ("504 wechat_timeout", 0),
};
const UNREACHABLE: &str = "503 wechat_unreachable";
/// As below, and it is known why.
const CUT_OFF: End = End::unspent(UNREACHABLE, [0, 0]);
/// The call was not made, and the code is as good as before.
const KEPT_BACK: End = End::unspent("503 wechat_busy", [0, 0]);
/// Where no connection carries anything, the call does not arrive either.
const SWALLOWED: End = End {
    calls: [0, 1],
    ..TIMEOUT
};

impl End {
    /// One call, and none when it is sent again.
    const fn is_final(told: &'static str) -> Self {
        Self {
            told,
            calls: [1, 1],
            again: (told, 0),
        }
    }

    /// The same code logs its user in later.
    const fn unspent(told: &'static str, calls: [usize; 2]) -> Self {
        Self {
            told,
            calls,
            again: ("200", 1),
        }
    }
}

/// What goes wrong, and the ends that codes may come to meanwhile; the first is that of one code at least.
type Row = (Value, Vec<End>);

fn answers() -> Vec<Row> {
    let errcode = |errcode: i64| json!({"fault": "errcode", "errcode": errcode});
    let misconfigured = || vec![End::unspent("502 wechat_misconfigured", [1, 1])];
    vec![
        (errcode(40029), vec![End::is_final("401 code_invalid")]),
        (errcode(40163), vec![End::is_final("401 code_used")]),
        (errcode(40226), vec![End::is_final("403 user_blocked")]),
        (errcode(40013), misconfigured()),
        (errcode(40125), misconfigured()),
        (
            errcode(99999),
            vec![End::unspent("502 wechat_error", [1, 1])],
        ),
        (
            json!({"fault": "errcode_string", "errcode": 40029}),
            vec![End::is_final("401 code_invalid")],
        ),
        (json!({"fault": "empty_openid"}), vec![ERROR]),
        (json!({"fault": "missing_openid"}), vec![ERROR]),
        (json!({"fault": "missing_session_key"}), vec![ERROR]),
        (json!({"fault": "errcode_zero"}), vec![GRANTED]),
        (
            json!({"fault": "content_type", "content_type": "image/jpeg"}),
            vec![GRANTED],
        ),
        (json!({"fault": "chunked_412"}), vec![GRANTED]),
        (json!({"fault": "delay", "by": "200ms"}), vec![GRANTED]),
    ]
}

/// In which nobody is sent to WeChat for a while.
fn outages() -> Vec<Row> {
    let silent = || vec![TIMEOUT, KEPT_BACK];
    let broken_off = || vec![TIMEOUT, CUT_OFF];
    let no_answer = || vec![ERROR, KEPT_BACK];
    let foreign = || vec![FOREIGN, CUT_OFF];
    let busy = |again| {
        let asked = End {
            again,
            ..End::unspent("503 wechat_busy", [1, 3])
        };
        vec![asked, KEPT_BACK]
    };
    vec![
        (json!({"fault": "errcode", "errcode": -1}), busy(("200", 1))),
        (
            json!({"fault": "errcode", "errcode": -1, "spend": true}),
            busy(("401 code_used", 1)),
        ),
        // A gateway's, and not WeChat's.
        (json!({"fault": "status", "status": 502}), foreign()),
        (json!({"fault": "redirect"}), foreign()),
        (json!({"fault": "huge"}), no_answer()),
        (json!({"fault": "html"}), foreign()),
        (json!({"fault": "html", "spend": true}), foreign()),
        (json!({"fault": "truncate"}), no_answer()),
        (json!({"fault": "raw_control"}), no_answer()),
        (json!({"fault": "bom"}), no_answer()),
        (json!({"fault": "delay", "by": "1m"}), silent()),
        (json!({"fault": "hang"}), silent()),
        (json!({"fault": "hang", "spend": true}), silent()),
        (json!({"fault": "close_before"}), broken_off()),
        (json!({"fault": "close_after"}), broken_off()),
        // No fault of the simulator's: the wire to it is dead.
        (json!({"fault": "black_hole"}), vec![SWALLOWED, KEPT_BACK]),
    ]
}

/// A quota that is used up is left alone for longer than a test has time.
fn quotas() -> Vec<Row> {
    [45011, 45009]
        .map(|errcode| {
            let plan = json!({"fault": "errcode", "errcode": errcode});
            (plan, vec![End::unspent("503 wechat_busy", [0, 1])])
        })
        .into()
}

/// A program that has WeChat go wrong, and everything it lets out.
struct Chaos {
    nodes: Nodes,
    node: Node,
    relay: Relay,
    control: SocketAddr,
    alice: Grant,
    secrets: Secrets,
    answers: Vec<u8>,
}

impl Chaos {
    /// Starts, with this limit for a call to WeChat.
    async fn begin(timeout: &str) -> Self {
        let relay = Relay::start().await;
        let address = relay.address;
        let wechat = format!("api_base = \"http://{address}\"\ntimeout = \"{timeout}\"");
        let login = "timeout = \"20s\"\nqueue_timeout = \"2s\"\nrefused_per_minute = 0";
        let builder = TestGateway::builder()
            .section("log", "level = \"trace\"")
            .section("wechat", &wechat)
            .section("login", login);
        let nodes = Nodes::new(builder).await;
        relay.lead_to(nodes.simulator());
        let node = nodes.serve(MENSHEN).await;
        let alice = node.log_in("alice").await;
        let mut secrets = Secrets::default();
        secrets.add_token(&alice.token);
        secrets.add_refresh_token(&alice.refresh_token);
        let control = node.program.find_control_address().await;
        let mut chaos = Self {
            nodes,
            node,
            relay,
            control,
            alice,
            secrets,
            answers: Vec::new(),
        };
        chaos.check_alice().await;
        chaos
    }

    /// Has Menshen ask WeChat about a session_key, for which it needs an access_token.
    async fn check_alice(&mut self) {
        let session = self.node.request("GET", "/_auth/session");
        let shown = Reply::of(session.bearer_auth(&self.alice.token)).await;
        let openid = shown.json()["openid"].as_str().unwrap().to_owned();
        let call = format!("v1/apps/shop/users/{openid}/check-session");
        let checked = self.ask_control("POST", &call).await;
        assert_eq!(checked.status, 200, "{}", checked.text());
        self.keep(&[vec![checked]]);
    }

    async fn ask_control(&self, method: &str, path: &str) -> Reply {
        let http = make_client();
        let url = format!("http://{}/{path}", self.control);
        let request = http.request(method.parse().unwrap(), url);
        Reply::of(request).await
    }

    /// Has WeChat go wrong in one way, and returns what came of it as a line of a table.
    async fn suffer(&mut self, (plan, ends): &Row) -> String {
        self.break_wechat(plan).await;
        let codes = self.codes().await;
        let sends = |number: usize| 1 + usize::from(number.is_multiple_of(TWICE));
        let wave = self.wave(&codes, sends);
        let (replies, ()) = tokio::join!(wave, self.alice_notices_nothing());
        let cost = self.calls_for(&codes);
        self.keep(&replies);
        let told = told_of(&replies);
        let mut expected = Vec::new();
        for (number, told) in told.iter().enumerate() {
            let cost = cost[number];
            let fits = |end: &&End| {
                // Where nothing is remembered of the first, the second of two may be a login of its own.
                let logins = if end.again.1 == 0 { 1 } else { sends(number) };
                let [least, most] = end.calls;
                end.told == told && (least..=most * logins).contains(&cost)
            };
            let end = ends.iter().find(fits);
            let end = end.unwrap_or_else(|| panic!("{plan}: {cost} calls for a code, {told}"));
            expected.push(end.again);
        }
        assert!(told.iter().any(|told| told == ends[0].told), "{plan}");

        self.heal_wechat().await;
        let recovery = self.recovery().await;
        let repeated = self.wave(&codes, |_| 1).await;
        let again_cost = self.calls_for(&codes);
        self.keep(&repeated);
        for (number, told) in told_of(&repeated).into_iter().enumerate() {
            let was = &replies[number][0];
            assert_eq!(
                (told.as_str(), again_cost[number]),
                expected[number],
                "{plan}, {was:?}"
            );
            if was.status == 200 {
                let (was, is) = (was.json(), repeated[number][0].json());
                assert_eq!(was["refresh_token"], is["refresh_token"], "{plan}");
            }
        }
        format!(
            "| {} | {} | {} | {} | {} | {:.1} s |",
            written(plan),
            cost.iter().sum::<usize>(),
            counted(&replies),
            again_cost.iter().sum::<usize>(),
            counted(&repeated),
            recovery.as_secs_f64(),
        )
    }

    /// Has WeChat's quota be used up, and returns what came of it as a line of a table.
    async fn suffer_quota(&mut self, (plan, ends): &Row) -> String {
        self.break_wechat(plan).await;
        let mut cells = Vec::new();
        for most in [CODES * 2, 2] {
            let codes = self.codes().await;
            let (replies, ()) =
                tokio::join!(self.wave(&codes, |_| 1), self.alice_notices_nothing());
            let cost = self.calls_for(&codes);
            self.keep(&replies);
            assert!(told_of(&replies).iter().all(|told| told == ends[0].told));
            assert!(
                cost.iter().all(|calls| *calls <= ends[0].calls[1]),
                "{plan}"
            );
            let cost: usize = cost.iter().sum();
            assert!(cost <= most, "{plan}: {cost} calls");
            cells.push(format!("{cost} | {}", counted(&replies)));
        }
        format!("| {} | {} |", written(plan), cells.join(" | "))
    }

    async fn break_wechat(&self, plan: &Value) {
        if plan["fault"] == "black_hole" {
            self.relay.die();
        } else {
            self.node.fault(plan.clone()).await;
        }
    }

    async fn heal_wechat(&self) {
        self.relay.revive();
        self.node.heal().await;
    }

    async fn codes(&mut self) -> Vec<String> {
        let users: Vec<String> = (0..CODES)
            .map(|n| format!("user-{n}-{}", fastrand::u64(..)))
            .collect();
        let codes = join_all(users.iter().map(|user| self.node.code(user))).await;
        for code in &codes {
            self.secrets.add("a code", code.as_str());
        }
        codes
    }

    /// Sends all codes at once, each as often as `sends` says.
    async fn wave(&self, codes: &[String], sends: impl Fn(usize) -> usize) -> Vec<Vec<Reply>> {
        let logins = codes.iter().enumerate().map(|(number, code)| {
            let nonce = format!("nonce-{code}");
            let sent = (0..sends(number)).map(|_| Reply::of(self.node.login_as(code, &nonce)));
            join_all(sent)
        });
        join_all(logins).await
    }

    async fn alice_notices_nothing(&self) {
        for _ in 0..5 {
            assert_eq!(self.node.get_as(&self.alice.token).await.status, 200);
        }
    }

    /// Logs somebody else in who does as they are told, and returns how long that took.
    async fn recovery(&mut self) -> Duration {
        let healed = Instant::now();
        loop {
            let code = self.node.code("somebody else").await;
            self.secrets.add("a code", code.as_str());
            let reply = Reply::of(self.node.login_with(&code)).await;
            let (status, after) = (reply.status, reply.retry_after());
            self.keep(&[vec![reply]]);
            if status == 200 {
                return healed.elapsed();
            }
            assert!(healed.elapsed() < PATIENCE, "it should recover");
            tokio::time::sleep(Duration::from_secs(after.unwrap_or(0))).await;
        }
    }

    /// Returns how often WeChat was asked to redeem each code since this was called before.
    fn calls_for(&self, codes: &[String]) -> Vec<usize> {
        let mut calls: HashMap<String, usize> = HashMap::new();
        for asked in self.relay.requests() {
            for rest in asked.split("js_code=").skip(1) {
                let code = rest.split(|c: char| !c.is_ascii_alphanumeric()).next();
                *calls.entry(code.unwrap().to_owned()).or_default() += 1;
            }
        }
        let cost = codes.iter().map(|code| calls.get(code).copied());
        cost.map(Option::unwrap_or_default).collect()
    }

    /// Keeps answers without the tokens that they are there to bring, which are secrets everywhere else.
    fn keep(&mut self, replies: &[Vec<Reply>]) {
        for reply in replies.iter().flatten() {
            let (json, mut rest) = (reply.json(), reply.text());
            if !json["token"].is_null() {
                let grant = Grant::of(json);
                self.secrets.add_token(&grant.token);
                self.secrets.add_refresh_token(&grant.refresh_token);
                for token in [grant.token, grant.refresh_token] {
                    rest = rest.replacen(&token, "", 1);
                }
            }
            let headers = format!("{:?}", reply.headers);
            self.answers.extend(headers.into_bytes());
            self.answers.extend(rest.into_bytes());
        }
    }

    /// Ends the program, finds no secret in anything that it let out, and returns its log.
    async fn end(mut self) -> String {
        for path in ["readyz", "metrics"] {
            let shown = self.ask_control("GET", path).await;
            assert_eq!(shown.status, 200, "{path}");
            self.keep(&[vec![shown]]);
        }
        let ended = self.node.program.stop().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let answers = self.relay.answers();
        let found = self.secrets.add_keys_of_wechat(&answers);
        assert!(found > 0, "WeChat should have given session_keys");
        assert!(answers.iter().any(|answer| answer.contains("access_token")));
        self.secrets.add("the AppSecret", "app5ecret");
        self.secrets.add_keys(self.nodes.site.folder.path());
        let said = ended.said();
        for place in [said.as_bytes(), &self.answers] {
            let told = self.secrets.told_in(place, |_| true);
            assert!(told.is_empty(), "{}", told.join("\n\n"));
        }
        println!(
            "searched {} bytes of log and {} of answers; {found} session_keys were given",
            said.len(),
            self.answers.len()
        );
        said
    }
}

fn told_by(reply: &Reply) -> String {
    if reply.status == 503 {
        let after = reply.retry_after().unwrap();
        assert!((1..=300).contains(&after), "{after}");
    }
    let told = format!("{} {}", reply.status, reply.error());
    told.trim_end().to_owned()
}

/// Returns what was told of each code. Two who sent the same were told the same, or one of them to come again.
fn told_of(replies: &[Vec<Reply>]) -> Vec<String> {
    let each = replies.iter().map(|replies| {
        let mut told: Vec<String> = replies.iter().map(told_by).collect();
        told.dedup();
        if told.len() > 1 {
            told.retain(|told| told != KEPT_BACK.told);
        }
        assert_eq!(told.len(), 1, "{told:?}");
        if told[0] == "200" {
            let session = |reply: &Reply| reply.json()["refresh_token"].clone();
            assert!(
                replies
                    .windows(2)
                    .all(|two| session(&two[0]) == session(&two[1]))
            );
        }
        told.remove(0)
    });
    each.collect()
}

fn counted(replies: &[Vec<Reply>]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for reply in replies.iter().flatten() {
        *counts.entry(told_by(reply)).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(told, count)| format!("{count} × {told}"))
        .collect();
    counts.join(", ")
}

/// Returns a plan as it stands in the table.
fn written(plan: &Value) -> String {
    let fields = plan.as_object().unwrap().iter();
    let rest = fields.filter(|(name, _)| *name != "fault");
    let rest = rest.map(|(name, value)| match (name.as_str(), value.as_str()) {
        ("spend", _) => " and spent".to_owned(),
        (_, Some(text)) => format!(" {text}"),
        (_, None) => format!(" {value}"),
    });
    format!(
        "`{}`{}",
        plan["fault"].as_str().unwrap(),
        rest.collect::<String>()
    )
}

/// Has all of this go wrong under logins, in so many programs at once, prints what came of it, and looks for secrets in all output.
async fn suffer_all(timeout: &str, rows: Vec<Row>, programs: usize) {
    println!(
        "| what goes wrong | calls | {CODES} codes, one in {TWICE} twice at once | calls | sent again when WeChat was well | well after |\n\
         |---|---|---|---|---|---|"
    );
    let mut finest = false;
    for said in join_all((0..programs).map(async |number| {
        let mut chaos = Chaos::begin(timeout).await;
        for row in rows.iter().skip(number).step_by(programs) {
            println!("{}", chaos.suffer(row).await);
        }
        chaos.end().await
    }))
    .await
    {
        finest |= said.contains("DEBUG");
    }
    assert!(finest, "the finest level should be on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_wechat_answers_a_code_is_spent_once_and_no_secret_is_told() {
    suffer_all("10s", answers(), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_wechat_is_out_no_code_is_lost_that_was_not_sent_and_logins_go_on_after_it() {
    // Most of an outage is waiting, so several programs have some each.
    suffer_all("4s", outages(), 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_that_is_used_up_is_left_alone_by_everybody() {
    println!(
        "| what goes wrong | calls | {CODES} codes | calls | {CODES} more |\n\
         |---|---|---|---|---|"
    );
    for row in quotas() {
        let mut chaos = Chaos::begin("10s").await;
        println!("{}", chaos.suffer_quota(&row).await);
        let said = chaos.end().await;
        assert!(said.contains("DEBUG"), "the finest level should be on");
    }
}
