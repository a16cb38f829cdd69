// A WebSocket as the user, as a task that is usable at once, although a login may come first.

import { isAboutToken, refusal } from './answers.mjs';
import { bearer } from './calls.mjs';
import { createEvents } from './task.mjs';

const SOCKET_EVENTS = ['Open', 'Message', 'Error', 'Close'];

/** With this code Menshen closes a WebSocket whose session has ended. */
const SESSION_ENDED = 4401;

/** `ask(used)` asks Menshen who is logged in. */
export function createSockets({ session, send, ask }) {
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
