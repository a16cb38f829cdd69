// The language of the status page, and how it writes numbers, times and texts of its own.
"use strict";
const byId = (id) => document.getElementById(id);

function remembered() {
  try {
    return localStorage.getItem("menshen-language");
  } catch {
    return null;
  }
}

const asked = document.documentElement.lang || navigator.language;
let language = remembered() ?? (asked.toLowerCase().startsWith("zh") ? "zh" : "en");

const say = (en, zh) => (language === "zh" ? zh : en);

function translate() {
  document.documentElement.lang = say("en", "zh-CN");
  for (const element of document.querySelectorAll("[data-en]")) {
    element.textContent = element.dataset[language];
  }
  byId("language").textContent = say("中文", "English");
  byId("language").lang = say("zh-CN", "en");
}

function switchLanguage() {
  language = say("zh", "en");
  try {
    localStorage.setItem("menshen-language", language);
  } catch {
    // It holds for this page then.
  }
  translate();
}

const isKnown = (value) => value !== null && value !== undefined;
const unknown = () => say("unknown", "未知");
const locale = () => say("en", "zh-CN");

function count(value) {
  if (!isKnown(value)) return unknown();
  return new Intl.NumberFormat(locale(), { maximumFractionDigits: value < 10 ? 2 : 0 }).format(value);
}

function bytes(value) {
  if (!isKnown(value)) return unknown();
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${count(value)} ${units[unit]}`;
}

function milliseconds(value) {
  if (!isKnown(value)) return "–";
  return value < 1000 ? `${count(value)} ms` : `${count(value / 1000)} s`;
}

function time(seconds) {
  if (!isKnown(seconds)) return unknown();
  return new Date(seconds * 1000).toLocaleString(locale(), { dateStyle: "medium", timeStyle: "medium" });
}

function span(seconds) {
  if (!isKnown(seconds)) return unknown();
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 90) return say(`${whole} s`, `${whole} 秒`);
  if (whole < 5400) return say(`${Math.round(whole / 60)} min`, `${Math.round(whole / 60)} 分钟`);
  if (whole < 172800) return say(`${Math.round(whole / 3600)} h`, `${Math.round(whole / 3600)} 小时`);
  return say(`${Math.round(whole / 86400)} days`, `${Math.round(whole / 86400)} 天`);
}

const ago = (seconds) => say(`${span(seconds)} ago`, `${span(seconds)}前`);

const KINDS = { mini_program: "小程序", official_account: "公众号", website: "网站应用" };
const kind = (name) => say(name.replaceAll("_", " "), KINDS[name] ?? name);

const KEPT_BACK = {
  minute: ["the quota of this minute is used up", "本分钟配额已用完"],
  day: ["the quota of this day is used up", "今日配额已用完"],
  silence: ["WeChat did not answer", "微信没有应答"],
  busy: ["WeChat is busy", "微信繁忙"],
};

const PARTS = {
  session_store: ["The session store does not do what it is asked: logins and refreshes wait.", "会话存储无法工作：登录和续期需等待。"],
  wechat: ["WeChat cannot be reached: logins wait.", "连不上微信：登录需等待。"],
  access_token: ["An app has no usable access_token.", "有应用没有可用的 access_token。"],
};

const KEY_STATES = { signing: ["signs", "正在签名"], next: ["will sign", "即将签名"], verifying: ["only verifies", "仅用于验证"] };
const SOURCES = { wx_client: ["mini program", "小程序"], wx_h5: ["in WeChat's browser", "微信内浏览器"], wx_web: ["by QR code", "扫码"] };

function worded(words, name) {
  const found = Object.hasOwn(words, name) ? words[name] : null;
  return found ? say(...found) : name;
}
