// The platform's requests, uploads and downloads as the user: with a token, and again with another when Menshen refuses it.

import { isAboutToken, refusal } from './answers.mjs';
import { timed } from './platform.mjs';
import { createTask } from './task.mjs';

/** `send` starts a call of the platform's for a path. */
export function createCalls({ session, send, loginOnFirstRequest }) {
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
export function createSend(wx, base) {
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
export const bearer = ({ token }) => ({ Authorization: `Bearer ${token}` });
