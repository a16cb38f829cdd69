// A fake `wx` that plays both WeChat and Menshen, and can hold back or refuse each answer.

export const BASE = 'https://api.example.com';

export function fakeWx() {
  const refusals = [];
  const losses = [];
  const holds = new Map();
  const valid = { token: null };
  let codes = 0;
  let draws = 0;
  let logins = 0;

  function refusal(path) {
    const at = refusals.findIndex((planned) => planned.path === path);
    if (at < 0) return null;
    const { status, error, forever, header } = refusals[at];
    if (!forever) refusals.splice(at, 1);
    return [status, { error, message: 'No.', request_id: 'r-1' }, header];
  }

  function answer(path, bearer) {
    const refused = refusal(path);
    if (refused) return refused;
    if (path === '/_auth/login' || path === '/_auth/refresh') {
      logins += 1;
      valid.token = `token-${logins}`;
      return [200, { token: valid.token, token_type: 'Bearer', expires_in: 7200, refresh_token: `refresh-${logins}` }];
    }
    if (bearer !== `Bearer ${valid.token}`) return [401, { error: 'token_expired', message: 'No.', request_id: 'r-1' }];
    if (path === '/_auth/logout') return [204, ''];
    return [200, { token: valid.token }];
  }

  const fake = {
    calls: [],
    storage: new Map(),
    offline: false,

    login({ success }) {
      codes += 1;
      queueMicrotask(() => success({ code: `code-${codes}` }));
    },
    getRandomValues({ length, success }) {
      draws += 1;
      queueMicrotask(() => success({ randomValues: new Uint8Array(length).fill(draws).buffer }));
    },
    request(options) {
      const path = options.url.replace(BASE, '');
      fake.calls.push({ ...options, path });
      const lost = losses.indexOf(path);
      if (lost >= 0) losses.splice(lost, 1);
      if (fake.offline || lost >= 0) return queueMicrotask(() => options.fail({ errMsg: 'request:fail' }));
      const [statusCode, data, header] = answer(path, options.header?.Authorization);
      const bytes = () => new TextEncoder().encode(JSON.stringify(data)).buffer;
      const reply = { statusCode, data: options.responseType === 'arraybuffer' ? bytes() : data, header: header ?? {} };
      const held = holds.get(path);
      holds.delete(path);
      if (held) held(() => options.success(reply));
      else setImmediate(() => options.success(reply));
    },
    getStorageSync: (key) => fake.storage.get(key) ?? '',
    setStorageSync: (key, value) => fake.storage.set(key, value),
    removeStorageSync: (key) => fake.storage.delete(key),

    paths: () => fake.calls.map((call) => call.path),
    count: (path) => fake.calls.filter((call) => call.path === path).length,
    expireToken() {
      valid.token = 'another';
    },
    refuseOnce: (path, status, error, header) => refusals.push({ path, status, error, header, forever: false }),
    loseOnce: (path) => losses.push(path),
    refuseAlways: (path, status, error) => refusals.push({ path, status, error, forever: true }),
    hold(path) {
      const held = {};
      held.arrived = new Promise((arrived) => {
        holds.set(path, (release) => {
          held.release = release;
          arrived();
        });
      });
      return held;
    },
  };
  return fake;
}
