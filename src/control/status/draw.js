// Makes elements and charts. Data goes into text nodes alone, so that none of it is ever read as HTML.
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "className" || name === "type" || name === "lang") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter(isKnown));
  return element;
}

function put(id, ...children) {
  byId(id).replaceChildren(...children.filter(isKnown));
}

// A table; a column is [heading, class], and a cell a text or an element.
function table(columns, rows, nothing) {
  if (rows.length === 0) return make("p", { className: "soft" }, nothing);
  const heads = columns.map(([text, name]) => make("th", { scope: "col", className: name ?? "" }, text));
  const body = rows.map((cells) =>
    make("tr", {}, ...cells.map((cell, at) => make("td", { className: columns[at][1] ?? "" }, cell ?? ""))),
  );
  return make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...body));
}

function pairs(list) {
  const parts = list.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]);
  return make("dl", {}, ...parts);
}

const tile = (name, value) => make("div", { className: "tile" }, make("span", {}, name), make("b", {}, value));

const WIDTH = 600;
const HEIGHT = 130;
const HOUR = 3600;

function shape(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// The place of a time so many seconds ago.
const across = (seconds) => Math.max(0, WIDTH * (1 - seconds / HOUR));

function chart(id, title, keys, top, parts, summary) {
  const drawn = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": summary });
  drawn.append(...parts);
  const legend = keys.map(([name, text]) => make("span", {}, make("i", { className: `key-${name}` }), text));
  const caption = make("figcaption", {}, make("b", {}, title), ...legend);
  const axis = [say("an hour ago", "一小时前"), say(`top: ${top}`, `顶端：${top}`), say("now", "现在")];
  put(id, make("figure", {}, caption, drawn, make("div", { className: "axis" }, ...axis.map((text) => make("span", {}, text)))));
}

// Bars on each other: what went well, what was refused, what failed.
function requestsChart(steps) {
  const rates = steps.seconds.map((seconds, at) => {
    if (seconds < 1) return null;
    const failed = steps.failed[at];
    const refused = Math.max(0, Math.min(steps.refused[at], steps.requests[at] - failed));
    const ok = Math.max(0, steps.requests[at] - refused - failed);
    return { ok: ok / seconds, refused: refused / seconds, failed: failed / seconds, all: steps.requests[at] / seconds };
  });
  const most = Math.max(0, ...rates.filter(isKnown).map((rate) => rate.all));
  const scale = most > 0 ? (HEIGHT - 6) / most : 0;
  const bars = [];
  rates.forEach((rate, at) => {
    if (!rate) return;
    const left = across(steps.ago[at] + steps.seconds[at]);
    const width = Math.max(0.8, across(steps.ago[at]) - left);
    let bottom = HEIGHT;
    for (const name of ["ok", "refused", "failed"]) {
      const height = rate[name] * scale;
      if (height <= 0) continue;
      bottom -= height;
      bars.push(shape("rect", { class: name, x: left.toFixed(2), y: bottom.toFixed(2), width: width.toFixed(2), height: height.toFixed(2) }));
    }
  });
  const top = `${count(most)}/s`;
  const keys = [["ok", say("passed", "通过")], ["refused", say("refused", "拒绝")], ["failed", "5xx"]];
  const title = say("Requests per second", "每秒请求数");
  chart("chart-requests", title, keys, top, bars, say(`Requests per second over the last hour, ${top} at most`, `最近一小时每秒请求数，最高 ${top}`));
}

function latencyChart(steps) {
  const names = ["p99", "p95", "p50"];
  const most = Math.max(0, ...names.flatMap((name) => steps[name].filter(isKnown)));
  const scale = most > 0 ? (HEIGHT - 6) / most : 0;
  const lines = names.map((name) => {
    let path = "";
    let isDown = false;
    steps[name].forEach((value, at) => {
      if (!isKnown(value)) {
        isDown = false;
        return;
      }
      const from = across(steps.ago[at] + steps.seconds[at]).toFixed(2);
      const to = across(steps.ago[at]).toFixed(2);
      const y = (HEIGHT - value * scale).toFixed(2);
      path += `${isDown ? "L" : "M"}${from} ${y}L${to} ${y}`;
      isDown = true;
    });
    return shape("path", { class: name, d: path || "M0 0" });
  });
  const top = milliseconds(most);
  const keys = [["p50", "50 %"], ["p95", "95 %"], ["p99", "99 %"]];
  const title = say("Time of a request, up to", "请求耗时上限");
  chart("chart-latency", title, keys, top, lines, say(`The time of requests over the last hour, ${top} at most`, `最近一小时请求耗时，最高 ${top}`));
}
