// Made from src/ by build.mjs.
'use strict';

// Reads what the platform's calls bring: refusals of Menshen's, headers, and failures of the platform itself.

/** What Menshen says of a token that a new login replaces. */
const LOG_IN = /^(token_(missing|invalid)|session_ended|refresh_(invalid|reused))$/;

/** Returns the refusal's `error`, or null when the answer is no refusal; `wx.request` calls every status a success. */
const refusal = (answer) => (answer.statusCode < 400 ? null : body(answer).error || 'unknown');

const isAboutToken = (error) => error === 'token_expired' || LOG_IN.test(error);

/** Makes the error of an answer that is no login. */
function refused(answer) {
  const { error, message, request_id: requestId, errcode } = body(answer);
  return failed(message || `login failed with status ${answer.statusCode}`, {
    error: error || 'unknown',
    statusCode: answer.statusCode,
    requestId,
    errcode,
    retryAfter: +header(answer, 'retry-after') || undefined,
  });
}

/** Makes the error of a call of the platform's that failed, or that brought nothing. */
function failure(call, reason) {
  const { errMsg, errno } = reason || {};
  return failed(errMsg || `${call}:fail`, { error: kind(errMsg, errno), errno, cause: reason });
}

/** Tells whether a call failed because the user does not want it: shall not be asked again at once. */
const isDenied = (reason) => kind(reason && reason.errMsg) === 'denied';

/** Returns a header's value; how its name is spelled varies by platform. */
function header(answer, wanted) {
  const headers = (answer && answer.header) || {};
  const name = Object.keys(headers).find((name) => name.toLowerCase() === wanted);
  return name && headers[name];
}

// An answer may have been asked for as text or bytes, and is then left unread.
function body({ data }) {
  const text = data instanceof ArrayBuffer ? String.fromCharCode(...new Uint8Array(data).slice(0, 4096)) : data;
  if (typeof text !== 'string') return text || {};
  try {
    return JSON.parse(text) || {};
  } catch (reason) {
    return {};
  }
}

function kind(errMsg, errno) {
  if (/fail:? ?abort/.test(errMsg)) return 'aborted';
  if (/den(y|ied)|cancel|privacy/.test(errMsg)) return 'denied';
  if (/permission/.test(errMsg) || errno === 1400001) return 'not_permitted';
  return 'unreachable';
}

/** Makes an error as all calls reject with. */
const failed = (message, more) => Object.assign(new Error(message), { errMsg: message, ...more });

// Turns the platform's calls into promises that always end.

/** How long `wx.login` and its kin may take, in milliseconds: some versions of the platform never answer. */
const PLATFORM_TIMEOUT = 10000;

/** Calls the platform; fails when it does, lacks the call, or says nothing in time, which a person may have without end. */
function ask(wx, call, options, patience = PLATFORM_TIMEOUT) {
  return timed(call, patience, (callbacks) => wx[call]({ ...callbacks, ...options }));
}

/** Does the same for what `start(callbacks, reject)` starts, and calls it `call` when it fails. */
function timed(call, patience, start) {
  return new Promise((resolve, reject) => {
    const end = (settle) => (outcome) => {
      clearTimeout(timer);
      settle(outcome);
    };
    const fail = end((reason) => reject(failure(`wx.${call}`, reason)));
    const timer = setTimeout(() => fail({ errMsg: `wx.${call}:fail timeout` }), patience);
    try {
      // Some versions of the platform succeed with nothing.
      start({ success: end((outcome) => resolve(outcome || {})), fail }, end(reject));
    } catch (reason) {
      fail(reason);
    }
  });
}

/** Asks for a code, and draws a nonce where the platform can: it proves that a code sent again comes from the same client. */
async function credentials(wx) {
  const login = await ask(wx, 'login', { timeout: PLATFORM_TIMEOUT });
  if (!login.code) throw failure('wx.login', login);
  const { randomValues } = await ask(wx, 'getRandomValues', { length: 16 }).catch(() => ({}));
  return { code: login.code, nonce: randomValues && hex(randomValues) };
}

function hex(bytes) {
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, 0)).join('');
}

/** The storage of one client, which may throw, be full, or hold what another version left there. */
function storage(wx, key) {
  const attempt = (call, value) => {
    try {
      return wx[call](key, value);
    } catch (reason) {
      console.warn('menshen: the storage failed', reason);
    }
  };
  return {
    read() {
      const kept = attempt('getStorageSync');
      return kept && kept.token && kept.refresh_token ? kept : null;
    },
    write: (session) => attempt('setStorageSync', session),
    clear: () => attempt('removeStorageSync'),
  };
}

// The user's session: logs in, refreshes, and lets only one of the two go on at a time, however many ask.

const NEW_CODE = /^(code_(invalid|used)|login_not_stored)$/;

/** `send(options, used)` performs one `wx.request` to Menshen, with that session's token if any. */
function createSession({ wx, key, app, authPath, send }) {
  const kept = storage(wx, key);
  let session = kept.read();
  let renewal = null;
  // What Menshen said while it was busy, and until when that holds.
  let busy = null;
  let until = 0;

  const post = (path, data, used) => send({ url: `${authPath}/${path}`, method: 'POST', data }, used);

  /** Gives a session whose token is good for a while, since many calls cannot be repeated for an expired one. */
  async function fresh() {
    const used = session;
    if (!used) return renewed(null);
    if (isFresh(used)) return used;
    try {
      return await renewed(used, true);
    } catch (reason) {
      // A Menshen that is busy takes nothing away: the token is good to its end.
      if (session === used && Date.now() < used.expires) return used;
      throw reason;
    }
  }

  // Parallel calls share one renewal, and a call that comes too late takes what the others got.
  function renewed(stale, byRefresh) {
    if (renewal) return renewal;
    if (session && session !== stale) return Promise.resolve(session);
    const wait = busy ? until - Date.now() : 0;
    // A clock that was set back must not make the wait longer than Menshen said.
    if (wait > 0 && wait <= 1000 * busy.retryAfter) {
      return Promise.reject(failed(busy.message, { ...busy, retryAfter: Math.ceil(wait / 1000) }));
    }
    return alone(() => (byRefresh ? refreshed(stale) : loggedIn()));
  }

  function alone(renew) {
    renewal = renew().finally(() => {
      renewal = null;
    });
    return renewal;
  }

  async function refreshed(stale) {
    const answer = await exchanged(stale);
    // Only "this session is over" leads to a login: a Menshen that is busy must not cost the user the session.
    return LOG_IN.test(refusal(answer)) ? loggedIn() : remembered(answer);
  }

  const exchanged = ({ refresh_token }) => post('refresh', { refresh_token });

  async function loggedIn() {
    let answer = await redeemed();
    // A code is good once and for five minutes; WeChat gives a new one at any time.
    if (NEW_CODE.test(refusal(answer))) answer = await redeemed();
    return remembered(answer);
  }

  // An answer may have been lost on its way: the same code with the same nonce brings the same session again.
  async function redeemed() {
    const data = { ...(await credentials(wx)), app };
    const login = () => post('login', data);
    return login().catch(login);
  }

  function remembered(answer) {
    const { token, refresh_token, expires_in } = answer.data || {};
    if (refusal(answer) || !token || !refresh_token) {
      const error = refused(answer);
      if (error.retryAfter) {
        busy = error;
        until = Date.now() + 1000 * error.retryAfter;
      }
      throw error;
    }
    busy = null;
    const received = Date.now();
    session = { token, refresh_token, received, expires: received + 1000 * (expires_in || 0) };
    // A storage that is full or broken costs a login at the next start, and not this one.
    kept.write(session);
    return session;
  }

  /**
   * Logs in by way of the caller's own request, where nobody is logged in or at it: `perform` sends it with the code.
   * Resolves with that request's answer, or with null where the request must be sent in the usual way.
   */
  async function byRequest(perform) {
    if (session || renewal || busy) return null;
    let answer = null;
    const login = alone(async () => {
      const { code, nonce } = await credentials(wx);
      answer = await perform({ 'X-WX-Code': code, 'X-Menshen-Nonce': nonce, 'X-Menshen-App': app });
      const told = (name) => header(answer, `menshen-${name}`);
      const data = { token: told('token'), refresh_token: told('refresh-token'), expires_in: told('token-expires-in') };
      if (data.token) return remembered({ statusCode: 200, data });
      const error = refusal(answer);
      if (isAboutToken(error) || NEW_CODE.test(error)) answer = null;
      else if (error && header(answer, 'retry-after')) return remembered(answer);
      // A public route logs nobody in, and those who wait need a token.
      return loggedIn();
    });
    await login.catch((reason) => {
      if (!answer) throw reason;
    });
    return answer;
  }

  return {
    fresh,
    renewed,
    byRequest,

    /** Logs in now, even when there is a session, and although Menshen said to wait. */
    async login() {
      await (renewal || alone(loggedIn));
    },

    /** Ends the session here and at Menshen. */
    async logout(everywhere) {
      if (renewal) await renewal.catch(() => null);
      const ended = session;
      session = null;
      kept.clear();
      if (!ended) return;
      const leave = (used) => post('logout', { everywhere }, used);
      if (refusal(await leave(ended)) !== 'token_expired') return;
      // An expired token ends nothing, and the session would outlive it.
      const { data } = await exchanged(ended);
      if (data && data.token) await leave(data);
    },

    /** Has the next call refresh the token, for one that Menshen no longer takes. */
    spent(used) {
      if (session === used) session = { ...used, expires: 0 };
    },
  };
}

// The last tenth of a token's time is left to the call that it is for. A clock that was set back makes no token younger.
function isFresh({ received, expires }) {
  const now = Date.now();
  return received <= now && now < expires - (expires - received) / 10;
}

// A task as the platform's calls return it, usable at once, although a login may come first and the call be repeated.

const TASK_EVENTS = ['HeadersReceived', 'ChunkReceived', 'ProgressUpdate'];

/** Makes the listeners of some events: `methods` has `onX` and `offX` for each, and `emit` calls who listens. */
function createEvents(names) {
  const listeners = {};
  const methods = {};
  for (const name of names) {
    listeners[name] = [];
    methods[`on${name}`] = (listener) => {
      listeners[name].push(listener);
    };
    methods[`off${name}`] = (listener) => {
      listeners[name] = listener ? listeners[name].filter((other) => other !== listener) : [];
    };
  }
  return { methods, emit: (name, event) => listeners[name].forEach((listener) => listener(event)) };
}

/**
 * Runs `perform(call)` and returns its promise, which is a task as well, and calls the caller's callbacks as the platform does.
 * `call(start)` makes one try: `start(callbacks)` gives the platform's own task.
 */
function createTask(api, { success, fail, complete }, perform) {
  const { methods, emit } = createEvents(TASK_EVENTS);
  let current = null;
  let aborted = null;
  let abort;

  const over = new Promise((resolve, reject) => {
    abort = () => {
      if (aborted) return;
      aborted = failure(api, { errMsg: `${api}:fail abort` });
      if (current && current.abort) current.abort();
      reject(aborted);
    };
    perform(call).then(resolve, reject);
  });
  if (success || fail || complete) {
    const then = (callback) => (outcome) => {
      if (callback) callback(outcome);
      if (complete) complete(outcome);
    };
    over.then(then(success), then(fail));
  }
  return Object.assign(over, { abort }, methods);

  // What comes of a refusal of Menshen's is held back, since the caller shall see one answer, and that may be the next.
  async function call(start) {
    if (aborted) throw aborted;
    let held = null;
    let seen = false;
    const pass = ([name, event]) => {
      seen = seen || name === 'ChunkReceived';
      if (!aborted) emit(name, event);
    };
    const answer = await new Promise((resolve, reject) => {
      // Some versions of the platform succeed with nothing.
      const success = (answer) => resolve(answer || {});
      current = start({ success, fail: (reason) => reject(failure(`wx.${api}`, reason)) });
      for (const name of TASK_EVENTS) {
        if (!current || !current[`on${name}`]) continue;
        current[`on${name}`]((event) => {
          if (name === 'HeadersReceived' && isRefusal(event)) held = [];
          if (held) held.push([name, event]);
          else pass([name, event]);
        });
      }
    });
    if (aborted) throw aborted;
    const kept = held || [];
    const chunk = kept.find(([name]) => name === 'ChunkReceived');
    return {
      // An answer in chunks leaves its body with those who listen for them.
      answer: chunk ? { ...answer, data: chunk[1].data } : answer,
      seen,
      release: () => kept.forEach(pass),
    };
  }
}

// The status is not told by every version of the platform, and neither are these headers told for others' refusals.
const isRefusal = (event) => /menshen/.test(header(event, 'www-authenticate'));

// The platform's requests, uploads and downloads as the user: with a token, and again with another when Menshen refuses it.

/** `send` starts a call of the platform's for a path. */
function createCalls({ session, send, loginOnFirstRequest }) {
  const as = (api) => (options) => createTask(api, options, (call) => perform(api, options, call));

  async function perform(api, options, call) {
    const attempt = (headers) => call((callbacks) => send(api, { ...options, complete: undefined, ...callbacks }, headers));
    if (loginOnFirstRequest && api === 'request') {
      let first;
      const answer = await session.byRequest(async (headers) => {
        // Others wait for the login that it brings, though no longer than the platform waits.
        first = await timed('request', options.timeout || 60000, ({ success }, reject) => {
          attempt(headers).then(success, reject);
        });
        return first.answer;
      });
      if (answer) return released(first);
    }
    let used = await session.fresh();
    // Twice: a refreshed token may be one whose session has ended meanwhile.
    for (let renewals = 0; ; renewals += 1) {
      const made = await attempt(bearer(used));
      const error = refusalOf(api, made);
      // Whoever has read parts of an answer cannot be given another.
      if (renewals === 2 || made.seen || !isAboutToken(error)) return released(made);
      used = await session.renewed(used, error === 'token_expired');
    }
  }

  return { request: as('request'), uploadFile: as('uploadFile'), downloadFile: as('downloadFile') };
}

function refusalOf(api, made) {
  if (made.answer.statusCode !== 401) return null;
  // The body of a refused download is in a file: a refresh tells what it is about.
  return api === 'downloadFile' ? 'token_expired' : refusal(made.answer);
}

const released = ({ answer, release }) => {
  release();
  return answer;
};

/** Makes what starts a call of the platform's: `url` is a path, and `headers` come beside the caller's. */
function createSend(wx, base) {
  return (api, options, headers) => {
    const { url } = options;
    // A token sent to another origin would be a token given away.
    if (!/^\/(?!\/)/.test(url)) throw new Error(`url must be a path, not ${url}`);
    const origin = api === 'connectSocket' ? base.replace('http', 'ws') : base;
    const all = { ...options.header, ...headers };
    const header = {};
    for (const name of Object.keys(all)) {
      // Two credentials would be refused as ambiguous, so the caller's own gives way, however it is spelled.
      const gone = name.toLowerCase() === 'authorization' && !headers[name];
      if (!gone && all[name] !== undefined) header[name] = all[name];
    }
    return wx[api]({ ...options, url: origin + url, header });
  };
}

/** Returns the header that carries a token. */
const bearer = ({ token }) => ({ Authorization: `Bearer ${token}` });

// A WebSocket as the user, as a task that is usable at once, although a login may come first.

const SOCKET_EVENTS = ['Open', 'Message', 'Error', 'Close'];

/** With this code Menshen closes a WebSocket whose session has ended. */
const SESSION_ENDED = 4401;

/** `ask(used)` asks Menshen who is logged in. */
function createSockets({ session, send, ask }) {
  return function connectSocket(options) {
    const { methods, emit } = createEvents(SOCKET_EVENTS);
    let real = null;
    let closed = null;

    const task = Object.assign(methods, {
      send(message) {
        if (real) real.send(message);
        else tell(message, 'fail', { errMsg: 'sendSocketMessage:fail not open' });
      },
      close(how = {}) {
        closed = { code: 1000, reason: '', ...how };
        if (real) return real.close(how);
        tell(how, 'success', { errMsg: 'closeSocket:ok' });
        emit('Close', closed);
      },
    });
    open().catch((reason) => {
      tell(options, 'fail', reason);
      if (!closed) emit('Error', reason);
    });
    return task;

    async function open() {
      const used = await session.fresh();
      if (closed || !(await isRefused(used, true))) return;
      const other = await session.renewed(used, true);
      if (!closed) await isRefused(other, false);
    }

    // The platform does not say why a handshake failed, so Menshen is asked about the token, if there may be another try.
    async function isRefused(used, again) {
      const started = await send('connectSocket', options, bearer(used));
      real = started;
      return new Promise((resolve) => {
        let held = again ? [] : null;
        for (const name of SOCKET_EVENTS) {
          started[`on${name}`]((event) => {
            if (name === 'Open') held = null;
            if (name === 'Close' && event && event.code === SESSION_ENDED) session.spent(used);
            if (!held) {
              resolve(false);
              emit(name, event);
            } else if (held.push([name, event]) === 1) {
              isLoggedOut(used).then((refused) => {
                if (refused && !closed) real = null;
                else {
                  held.forEach((each) => emit(...each));
                  held = null;
                }
                resolve(refused);
              });
            }
          });
        }
      });
    }

    async function isLoggedOut(used) {
      const answer = await ask(used).catch(() => ({}));
      return isAboutToken(refusal(answer)) || (answer.data || {}).logged_in === false;
    }
  };
}

function tell(options, outcome, event) {
  if (options[outcome]) options[outcome](event);
  if (options.complete) options.complete(event);
}

// The mini-program's side of Menshen: logs in when needed, and sends the token with every call.

/** How long Menshen may take to answer a login or a refresh, in milliseconds: longer than it keeps one waiting by default. */
const MENSHEN_TIMEOUT = 20000;

/**
 * Makes a client for one app behind one Menshen.
 * `wx` is the platform's own object, or an adapter's; `app` may be left out when Menshen knows only one.
 */
function createClient({ wx, baseUrl, app, authPath = '/_auth', loginOnFirstRequest, services = {} }) {
  const base = baseUrl.replace(/\/+$/, '');
  const send = createSend(wx, base);
  const once = (options, used) =>
    timed('request', MENSHEN_TIMEOUT, (callbacks) => send('request', { ...callbacks, ...options }, used ? bearer(used) : {}));
  const session = createSession({ wx, key: `menshen:${base}:${app || ''}`, app, authPath, send: once });
  const { request, uploadFile, downloadFile } = createCalls({ session, send, loginOnFirstRequest });
  const connectSocket = createSockets({ session, send, ask: (used) => once({ url: `${authPath}/session` }, used) });
  const person = (call, options) => ask(wx, call, options, 1e9);
  const inService = (path, name) => (services[name] || '') + path;

  return {
    request,
    uploadFile,
    downloadFile,
    connectSocket,

    /** Gives a token that is still good for a while, for calls that this client does not make. */
    token: async () => (await session.fresh()).token,

    login: () => session.login(),

    /** Ends the session here and at Menshen; `everywhere` ends this user's other ones too. */
    logout: ({ everywhere } = {}) => session.logout(everywhere),

    /** Logs in again unless WeChat's session still holds, as a page must before it asks for encrypted data. */
    checkSession: () =>
      ask(wx, 'checkSession').then(
        () => true,
        () => session.login().then(() => false),
      ),

    /**
     * Asks for a permission such as `scope.writePhotosAlbum`, and tells whether it is there. WeChat asks nobody again who said no:
     * they are told why it is needed, and led to the settings if they agree.
     */
    permission: (scope, content) =>
      person('authorize', { scope }).then(
        () => true,
        async (reason) => {
          if (!isDenied(reason)) throw reason;
          return (await person('showModal', { content })).confirm && !!(await person('openSetting')).authSetting[scope];
        },
      ),

    /** Sends the code of a `getPhoneNumber` button to the backend, at `url`. */
    async phoneNumber(event, options) {
      const detail = event.detail || event;
      if (!detail.code) throw failure('getPhoneNumber', detail);
      return request({ method: 'POST', ...options, data: { ...options.data, code: detail.code } });
    },

    /** Does what `wx.cloud.callContainer` does; `services` says below which path each service of Cloud Run is. */
    callContainer: (options) => request({ ...options, url: inService(options.path, header(options, 'x-wx-service')) }),

    /** Does what `wx.cloud.connectContainer` does. */
    connectContainer: async (options) => ({
      socketTask: connectSocket({ ...options, url: inService(options.path, options.service) }),
    }),
  };
}

module.exports = { createClient, isDenied };
