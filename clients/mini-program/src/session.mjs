// The user's session: logs in, refreshes, and lets only one of the two go on at a time, however many ask.

import { LOG_IN, failed, header, isAboutToken, refusal, refused } from './answers.mjs';
import { credentials, storage } from './platform.mjs';

const NEW_CODE = /^(code_(invalid|used)|login_not_stored)$/;

/** `send(options, used)` performs one `wx.request` to Menshen, with that session's token if any. */
export function createSession({ wx, key, app, authPath, send }) {
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
