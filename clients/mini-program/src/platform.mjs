// Turns the platform's calls into promises that always end.

import { failure } from './answers.mjs';

/** How long `wx.login` and its kin may take, in milliseconds: some versions of the platform never answer. */
const PLATFORM_TIMEOUT = 10000;

/** Calls the platform; fails when it does, lacks the call, or says nothing in time, which a person may have without end. */
export function ask(wx, call, options, patience = PLATFORM_TIMEOUT) {
  return timed(call, patience, (callbacks) => wx[call]({ ...callbacks, ...options }));
}

/** Does the same for what `start(callbacks, reject)` starts, and calls it `call` when it fails. */
export function timed(call, patience, start) {
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
export async function credentials(wx) {
  const login = await ask(wx, 'login', { timeout: PLATFORM_TIMEOUT });
  if (!login.code) throw failure('wx.login', login);
  const { randomValues } = await ask(wx, 'getRandomValues', { length: 16 }).catch(() => ({}));
  return { code: login.code, nonce: randomValues && hex(randomValues) };
}

function hex(bytes) {
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, 0)).join('');
}

/** The storage of one client, which may throw, be full, or hold what another version left there. */
export function storage(wx, key) {
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
