// The mini-program's side of Menshen: logs in when needed, and sends the token with every call.

import { failure, header, isDenied } from './answers.mjs';
import { bearer, createCalls, createSend } from './calls.mjs';
import { ask, timed } from './platform.mjs';
import { createSession } from './session.mjs';
import { createSockets } from './socket.mjs';

/** How long Menshen may take to answer a login or a refresh, in milliseconds: longer than it keeps one waiting by default. */
const MENSHEN_TIMEOUT = 20000;

/**
 * Makes a client for one app behind one Menshen.
 * `wx` is the platform's own object, or an adapter's; `app` may be left out when Menshen knows only one.
 */
export function createClient({ wx, baseUrl, app, authPath = '/_auth', loginOnFirstRequest, services = {} }) {
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
