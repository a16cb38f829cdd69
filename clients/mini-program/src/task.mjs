// A task as the platform's calls return it, usable at once, although a login may come first and the call be repeated.

import { failure, header } from './answers.mjs';

const TASK_EVENTS = ['HeadersReceived', 'ChunkReceived', 'ProgressUpdate'];

/** Makes the listeners of some events: `methods` has `onX` and `offX` for each, and `emit` calls who listens. */
export function createEvents(names) {
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
export function createTask(api, { success, fail, complete }, perform) {
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
