// Proves the client against a fake `wx` that plays both WeChat and Menshen, where what matters is the order of calls.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createClient } from '../src/client.mjs';
import { BASE, fakeWx } from './support/fake.mjs';

test('the first request logs in and carries the token', async () => {
  const fake = fakeWx();
  const answer = await client(fake).request({ url: '/orders' });
  assert.deepEqual(answer.data, { token: 'token-1' });
  assert.deepEqual(fake.paths(), ['/_auth/login', '/orders']);
  assert.deepEqual(fake.calls[0].data, { code: 'code-1', nonce: '01'.repeat(16), app: 'shop' });
});

test('a login whose answer is lost sends the same code with the same nonce again, once', async () => {
  const fake = fakeWx();
  fake.loseOnce('/_auth/login');
  await client(fake).request({ url: '/orders' });
  const [first, second] = fake.calls.filter((call) => call.path === '/_auth/login');
  assert.deepEqual(second.data, first.data);
  assert.equal(fake.count('/_auth/login'), 2);
});

test('each code has a nonce of its own', async () => {
  const fake = fakeWx();
  const menshen = client(fake);
  await menshen.login();
  await menshen.login();
  assert.deepEqual(fake.calls.map((call) => call.data.nonce), ['01'.repeat(16), '02'.repeat(16)]);
});

for (const [platform, getRandomValues] of [
  ['has no secure random numbers', undefined],
  ['fails to give random numbers', ({ fail }) => queueMicrotask(() => fail({ errMsg: 'getRandomValues:fail' }))],
]) {
  test(`a platform that ${platform} logs in without a nonce`, async () => {
    const fake = fakeWx();
    fake.getRandomValues = getRandomValues;
    await client(fake).login();
    assert.equal(fake.calls[0].data.nonce, undefined);
  });
}

test('parallel requests share one login', async () => {
  const fake = fakeWx();
  const { request } = client(fake);
  await Promise.all([1, 2, 3, 4, 5].map((id) => request({ url: `/orders/${id}` })));
  assert.equal(fake.count('/_auth/login'), 1);
});

test('a stored session is used by the next start', async () => {
  const fake = fakeWx();
  await client(fake).login();
  const answer = await client(fake).request({ url: '/orders' });
  assert.equal(answer.statusCode, 200);
  assert.equal(fake.count('/_auth/login'), 1);
});

test('a stored session of another shape is not used', async () => {
  const fake = fakeWx();
  fake.storage.set(`menshen:${BASE}:shop`, 'skey');
  const answer = await client(fake).request({ url: '/orders' });
  assert.equal(answer.statusCode, 200);
});

test('an expired token is refreshed and the request repeated', async () => {
  const fake = fakeWx();
  const { request } = client(fake);
  await request({ url: '/orders' });
  fake.expireToken();
  const answer = await request({ url: '/orders', method: 'POST', data: { item: 7 } });
  assert.deepEqual(answer.data, { token: 'token-2' });
  assert.deepEqual(fake.paths().slice(2), ['/orders', '/_auth/refresh', '/orders']);
  assert.deepEqual(fake.calls.at(-1).data, { item: 7 });
});

test('parallel requests with an expired token share one refresh', async () => {
  const fake = fakeWx();
  const { request } = client(fake);
  await request({ url: '/orders' });
  fake.expireToken();
  const answers = await Promise.all([1, 2, 3, 4, 5].map((id) => request({ url: `/orders/${id}` })));
  assert.deepEqual(new Set(answers.map((answer) => answer.statusCode)), new Set([200]));
  assert.equal(fake.count('/_auth/refresh'), 1);
});

test('a refusal that arrives after the refresh costs no second one', async () => {
  const fake = fakeWx();
  const { request } = client(fake);
  await request({ url: '/orders' });
  fake.expireToken();
  const late = fake.hold('/late');
  const slow = request({ url: '/late' });
  await late.arrived;
  await request({ url: '/orders' });
  late.release();
  assert.equal((await slow).statusCode, 200);
  assert.equal(fake.count('/_auth/refresh'), 1);
});

for (const error of ['token_missing', 'token_invalid', 'session_ended']) {
  test(`${error} leads to a new login`, async () => {
    const fake = fakeWx();
    const { request } = client(fake);
    await request({ url: '/orders' });
    fake.refuseOnce('/orders', 401, error);
    const answer = await request({ url: '/orders' });
    assert.deepEqual(answer.data, { token: 'token-2' });
    assert.equal(fake.count('/_auth/refresh'), 0);
  });
}

for (const error of ['refresh_invalid', 'refresh_reused', 'session_ended']) {
  test(`a refresh refused with ${error} leads to a new login`, async () => {
    const fake = fakeWx();
    const { request } = client(fake);
    await request({ url: '/orders' });
    fake.expireToken();
    fake.refuseOnce('/_auth/refresh', 401, error);
    const answer = await request({ url: '/orders' });
    assert.equal(answer.statusCode, 200);
    assert.equal(fake.count('/_auth/login'), 2);
  });
}

test('a busy Menshen does not cost the user the session', async () => {
  const fake = fakeWx();
  const { request } = client(fake);
  await request({ url: '/orders' });
  fake.expireToken();
  fake.refuseOnce('/_auth/refresh', 503, 'store_unavailable');
  await assert.rejects(request({ url: '/orders' }), { error: 'store_unavailable', statusCode: 503, requestId: 'r-1' });
  await request({ url: '/orders' });
  assert.equal(fake.count('/_auth/login'), 1);
});

for (const error of ['code_invalid', 'code_used', 'login_not_stored']) {
  test(`a login refused with ${error} asks WeChat for another code, once`, async () => {
    const fake = fakeWx();
    fake.refuseOnce('/_auth/login', 401, error);
    const answer = await client(fake).request({ url: '/orders' });
    assert.equal(answer.statusCode, 200);
    assert.deepEqual(fake.calls.slice(0, 2).map((call) => call.data.code), ['code-1', 'code-2']);
  });
}

test('a blocked user is told so, and the login is not repeated', async () => {
  const fake = fakeWx();
  fake.refuseOnce('/_auth/login', 403, 'user_blocked');
  await assert.rejects(client(fake).request({ url: '/orders' }), { error: 'user_blocked', statusCode: 403 });
  assert.equal(fake.count('/_auth/login'), 1);
});

test('a failed login does not stop the next one', async () => {
  const fake = fakeWx();
  const { request } = client(fake);
  fake.offline = true;
  await assert.rejects(request({ url: '/orders' }), { error: 'unreachable' });
  fake.offline = false;
  assert.equal((await request({ url: '/orders' })).statusCode, 200);
});

test("a backend's own refusal is the caller's", async () => {
  const fake = fakeWx();
  const { request } = client(fake);
  fake.refuseOnce('/orders', 401, 'card_declined');
  const answer = await request({ url: '/orders' });
  assert.equal(answer.data.error, 'card_declined');
  assert.equal(fake.count('/_auth/login'), 1);
});

test('a refusal is understood in an answer asked for as bytes', async () => {
  const fake = fakeWx();
  const { request } = client(fake);
  await request({ url: '/picture' });
  fake.expireToken();
  const answer = await request({ url: '/picture', responseType: 'arraybuffer' });
  assert.equal(answer.statusCode, 200);
});

test('a token that is refused for ever does not loop', async () => {
  const fake = fakeWx();
  const { request } = client(fake);
  fake.refuseAlways('/orders', 401, 'token_expired');
  const answer = await request({ url: '/orders' });
  assert.equal(answer.data.error, 'token_expired');
  assert.equal(fake.count('/orders'), 3);
});

test("the caller's Authorization gives way to the token", async () => {
  const fake = fakeWx();
  await client(fake).request({ url: '/orders', header: { authorization: 'Basic x', Accept: '*/*' } });
  assert.deepEqual(fake.calls.at(-1).header, { Accept: '*/*', Authorization: 'Bearer token-1' });
});

test('the token goes to no other origin', async () => {
  const fake = fakeWx();
  for (const url of ['https://evil.example/orders', '//evil.example/orders', '@evil.example/', '.evil.example/']) {
    await assert.rejects(client(fake).request({ url }), /must be a path/);
  }
  assert.deepEqual(new Set(fake.paths()), new Set(['/_auth/login']));
});

test('a logout ends the session at Menshen and here', async () => {
  const fake = fakeWx();
  const menshen = client(fake);
  await menshen.login();
  await menshen.logout({ everywhere: true });
  assert.deepEqual(fake.calls.at(-1).data, { everywhere: true });
  assert.equal(fake.calls.at(-1).header.Authorization, 'Bearer token-1');
  assert.equal(fake.storage.size, 0);
});

test('a logout with an expired token refreshes it first, and keeps nothing', async () => {
  const fake = fakeWx();
  const menshen = client(fake);
  await menshen.login();
  fake.expireToken();
  await menshen.logout();
  assert.deepEqual(fake.paths().slice(1), ['/_auth/logout', '/_auth/refresh', '/_auth/logout']);
  assert.equal(fake.calls.at(-1).header.Authorization, 'Bearer token-2');
  assert.equal(fake.storage.size, 0);
});

test('the token can be had for a socket', async () => {
  const fake = fakeWx();
  assert.equal(await client(fake).token(), 'token-1');
});

test('a token that is about to expire is refreshed before a call of another kind gets it', async (t) => {
  t.mock.timers.enable({ apis: ['Date'] });
  const fake = fakeWx();
  const { token } = client(fake);
  assert.equal(await token(), 'token-1');
  t.mock.timers.tick(6_400_000);
  assert.equal(await token(), 'token-1');
  t.mock.timers.tick(100_000);
  assert.deepEqual(await Promise.all([token(), token()]), ['token-2', 'token-2']);
  assert.equal(fake.count('/_auth/refresh'), 1);
  t.mock.timers.tick(7_300_000);
  assert.equal(await token(), 'token-3');
});

test('a token of a stored session that says nothing of its time is refreshed', async () => {
  const fake = fakeWx();
  fake.storage.set(`menshen:${BASE}:shop`, { token: 'old', refresh_token: 'older' });
  assert.equal(await client(fake).token(), 'token-1');
  assert.deepEqual(fake.paths(), ['/_auth/refresh']);
});

test('a clock that was set back makes no token younger', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: 10_000_000 });
  const { token } = client(fakeWx());
  await token();
  t.mock.timers.setTime(5_000_000);
  assert.equal(await token(), 'token-2');
});

test('a busy Menshen leaves a token that is good to its end', async (t) => {
  t.mock.timers.enable({ apis: ['Date'] });
  const fake = fakeWx();
  const { token } = client(fake);
  await token();
  fake.refuseAlways('/_auth/refresh', 503, 'store_unavailable');
  t.mock.timers.tick(7_000_000);
  assert.equal(await token(), 'token-1');
  t.mock.timers.tick(300_000);
  await assert.rejects(token(), { error: 'store_unavailable' });
});

for (const broken of ['getStorageSync', 'setStorageSync', 'removeStorageSync']) {
  test(`a ${broken} that throws costs neither the start nor a login`, async (t) => {
    t.mock.method(console, 'warn', () => {});
    const fake = fakeWx();
    fake[broken] = () => {
      throw new Error('storage:fail');
    };
    const menshen = client(fake);
    assert.equal((await menshen.request({ url: '/orders' })).statusCode, 200);
    await menshen.logout();
    assert.equal(fake.count('/_auth/logout'), 1);
  });
}

/** A person who answers what WeChat asks, after a while of their own. */
function person(fake, { authorized, agrees, sets }) {
  const asked = [];
  const answer = (call, settle) => {
    fake[call] = (options) => {
      asked.push([call, options.scope || options.content]);
      setTimeout(() => settle(options), 60_000);
    };
  };
  answer('authorize', ({ success, fail }) => (authorized === true ? success({}) : fail({ errMsg: authorized })));
  answer('showModal', ({ success }) => success({ confirm: agrees, cancel: !agrees }));
  answer('openSetting', ({ success }) => success({ authSetting: { 'scope.a': sets } }));
  return asked;
}

for (const [said, steps, outcome] of [
  [{ authorized: true }, ['authorize'], true],
  [{ authorized: 'authorize:fail auth deny', agrees: false }, ['authorize', 'showModal'], false],
  [{ authorized: 'authorize:fail auth deny', agrees: true, sets: true }, ['authorize', 'showModal', 'openSetting'], true],
  [{ authorized: 'authorize:fail auth deny', agrees: true, sets: false }, ['authorize', 'showModal', 'openSetting'], false],
  [{ authorized: 'authorize:fail auth denied', agrees: true }, ['authorize', 'showModal', 'openSetting'], false],
]) {
  test(`somebody of whom a permission is asked and who says ${JSON.stringify(said)} is asked ${steps}`, async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const fake = fakeWx();
    const asked = person(fake, said);
    const given = client(fake).permission('scope.a', 'To save pictures.');
    for (const step of steps) {
      while (asked.length === 0 || asked.at(-1)[0] !== step) await new Promise(setImmediate);
      t.mock.timers.tick(60_000);
    }
    assert.equal(await given, outcome);
    const told = { authorize: 'scope.a', showModal: 'To save pictures.', openSetting: undefined };
    assert.deepEqual(asked, steps.map((step) => [step, told[step]]));
  });
}

test('a permission that cannot be asked for is an error, and nobody is led to the settings', async () => {
  const fake = fakeWx();
  fake.authorize = ({ fail }) => fail({ errMsg: 'authorize:fail invalid scope' });
  fake.showModal = () => assert.fail('there is nothing to set');
  await assert.rejects(client(fake).permission('scope.b', ''), { error: 'unreachable' });
});

for (const name of ['Retry-After', 'retry-after']) {
  test(`an error says after how many seconds to come back, as ${name} does`, async () => {
    const fake = fakeWx();
    fake.refuseOnce('/_auth/login', 503, 'wechat_busy', { [name]: '7' });
    await assert.rejects(client(fake).login(), { error: 'wechat_busy', retryAfter: 7 });
    fake.refuseOnce('/_auth/login', 502, 'wechat_error', { [name]: 'soon' });
    await assert.rejects(client(fake).login(), { error: 'wechat_error', retryAfter: undefined });
  });
}

function client(wx) {
  return createClient({ wx, baseUrl: BASE, app: 'shop' });
}
