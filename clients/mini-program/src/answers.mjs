// Reads what the platform's calls bring: refusals of Menshen's, headers, and failures of the platform itself.

/** What Menshen says of a token that a new login replaces. */
export const LOG_IN = /^(token_(missing|invalid)|session_ended|refresh_(invalid|reused))$/;

/** Returns the refusal's `error`, or null when the answer is no refusal; `wx.request` calls every status a success. */
export const refusal = (answer) => (answer.statusCode < 400 ? null : body(answer).error || 'unknown');

export const isAboutToken = (error) => error === 'token_expired' || LOG_IN.test(error);

/** Makes the error of an answer that is no login. */
export function refused(answer) {
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
export function failure(call, reason) {
  const { errMsg, errno } = reason || {};
  return failed(errMsg || `${call}:fail`, { error: kind(errMsg, errno), errno, cause: reason });
}

/** Tells whether a call failed because the user does not want it: shall not be asked again at once. */
export const isDenied = (reason) => kind(reason && reason.errMsg) === 'denied';

/** Returns a header's value; how its name is spelled varies by platform. */
export function header(answer, wanted) {
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
export const failed = (message, more) => Object.assign(new Error(message), { errMsg: message, ...more });
