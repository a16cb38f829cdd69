// Draws each section of the page from its part of the document.
const code = (text) => make("code", {}, text);

// A cell that says beneath what to do, or more about it.
const above = (first, ...lines) => make("div", {}, first, ...lines.filter(Boolean).map((line) => make("div", { className: "soft" }, line)));

// What is wrong, each as a level and a text.
function troubles(status) {
  const found = [];
  const add = (level, en, zh) => found.push([level, say(en, zh)]);
  if (status.health.state === "draining") add("warn", "This process is stopping: nobody should come here.", "进程正在停止，不应再接收请求。");
  for (const part of status.health.degraded) {
    const reason = status.health.reasons?.[part];
    found.push(["bad", worded(PARTS, part) + (reason ? ` (${reason})` : "")]);
  }
  if (status.wechat) {
    const { obstacle, operator_should: should } = status.wechat;
    const [what, todo] = own(OBSTACLES, obstacle) ?? [obstacle, should];
    add("bad", `WeChat: ${obstacle}; ${should}`, `微信：${what}。${todo}`);
  }
  for (const [app, token] of Object.entries(status.health.access_tokens ?? {})) {
    const error = token.last_error;
    if (!error) continue;
    const advice = advisedOf(String(error.errcode ?? ""), error.advice ?? "");
    const where = error.address ? ` (${error.address})` : "";
    add("bad", `${app}: no new access_token: ${error.error}${where}. ${advice}`, `${app}：没有得到新的 access_token：${error.error}${where}。${advice}`);
  }
  for (const app of status.apps) {
    for (const reason of app.kept_back) {
      const why = worded(KEPT_BACK, reason);
      add("warn", `${app.name}: logins are held back: ${why}.`, `${app.name}：登录被暂缓：${why}。`);
    }
  }
  for (const [name, upstream] of Object.entries(status.upstreams ?? {})) {
    for (const server of upstream.servers.filter((server) => !server.up)) {
      add("bad", `${name}: the server ${server.address} is down.`, `${name}：服务器 ${server.address} 不可用。`);
    }
  }
  for (const { file, expires } of status.certificates ?? []) {
    const left = expires - status.now;
    if (left <= 0) add("bad", `The certificate ${file} has expired.`, `证书 ${file} 已过期。`);
    else if (left < 14 * 86400) add("warn", `The certificate ${file} expires in ${span(left)}.`, `证书 ${file} 将在 ${span(left)}后过期。`);
  }
  const refused = status.configuration?.refused;
  if (refused) add("bad", "The last reload was refused; what runs goes on as it was.", "上次重新加载被拒绝，仍按原配置运行。");
  const dropped = status.process?.log_lines_dropped;
  if (dropped > 0) add("warn", `${count(dropped)} log lines were lost because nobody read them in time.`, `因无人及时读取，丢失了 ${count(dropped)} 行日志。`);
  return found;
}

function drawHealth(status) {
  const found = troubles(status);
  const worst = found.some(([level]) => level === "bad") ? "bad" : found.length > 0 ? "warn" : "good";
  const badge = byId("state");
  badge.className = `badge ${worst}`;
  badge.textContent = { good: say("well", "正常"), warn: say("look", "留意"), bad: say("trouble", "异常") }[worst];
  badge.hidden = false;
  const items = found.map(([level, text]) => make("li", { className: level }, text));
  const well = make("p", { className: "good" }, say("Nothing: all is well.", "无：一切正常。"));
  put("attention", items.length > 0 ? make("ul", {}, ...items) : well);
}

function drawTraffic({ traffic }) {
  const { now, hour } = traffic;
  const rate = (number) => (now.seconds >= 1 ? `${count(number / now.seconds)}/s` : "–");
  const part = (number) => (hour.requests > 0 ? ` (${count((100 * number) / hour.requests)} %)` : "");
  put(
    "tiles",
    tile(say("requests now", "当前请求"), rate(now.requests)),
    tile(say("refused now", "当前拒绝"), rate(now.refused)),
    tile(say("5xx now", "当前 5xx"), rate(now.failed)),
    tile(say("time now, 50 %", "当前耗时 50 %"), milliseconds(now.p50)),
    tile(say("time now, 99 %", "当前耗时 99 %"), milliseconds(now.p99)),
    tile(say("being served", "处理中"), count(traffic.requests_open)),
    tile(say("connections", "连接"), count(traffic.connections_open)),
    tile("WebSocket", count(traffic.websockets_open)),
    tile(say("requests, last hour", "一小时请求"), count(hour.requests)),
    tile(say("refused, last hour", "一小时拒绝"), count(hour.refused) + part(hour.refused)),
    tile(say("5xx, last hour", "一小时 5xx"), count(hour.failed) + part(hour.failed)),
    tile(say("bodies in, last hour", "一小时收到"), bytes(hour.received)),
    tile(say("bodies out, last hour", "一小时发出"), bytes(hour.sent)),
    tile(say("known for", "已统计"), span(traffic.reaches)),
  );
  requestsChart(traffic.steps);
  latencyChart(traffic.steps);
}

const HOURLY = () => [[say("hour", "一小时"), "number"], [say("since start", "启动以来"), "number"]];

function drawRefusals({ refusals }) {
  const columns = [[say("reason, and what to do", "原因与处理"), "text"], ...HOURLY()];
  const rows = refusals.map((refusal) => [
    above(code(refusal.code), advised(refusal.code, refusal.operator_should)), count(refusal.hour), count(refusal.since_start),
  ]);
  put("refusals", table(columns, rows, say("None since the start.", "启动以来没有。")));
}

function drawLast({ last_refusals: last }) {
  const rows = last.map((refusal) => {
    const reason = [refusal.code, refusal.token_fault, refusal.errcode && `errcode ${refusal.errcode}`];
    const who = [refusal.app, refusal.client, refusal.credential];
    const request = refusal.request ? code(refusal.request) : say("a head that nobody could read", "无法解析的请求头");
    const why = make("div", {}, `${refusal.status || "–"} ${reason.filter(Boolean).join(", ")}`);
    return [above(make("div", {}, request, why), who.filter(Boolean).join(" · ")), ago(refusal.ago)];
  });
  const columns = [[say("request and reason", "请求与原因"), "text"], [say("when", "时间"), "word"]];
  put("last", table(columns, rows, say("None among the last 10,000 requests.", "最近 10,000 个请求中没有。")));
}

function drawApp(app, token) {
  const logins = app.logins.map((login) => [
    above(code(login.outcome), advised(login.outcome, login.operator_should)), count(login.hour), count(login.since_start),
  ]);
  const calls = app.calls.map((call) => [
    above(make("span", {}, `${call.endpoint} `, code(call.result)), advisedOf(call.result, call.operator_should)), count(call.hour), count(call.since_start),
  ]);
  const quota = isKnown(app.quota_per_minute) ? count(app.quota_per_minute) : say("no limit of ours", "不限");
  const left = isKnown(app.quota_left) ? count(app.quota_left) : "–";
  const age = token && isKnown(token.left) ? say(`${span(token.left)} left`, `剩余 ${span(token.left)}`) : say("none", "无");
  return make(
    "div",
    { className: "app" },
    make("h3", {}, app.name, " ", make("span", { className: "soft" }, `${kind(app.kind)} · ${app.appid}`)),
    pairs([
      [say("quota a minute / left", "每分钟配额 / 剩余"), `${quota} / ${left}`],
      [say("waiting in line", "排队"), count(app.waiting)],
      [say("a login took / waited", "登录耗时 / 等待"), `${milliseconds(app.login_ms)} / ${milliseconds(app.waited_ms)}`],
      [say("codes sent again", "重发的 code"), count(app.replays)],
      ["access_token", token ? age : say("nobody asked for one", "尚无人取用")],
    ]),
    make(
      "div",
      { className: "tables" },
      make("div", { className: "scroll" }, make("h4", {}, say("Logins", "登录")), table([[say("outcome", "结果"), "text"], ...HOURLY()], logins, say("No login yet.", "尚无登录。"))),
      make("div", { className: "scroll" }, make("h4", {}, say("WeChat's answers", "微信的应答")), table([[say("call", "调用"), "text"], ...HOURLY()], calls, say("No call yet.", "尚无调用。"))),
    ),
  );
}

function drawApps({ apps, health }) {
  put("apps", ...apps.map((app) => drawApp(app, health.access_tokens?.[app.name])));
}

function drawUpstreams({ upstreams }) {
  const rows = Object.entries(upstreams).flatMap(([name, upstream]) =>
    upstream.servers.map((server, at) => [
      above(code(server.address), name),
      make("span", { className: server.up ? "good" : "bad" }, server.up ? say("up", "可用") : say("down", "不可用")),
      at === 0 ? count(upstream.hour) : "",
      at === 0 ? milliseconds(upstream.hour_ms) : "",
    ]),
  );
  const columns = [
    [say("server", "服务器"), "text"], [say("health", "状态"), "word"],
    [say("hour", "一小时"), "number"], [say("mean", "平均"), "number"],
  ];
  put("upstreams", table(columns, rows, say("None.", "无。")));
}

function drawStore({ store, process }) {
  const stored = isKnown(store.stored) ? count(store.stored) : say("not counted yet", "尚未统计");
  const state = store.available && !store.trouble;
  const hits = process.cache_hits + process.cache_misses;
  const rate = hits > 0 ? `${count((100 * process.cache_hits) / hits)} %` : "–";
  put("store", pairs([
    [say("store", "存储"), make("span", { className: state ? "good" : "bad" }, store.trouble ?? (state ? say("works", "正常") : say("does not work", "不可用")))],
    [say("sessions stored", "已存会话"), stored],
    [say("opened / refreshed / ended", "新建 / 续期 / 结束"), [store.opened, store.refreshed, store.ended].map(count).join(" / ")],
    [say("revocations held", "保留的撤销"), count(store.revocations_held)],
    [say("errors", "错误"), count(store.errors)],
    [say("tokens known / found", "已知令牌 / 命中"), `${count(process.cache_entries)} / ${rate}`],
    [say("memory", "内存"), bytes(process.resident_bytes)],
    [say("file descriptors", "文件描述符"), `${count(process.open_fds)} / ${count(process.max_fds)}`],
    [say("CPU time", "CPU 时间"), isKnown(process.cpu_seconds) ? span(process.cpu_seconds) : unknown()],
  ]));
}

function drawKeys({ keys }) {
  const rows = keys.map((key) => [code(key.kid), key.algorithm, worded(KEY_STATES, key.state)]);
  put("keys", table([[say("id", "编号")], [say("algorithm", "算法"), "word"], [say("state", "状态"), "word"]], rows, ""));
}

function drawCertificates({ certificates, now }) {
  const rows = certificates.map(({ file, expires }) => {
    const left = expires - now;
    const level = left <= 0 ? "bad" : left < 14 * 86400 ? "warn" : "good";
    return [code(file), time(expires), make("span", { className: level }, left > 0 ? span(left) : say("expired", "已过期"))];
  });
  const nothing = say("None: this listener speaks plain HTTP.", "无：本端口使用明文 HTTP。");
  put("certificates", table([[say("file", "文件")], [say("expires", "到期")], [say("left", "剩余"), "word"]], rows, nothing));
}

function drawConfiguration({ configuration }) {
  const { taken_over: at, refused, restart_needed: waiting } = configuration;
  const lines = [make("p", {}, say(`Taken over: ${time(at)}.`, `生效时间：${time(at)}。`))];
  if (refused) {
    const heading = say(`The last reload, ${time(refused.at)}, was refused:`, `上次重新加载（${time(refused.at)}）被拒绝：`);
    const problems = refused.problems.map((problem) => make("li", {}, code(problem)));
    lines.push(make("p", { className: "bad" }, heading), make("ul", {}, ...problems));
  } else if (configuration.reloads > 0) {
    lines.push(make("p", { className: "good" }, say("The last reload was taken over.", "上次重新加载已生效。")));
  } else {
    lines.push(make("p", { className: "soft" }, say("No reload since the start.", "启动以来没有重新加载。")));
  }
  if (waiting.length > 0) {
    lines.push(make("p", { className: "warn" }, say("Waits for the next start: ", "下次启动才生效："), code(waiting.join(", "))));
  }
  put("reloads", ...lines);
  drawSettings(configuration.settings);
}

function drawSettings(settings) {
  const wanted = byId("filter").value.trim().toLowerCase();
  const only = byId("written").checked;
  const values = {
    written: (value) => code(value),
    default: (value) => make("span", { className: "soft" }, code(value), say(" default", " 默认")),
    secret: () => make("b", {}, say("set (a secret)", "已设置（秘密）")),
    unset: () => make("span", { className: "soft" }, say("not set", "未设置")),
  };
  const shown = settings.filter(([key, state, value]) => {
    const matches = key.toLowerCase().includes(wanted) || (value ?? "").toLowerCase().includes(wanted);
    return matches && (!only || state === "written" || state === "secret");
  });
  const rows = shown.map(([key, state, value]) => [code(key), values[state](value)]);
  put("settings", table([[say("key", "键"), "half"], [say("value", "值")]], rows, say("No key matches.", "没有匹配的键。")));
}

const SECTIONS = [
  ["health", (status) => troubles(status), drawHealth],
  ["traffic", ({ traffic }) => traffic, drawTraffic],
  ["refusals", ({ refusals }) => refusals, drawRefusals],
  ["last", ({ last_refusals: last }) => last, drawLast],
  ["apps", ({ apps, health }) => [apps, health.access_tokens], drawApps],
  ["upstreams", ({ upstreams }) => upstreams, drawUpstreams],
  ["store", ({ store, process }) => store && [store, process], drawStore],
  ["keys", ({ keys }) => keys, drawKeys],
  ["certificates", ({ certificates }) => certificates, drawCertificates],
  ["configuration", ({ configuration }) => configuration, drawConfiguration],
];
const drawn = new Map();

// What has not changed stays as it is, so that nobody loses their place in it.
function draw(status, anew = false) {
  for (const [name, part, show] of SECTIONS) {
    const data = part(status);
    document.querySelector(`[data-part="${name}"]`).hidden = !isKnown(data);
    if (!isKnown(data)) continue;
    const text = JSON.stringify(data);
    if (!anew && drawn.get(name) === text) continue;
    drawn.set(name, text);
    show(status);
  }
}
