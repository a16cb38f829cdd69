// The script of the playground: each button makes one exchange and shows it.
"use strict";
const byId = (id) => document.getElementById(id);
const app = document.body.dataset.app;
const state = { token: null, refresh: null };
let language = navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";

function translate() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-en]")) {
    if (element.id === "log") element.dataset.empty = element.dataset[language];
    else element.textContent = element.dataset[language];
  }
  byId("language").textContent = language === "zh" ? "English" : "中文";
}

// Text only: what a server answers is never read as HTML.
function show(title, text, good) {
  const entry = document.createElement("article");
  entry.className = good ? "good" : "bad";
  const heading = document.createElement("h2");
  heading.textContent = title;
  const body = document.createElement("pre");
  body.textContent = text;
  entry.append(heading, body);
  byId("log").prepend(entry);
}

function claims(token) {
  try {
    const part = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    return JSON.parse(atob(part));
  } catch {
    return {};
  }
}

function keep(answer) {
  if (answer.token) state.token = answer.token;
  if (answer.refresh_token) state.refresh = answer.refresh_token;
  const { sid, exp } = claims(state.token ?? "");
  byId("session").textContent = sid ?? "–";
  byId("token").textContent = exp ? new Date(exp * 1000).toLocaleString() : "–";
}

function forget() {
  state.token = state.refresh = null;
  keep({});
}

async function ask(method, path, { body, headers = {} } = {}) {
  const title = `${method} ${path}`;
  try {
    const reply = await fetch(path, {
      method,
      headers: body ? { "Content-Type": "application/json", ...headers } : headers,
      body: body && JSON.stringify(body),
      credentials: "omit",
    });
    const text = await reply.text();
    let json = {};
    let shown = text;
    try {
      json = JSON.parse(text);
      shown = JSON.stringify(json, null, 2);
    } catch {
      // Anything but JSON is shown as it is.
    }
    show(`${title} → ${reply.status}`, shown, reply.ok);
    return { ok: reply.ok, json };
  } catch (error) {
    show(title, String(error), false);
    return { ok: false, json: {} };
  }
}

const bearer = () => (state.token ? { Authorization: `Bearer ${state.token}` } : {});

const actions = {
  "get-code": async () => {
    const body = { appid: app, user: byId("user").value };
    const { json } = await ask("POST", "/_sim/login", { body });
    if (json.code) byId("code").value = json.code;
  },
  "log-in": async () => {
    const body = { code: byId("code").value.trim() };
    const { ok, json } = await ask("POST", "/_auth/login", { body });
    if (ok) keep(json);
  },
  call: () => {
    const headers = bearer();
    if (byId("forge").checked) headers["X-WX-OPENID"] = "forged";
    const path = byId("path").value.trim();
    return ask("GET", path.startsWith("/") ? path : `/${path}`, { headers });
  },
  refresh: async () => {
    const { ok, json } = await ask("POST", "/_auth/refresh", { body: { refresh_token: state.refresh } });
    if (ok) keep(json);
  },
  "log-out": async () => {
    const { ok } = await ask("POST", "/_auth/logout", { headers: bearer() });
    if (ok) forget();
  },
  asked: () => ask("GET", "/_sim/calls"),
  websocket: () =>
    new Promise((done) => {
      const protocols = state.token ? [`menshen.bearer.${state.token}`] : [];
      const url = new URL("/_dev/websocket", location.href);
      url.protocol = url.protocol.replace("http", "ws");
      const socket = new WebSocket(url, protocols);
      socket.onopen = () => {
        socket.send(`hello at ${new Date().toLocaleTimeString()}`);
        done();
      };
      socket.onmessage = (event) => show("WebSocket", String(event.data), true);
      socket.onclose = (event) => {
        show(`WebSocket closed: ${event.code}`, event.reason, event.code === 1000);
        done();
      };
    }),
};

for (const [id, action] of Object.entries(actions)) {
  byId(id).addEventListener("click", async () => {
    byId(id).disabled = true;
    try {
      await action();
    } finally {
      byId(id).disabled = false;
    }
  });
}
byId("language").addEventListener("click", () => {
  language = language === "zh" ? "en" : "zh";
  translate();
});
translate();
