// Asks for the document every few seconds, and does what the forms and buttons are for.
const EVERY = 3000;
let viewer = null;
let latest = null;
let paused = false;
let timer = null;
let found = null;

async function ask(method, path, body) {
  const reply = await fetch(path, {
    method,
    headers: body ? { "Content-Type": "application/json" } : {},
    body: body && JSON.stringify(body),
    credentials: "same-origin",
    cache: "no-store",
  });
  const text = await reply.text();
  let json = {};
  try {
    json = text ? JSON.parse(text) : {};
  } catch {
    json = { message: say("The answer is not JSON.", "应答不是 JSON。") };
  }
  return { status: reply.status, ok: reply.ok, json };
}

const FAULTS = {
  token_invalid: ["This is no secret of this listener.", "这不是本端口的密钥。"],
  too_many_requests: ["Too many wrong secrets came from this address; try again later.", "本地址输错密钥的次数过多，请稍后再试。"],
  call_not_allowed: ["This secret is not good for that.", "此密钥不能用于这个操作。"],
  app_not_allowed: ["This secret is not good for this app.", "此密钥不能用于这个应用。"],
  request_unknown: ["No such request is among the last 10,000 of this node.", "本节点最近 10,000 个请求中没有这个编号。"],
  store_unavailable: ["The session store does not answer.", "会话存储没有应答。"],
  configuration_invalid: ["The configuration has problems; what runs goes on as it was.", "配置有问题，仍按原配置运行。"],
};

const faultOf = ({ status, json }) => say(json.message ?? "", Object.hasOwn(FAULTS, json.error) ? FAULTS[json.error][1] : json.message ?? "") || `HTTP ${status}`;

function tell(text, level = "bad") {
  byId("message").className = level;
  byId("message").textContent = text;
}

// Shows the login form. Whatever was shown or typed before goes with the page, since somebody else may come.
function showLogin() {
  clearTimeout(timer);
  if (viewer) return location.reload();
  for (const id of ["status", "tools", "setup", "log-out", "pause", "state"]) byId(id).hidden = true;
  byId("login").hidden = false;
  byId("secret").focus();
}

const may = (call) => viewer.calls.includes(call);

function showViewer() {
  byId("login").hidden = true;
  byId("log-out").hidden = !viewer.logged_in;
  byId("pause").hidden = !may("status");
  byId("status").hidden = !may("status");
  byId("setup").hidden = !may("status") || !viewer.all_apps;
  byId("sessions-card").hidden = !may("list_sessions");
  byId("explain-card").hidden = !may("explain_request");
  byId("tools").hidden = !may("list_sessions") && !may("explain_request");
  byId("reload").hidden = !may("reload");
  const chosen = byId("app").value;
  put("app", ...viewer.apps.map((name) => make("option", { value: name }, name)));
  if (viewer.apps.includes(chosen)) byId("app").value = chosen;
  const limits = [];
  if (!may("status")) limits.push(say("may not see the status", "不能查看状态"));
  if (!viewer.all_apps) limits.push(say(`sees only ${viewer.apps.join(", ")}`, `只能看到 ${viewer.apps.join("、")}`));
  byId("as").textContent = viewer.name ? [viewer.name, ...limits].join(" · ") : "";
}

function showPause() {
  byId("pause").textContent = paused ? say("Go on", "继续") : say("Pause", "暂停");
  byId("pause").setAttribute("aria-pressed", String(paused));
}

async function start() {
  let answer;
  try {
    answer = await ask("GET", "/v1/status/caller");
  } catch {
    tell(say("Menshen does not answer.", "门神没有应答。"));
    timer = setTimeout(start, EVERY);
    return;
  }
  if (answer.status === 401) return showLogin();
  if (!answer.ok) return tell(faultOf(answer));
  viewer = answer.json;
  tell("");
  showViewer();
  if (may("status")) poll();
}

async function poll() {
  clearTimeout(timer);
  const asker = viewer;
  if (!paused && !document.hidden) {
    try {
      const answer = await ask("GET", "/v1/status");
      // Somebody may have logged out meanwhile.
      if (viewer !== asker) return;
      if (answer.status === 401) return showLogin();
      if (answer.ok) {
        latest = answer.json;
        draw(latest);
        byId("foot").textContent = foot();
        if (byId("message").className === "away") tell("");
      } else {
        tell(faultOf(answer));
      }
    } catch {
      tell(say("Menshen does not answer; what is shown is old.", "门神没有应答；显示的是旧数据。"), "away");
    }
  }
  // Another one may have been waiting for its answer at the same time.
  clearTimeout(timer);
  if (viewer) timer = setTimeout(poll, EVERY);
}

const foot = () => say(`Menshen ${latest.version} · as of ${time(latest.now)}`, `门神 ${latest.version} · 截至 ${time(latest.now)}`);

// A button that asks to be pressed twice, since what it does cannot be undone.
function ending(text, act) {
  const button = make("button", { type: "button", className: "end" }, text);
  const calm = () => {
    button.dataset.sure = "";
    button.textContent = text;
  };
  button.addEventListener("blur", calm);
  button.addEventListener("click", async () => {
    if (button.dataset.sure !== "yes") {
      button.dataset.sure = "yes";
      button.textContent = say("Really? Press again", "确定？再按一次");
      return;
    }
    button.disabled = true;
    await act();
  });
  return button;
}

function drawSessions() {
  if (!found) return put("sessions");
  const { app, openid, sessions } = found;
  const end = (session) => ending(say("End", "结束"), () => endOf(`/v1/sessions/${session}`));
  const rows = sessions.map(({ session, created, expires, source }) => [
    above(
      code(session),
      say(`since ${time(created)}, ${worded(SOURCES, source)}`, `${time(created)} 开始，${worded(SOURCES, source)}`),
      say(`until ${time(expires)}`, `${time(expires)} 到期`),
    ),
    may("end_sessions") ? end(session) : "",
  ]);
  const columns = [[say("session", "会话"), "text"], [""]];
  const all = ending(say("End all", "全部结束"), () => endOf(`/v1/apps/${app}/users/${openid}/sessions`));
  const heading = make("p", {}, say(`${sessions.length} of `, `${sessions.length} 个会话，用户 `), code(openid), say(` in ${app}`, `，应用 ${app}`));
  const list = table(columns, rows, say("This user has no session in this app.", "该用户在此应用中没有会话。"));
  put("sessions", heading, make("div", { className: "scroll" }, list), sessions.length > 1 && may("end_sessions") ? all : null);
}

async function find() {
  const app = byId("app").value;
  const openid = byId("openid").value.trim();
  found = null;
  if (!/^[A-Za-z0-9_-]{1,512}$/.test(openid)) {
    return put("sessions", make("p", { className: "bad" }, say("An openid has letters, digits, - and _ only.", "OpenID 只含字母、数字、- 和 _。")));
  }
  const answer = await ask("GET", `/v1/apps/${app}/users/${openid}/sessions`);
  if (answer.status === 401) return showLogin();
  if (!answer.ok) return put("sessions", make("p", { className: "bad" }, faultOf(answer)));
  found = { app, openid, sessions: answer.json.sessions };
  drawSessions();
}

async function endOf(path) {
  const answer = await ask("DELETE", path);
  if (answer.status === 401) return showLogin();
  tell(answer.ok ? say("It has ended.", "已结束。") : faultOf(answer), answer.ok ? "good" : "bad");
  await find();
  byId("openid").focus();
}

async function explain() {
  const id = byId("request-id").value.trim();
  // A path of dots would be another path.
  const isFit = /^[A-Za-z0-9._-]{1,128}$/.test(id) && !/^\.+$/.test(id);
  const answer = isFit ? await ask("GET", `/v1/requests/${id}`) : { ok: false, status: 404, json: { error: "request_unknown", message: FAULTS.request_unknown[0] } };
  if (answer.status === 401) return showLogin();
  if (!answer.ok) return put("explained", make("p", { className: "bad" }, faultOf(answer)));
  const told = answer.json;
  const route = told.route && `${told.route.host ?? "*"} ${told.route.path} → ${told.route.upstream}`;
  const rows = [
    [say("decision", "决定"), [told.decision, told.reason, told.token_fault].filter(Boolean).join(" · ")],
    [say("status", "状态码"), told.status ?? "–"],
    [say("request", "请求"), told.request],
    [say("route", "路由"), route],
    [say("credential", "凭证"), told.credential],
    [say("app", "应用"), told.app],
    [say("session", "会话"), told.session],
    [say("client", "客户端"), told.client],
    ["trace", told.trace_id],
    [say("took", "耗时"), milliseconds(told.elapsed_ms)],
    ["errcode", told.errcode],
    [say("the client should", "客户端应当"), language === "zh" ? null : told.client_should],
    [say("what to do", "如何处理"), told.reason ? advised(told.reason, told.operator_should) : told.operator_should],
  ];
  put("explained", pairs(rows.filter(([, value]) => isKnown(value) && value !== "").map(([name, value]) => [name, String(value)])));
}

async function reload() {
  const answer = await ask("POST", "/v1/reload");
  if (answer.status === 401) return showLogin();
  tell(answer.ok ? say("Reloaded.", "已重新加载。") : faultOf(answer), answer.ok ? "good" : "bad");
  await poll();
}

// A failed exchange is told, whatever was pressed.
const attempt = (act) => async (event) => {
  event.preventDefault();
  try {
    await act();
  } catch {
    tell(say("Menshen does not answer.", "门神没有应答。"));
  }
};

byId("login-form").addEventListener("submit", attempt(async () => {
  const field = byId("secret");
  const answer = await ask("POST", "/v1/status/login", { secret: field.value });
  field.value = "";
  if (!answer.ok) {
    tell(faultOf(answer));
    return field.focus();
  }
  await start();
  byId("main").focus();
}));
byId("log-out").addEventListener("click", attempt(async () => {
  await ask("POST", "/v1/status/logout");
  tell("");
  showLogin();
}));
byId("language").addEventListener("click", () => {
  switchLanguage();
  showPause();
  tell("");
  if (!viewer) return;
  showViewer();
  drawSessions();
  put("explained");
  if (latest) {
    draw(latest, true);
    byId("foot").textContent = foot();
  }
});
byId("pause").addEventListener("click", () => {
  paused = !paused;
  showPause();
  if (!paused) poll();
});
byId("user-form").addEventListener("submit", attempt(find));
byId("explain-form").addEventListener("submit", attempt(explain));
byId("reload").addEventListener("click", attempt(reload));
for (const id of ["filter", "written"]) byId(id).addEventListener("input", () => latest?.configuration && drawSettings(latest.configuration.settings));
document.addEventListener("visibilitychange", () => !document.hidden && viewer && may("status") && poll());
translate();
showPause();
start();
