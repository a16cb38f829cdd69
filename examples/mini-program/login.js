// The mini-program's side of Menshen: logs in when needed, and sends the token with every request.
'use strict';

const LOG_IN = new Set(['token_missing', 'token_invalid', 'session_ended', 'refresh_invalid', 'refresh_reused']);
const NEW_CODE = new Set(['code_invalid', 'code_used', 'login_not_stored']);

/** How long `wx.login` and its kin may take, in milliseconds: some versions of the platform never answer. */
const PLATFORM_TIMEOUT = 10_000;

/**
 * Makes a client for one app behind one Menshen.
 * `wx` is the platform's own object, or a fake of it; `app` may be left out when Menshen knows only one.
 */
function createClient({ wx, baseUrl, app, authPath = '/_auth' }) {
  const base = baseUrl.replace(/\/+$/, '');
  const key = `menshen:${base}:${app ?? ''}`;
  let session = stored();
  let renewal = null;

  /** Sends what `wx.request` would send, as the user; `url` is a path. Resolves with its answer, whatever its status. */
  async function request(options) {
    let used = await current();
    let answer = await send(options, used.token);
    // Twice: a refreshed token may be one whose session has ended meanwhile.
    for (let renewals = 0; renewals < 2 && isAboutToken(answer); renewals += 1) {
      used = await renewed(used, refusal(answer) === 'token_expired');
      answer = await send(options, used.token);
    }
    return answer;
  }

  /**
   * Gives a token for calls that do not go through `request`: `wx.uploadFile`, `wx.connectSocket`.
   * Nobody repeats those for an expired token, so that one is refreshed before its time is over.
   */
  async function token() {
    const used = await current();
    if (isFresh(used)) return used.token;
    try {
      return (await renewed(used, true)).token;
    } catch (reason) {
      // A Menshen that is busy takes nothing away: the token is good to its end.
      if (session === used && Date.now() < used.expires) return used.token;
      throw reason;
    }
  }

  /** Logs in now, even when there is a session. */
  async function login() {
    await renewed(session, false);
  }

  /** Ends the session here and at Menshen; `everywhere` ends this user's other ones too. */
  async function logout({ everywhere = false } = {}) {
    if (renewal) await renewal.catch(() => null);
    const ended = session;
    session = null;
    attempt(() => wx.removeStorageSync(key));
    if (!ended) return;
    const leave = (bearer) => send({ url: `${authPath}/logout`, method: 'POST', data: { everywhere } }, bearer);
    if (refusal(await leave(ended.token)) !== 'token_expired') return;
    // An expired token ends nothing, and the session would outlive it.
    const { token } = (await exchanged(ended)).data ?? {};
    if (token) await leave(token);
  }

  async function current() {
    return session ?? renewed(null, false);
  }

  // Parallel calls share one renewal, and a call that comes too late takes what the others got.
  function renewed(stale, byRefresh) {
    if (renewal) return renewal;
    if (session && session !== stale) return Promise.resolve(session);
    renewal = (byRefresh ? refreshed(stale) : loggedIn()).finally(() => {
      renewal = null;
    });
    return renewal;
  }

  async function refreshed(stale) {
    const answer = await exchanged(stale);
    // Only "this session is over" leads to a login: a Menshen that is busy must not cost the user the session.
    if (LOG_IN.has(refusal(answer))) return loggedIn();
    return remembered(answer);
  }

  function exchanged({ refresh_token }) {
    return send({ url: `${authPath}/refresh`, method: 'POST', data: { refresh_token } });
  }

  async function loggedIn() {
    let answer = await redeemed(await code());
    // A code is good once and for five minutes; WeChat gives a new one at any time.
    if (NEW_CODE.has(refusal(answer))) answer = await redeemed(await code());
    return remembered(answer);
  }

  // An answer may have been lost on its way: the same code with the same nonce brings the same session again.
  async function redeemed(fresh) {
    const data = { code: fresh, nonce: await nonce(), app };
    const login = () => send({ url: `${authPath}/login`, method: 'POST', data });
    return login().catch(login);
  }

  // A platform without secure random numbers sends none, and is known by its address.
  function nonce() {
    const drawn = new Promise((resolve) => {
      const fail = () => resolve(undefined);
      if (!wx.getRandomValues) return fail();
      wx.getRandomValues({ length: 16, success: ({ randomValues }) => resolve(hex(randomValues)), fail });
    });
    return inTime('wx.getRandomValues', drawn).catch(() => undefined);
  }

  function code() {
    const given = new Promise((resolve, reject) => {
      wx.login({
        timeout: PLATFORM_TIMEOUT,
        success: (answer) => (answer.code ? resolve(answer.code) : reject(failure('wx.login', answer))),
        fail: (reason) => reject(failure('wx.login', reason)),
      });
    });
    return inTime('wx.login', given);
  }

  function remembered(answer) {
    const { token, refresh_token, expires_in } = answer.data ?? {};
    if (refusal(answer) !== null || !token || !refresh_token) throw refused(answer);
    const received = Date.now();
    session = { token, refresh_token, received, expires: received + 1000 * (expires_in ?? 0) };
    // A storage that is full or broken costs a login at the next start, and not this one.
    attempt(() => wx.setStorageSync(key, session));
    return session;
  }

  // Another version of the mini-program may have left something else there.
  function stored() {
    const kept = attempt(() => wx.getStorageSync(key));
    return kept?.token && kept.refresh_token ? kept : null;
  }

  function send(options, bearer) {
    // A token sent to another origin would be a token given away.
    if (!/^\/(?!\/)/.test(options.url)) {
      return Promise.reject(new Error(`url must be a path such as /orders, not ${options.url}`));
    }
    return new Promise((resolve, reject) => {
      wx.request({
        ...options,
        url: base + options.url,
        header: bearer ? withBearer(options.header, bearer) : options.header,
        success: resolve,
        fail: (reason) => reject(failure('wx.request', reason)),
      });
    });
  }

  return { request, token, login, logout };
}

// The last tenth of a token's time is left to the call that it is for. A clock that was set back makes no token younger.
function isFresh({ received, expires }) {
  const now = Date.now();
  return received <= now && now < expires - (expires - received) / 10;
}

function attempt(call) {
  try {
    return call();
  } catch (reason) {
    console.warn('menshen: the storage failed', reason);
    return null;
  }
}

function inTime(call, answer) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(failure(call, { errMsg: `${call}:fail timeout` })), PLATFORM_TIMEOUT);
  });
  return Promise.race([answer, late]).finally(() => clearTimeout(timer));
}

// Two tokens would be refused as ambiguous, so the caller's own Authorization gives way, however it is spelled.
function withBearer(header, bearer) {
  const others = Object.entries(header ?? {}).filter(([name]) => name.toLowerCase() !== 'authorization');
  return { ...Object.fromEntries(others), Authorization: `Bearer ${bearer}` };
}

function isAboutToken(answer) {
  if (answer.statusCode !== 401) return false;
  const error = refusal(answer);
  return error === 'token_expired' || LOG_IN.has(error);
}

// `wx.request` calls every status a success, and leaves a body unread when asked for text or bytes.
function refusal(answer) {
  if (answer.statusCode < 400) return null;
  return body(answer).error ?? 'unknown';
}

function body({ data }) {
  if (data instanceof ArrayBuffer) return parsed(Array.from(new Uint8Array(data), (byte) => String.fromCharCode(byte)).join(''));
  return (typeof data === 'string' ? parsed(data) : data) ?? {};
}

function hex(buffer) {
  return Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function parsed(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

function refused(answer) {
  const { error, message, request_id: requestId, errcode } = body(answer);
  return Object.assign(new Error(message ?? `login failed with status ${answer.statusCode}`), {
    error: error ?? 'unknown',
    statusCode: answer.statusCode,
    requestId,
    errcode,
    retryAfter: retryAfter(answer),
  });
}

// In seconds. How a header's name is spelled varies by platform.
function retryAfter({ header }) {
  const found = Object.entries(header ?? {}).find(([name]) => name.toLowerCase() === 'retry-after');
  const seconds = Number(found?.[1]);
  return Number.isFinite(seconds) ? seconds : undefined;
}

function failure(call, reason) {
  return Object.assign(new Error(reason?.errMsg ?? `${call} failed`), { error: 'unreachable', cause: reason });
}

module.exports = { createClient };
