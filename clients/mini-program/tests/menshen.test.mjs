// Proves the client against a real Menshen: logins, renewals and refusals.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startMenshen } from './support/menshen.mjs';
import { HEADER_CASES } from './support/wx.mjs';

const HOUR = 3_600_000;

test('the first request logs in, and the backend knows the user but not the token', async (t) => {
  const menshen = await startMenshen(t);
  const answer = await menshen.client(menshen.phone()).request({ url: '/orders' });
  assert.equal(answer.statusCode, 200);
  assert.match(answer.data.openid, /^o/);
  assert.equal(menshen.backend.seen[0].headers.authorization, undefined);
});

test('ten requests, an upload of a token and a socket that begin at once share one login', async (t) => {
  const menshen = await startMenshen(t);
  const wx = menshen.phone();
  const client = menshen.client(wx);
  const opened = new Promise((resolve) => client.connectSocket({ url: '/echo' }).onOpen(resolve));
  const requests = Array.from({ length: 10 }, (_, id) => client.request({ url: `/orders/${id}` }));
  const answers = await Promise.all([...requests, client.token(), opened]);
  assert.deepEqual(answers.slice(0, 10).map(({ statusCode }) => statusCode), Array(10).fill(200));
  assert.equal(await menshen.redeemed(), 1);
  assert.equal(wx.count('POST /_auth/login'), 1);
});

for (const headerCase of Object.keys(HEADER_CASES)) {
  test(`with loginOnFirstRequest the first request carries the code, and headers are spelled in ${headerCase}`, async (t) => {
    const menshen = await startMenshen(t);
    const wx = menshen.phone({ headerCase });
    const client = menshen.client(wx, { loginOnFirstRequest: true });
    const header = { Authorization: 'Basic x' };
    const [first, second] = await Promise.all([client.request({ url: '/a', header }), client.request({ url: '/b' })]);
    assert.deepEqual([first.statusCode, second.statusCode], [200, 200]);
    assert.equal(first.data.session, second.data.session);
    assert.deepEqual(wx.sent, ['GET /a', 'GET /b']);
    await client.request({ url: '/c' });
    assert.equal(await menshen.redeemed(), 1);
  });
}

test('with loginOnFirstRequest a public route is answered, and the login made up for', async (t) => {
  const menshen = await startMenshen(t);
  const wx = menshen.phone();
  const client = menshen.client(wx, { loginOnFirstRequest: true });
  assert.equal((await client.request({ url: '/public' })).data.openid, undefined);
  assert.match((await client.request({ url: '/orders' })).data.openid, /^o/);
  assert.deepEqual(wx.sent, ['GET /public', 'POST /_auth/login', 'GET /orders']);
});

test('with loginOnFirstRequest a code that WeChat refuses leads to a login with another', async (t) => {
  const menshen = await startMenshen(t);
  await menshen.fault({ fault: 'errcode', errcode: 40029 });
  const wx = menshen.phone();
  const answer = await menshen.client(wx, { loginOnFirstRequest: true }).request({ url: '/orders' });
  assert.match(answer.data.openid, /^o/);
  assert.deepEqual(wx.sent, ['GET /orders', 'POST /_auth/login', 'GET /orders']);
});

test('with loginOnFirstRequest a refusal that no other code cures is the answer', async (t) => {
  const menshen = await startMenshen(t);
  await menshen.fault({ fault: 'errcode', errcode: 45011 });
  const wx = menshen.phone();
  const client = menshen.client(wx, { loginOnFirstRequest: true });
  const answer = await client.request({ url: '/orders' });
  assert.deepEqual([answer.statusCode, answer.data.error], [503, 'wechat_busy']);
  await assert.rejects(client.request({ url: '/orders' }), { error: 'wechat_busy' });
  assert.deepEqual(wx.sent, ['GET /orders']);
});

test('a session that an operator ends is followed by another login', async (t) => {
  const menshen = await startMenshen(t);
  const client = menshen.client(menshen.phone());
  const { data: before } = await client.request({ url: '/orders' });
  await menshen.endSessions(before.openid);
  const { data: after } = await client.request({ url: '/orders' });
  assert.equal(after.openid, before.openid);
  assert.notEqual(after.session, before.session);
});

test('an expired token is refreshed without a login, also by a client whose clock stands still', async (t) => {
  const menshen = await startMenshen(t, { token: 'ttl = "1s"' });
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() });
  const client = menshen.client(menshen.phone());
  const { data: before } = await client.request({ url: '/orders' });
  const token = await client.token();
  const refused = () => menshen.asked('/orders', { Authorization: `Bearer ${token}` });
  while ((await refused()).status !== 401);
  const { data: after } = await client.request({ url: '/orders' });
  assert.equal(after.session, before.session);
  assert.equal(await menshen.redeemed(), 1);
});

test('a logout ends the session at Menshen', async (t) => {
  const menshen = await startMenshen(t);
  const wx = menshen.phone();
  const client = menshen.client(wx);
  const token = await client.token();
  await client.logout();
  const answer = await menshen.asked('/orders', { Authorization: `Bearer ${token}` });
  assert.equal((await answer.json()).error, 'session_ended');
  assert.equal(wx.kept.size, 0);
});

test('after Retry-After nobody is asked until its time is over', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() });
  const menshen = await startMenshen(t);
  await menshen.fault({ fault: 'errcode', errcode: 45011 });
  const wx = menshen.phone();
  const client = menshen.client(wx);
  const error = await client.request({ url: '/orders' }).catch((reason) => reason);
  assert.deepEqual([error.error, error.statusCode, error.errcode], ['wechat_busy', 503, 45011]);
  assert.ok(error.retryAfter > 1, String(error.retryAfter));
  const sent = wx.sent.length;
  t.mock.timers.tick(1000);
  await assert.rejects(client.request({ url: '/orders' }), { error: 'wechat_busy', retryAfter: error.retryAfter - 1 });
  await assert.rejects(client.token(), { error: 'wechat_busy' });
  assert.equal(wx.sent.length, sent);
  t.mock.timers.tick(1000 * error.retryAfter);
  // Menshen's own clock went on with the real time, so that it may still say to wait; it is asked again, though.
  await client.request({ url: '/orders' }).catch((reason) => assert.equal(reason.error, 'wechat_busy'));
  assert.ok(wx.sent.length > sent);
});

test('a clock that is set back does not make the wait longer', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: 10 * HOUR });
  const menshen = await startMenshen(t);
  await menshen.fault({ fault: 'errcode', errcode: 45011 });
  const wx = menshen.phone();
  const client = menshen.client(wx);
  await assert.rejects(client.request({ url: '/orders' }), { error: 'wechat_busy' });
  const sent = wx.sent.length;
  t.mock.timers.setTime(HOUR);
  await client.request({ url: '/orders' }).catch((reason) => assert.equal(reason.error, 'wechat_busy'));
  assert.ok(wx.sent.length > sent);
});

for (const [errcode, error, statusCode] of [
  [40226, 'user_blocked', 403],
  [40125, 'wechat_misconfigured', 502],
]) {
  test(`errcode ${errcode} rejects with ${error}, and the login is not repeated`, async (t) => {
    const menshen = await startMenshen(t);
    await menshen.fault({ fault: 'errcode', errcode });
    const failed = [];
    const wx = menshen.phone();
    const call = menshen.client(wx).request({ url: '/orders', fail: (reason) => failed.push(reason) });
    await assert.rejects(call, { error, statusCode, errcode });
    assert.equal(failed[0].error, error);
    assert.match(failed[0].requestId, /./);
    assert.deepEqual(wx.sent, ['POST /_auth/login']);
  });
}

test('without a network the platform tells why, and the next call works', async (t) => {
  const menshen = await startMenshen(t);
  const wx = menshen.phone();
  const client = menshen.client(wx);
  wx.offline = true;
  await assert.rejects(client.request({ url: '/orders' }), {
    error: 'unreachable',
    errMsg: 'request:fail net::ERR_INTERNET_DISCONNECTED',
    errno: 600001,
  });
  wx.offline = false;
  assert.equal((await client.request({ url: '/orders' })).statusCode, 200);
});

test('a storage that is full costs the next start a login, and nothing else', async (t) => {
  t.mock.method(console, 'warn', () => {});
  const menshen = await startMenshen(t);
  const wx = menshen.phone();
  wx.setStorageSync = () => {
    throw new Error('setStorageSync:fail exceed storage max size 10Mb');
  };
  assert.equal((await menshen.client(wx).request({ url: '/orders' })).statusCode, 200);
  assert.equal((await menshen.client(wx).request({ url: '/orders' })).statusCode, 200);
  assert.equal(await menshen.redeemed(), 2);
});

test('checkSession logs in again when the session of WeChat is over', async (t) => {
  const menshen = await startMenshen(t);
  const wx = menshen.phone();
  const client = menshen.client(wx);
  await client.login();
  assert.equal(await client.checkSession(), true);
  assert.equal(await menshen.redeemed(), 1);
  wx.session = 'over';
  assert.equal(await client.checkSession(), false);
  assert.equal(await menshen.redeemed(), 2);
});

test('the code of a phone number goes to the backend as the user', async (t) => {
  const menshen = await startMenshen(t);
  const client = menshen.client(menshen.phone());
  const event = { type: 'getphonenumber', detail: { code: 'e31968a7f94cc5ee25fafc2aef2773f0', errMsg: 'getPhoneNumber:ok' } };
  const answer = await client.phoneNumber(event, { url: '/phone', data: { from: 'cart' } });
  assert.match(answer.data.openid, /^o/);
  const [{ method, body }] = menshen.backend.seen;
  assert.equal(method, 'POST');
  assert.deepEqual(JSON.parse(body), { from: 'cart', code: event.detail.code });
});

for (const [error, detail] of [
  ['denied', { errMsg: 'getPhoneNumber:fail user deny' }],
  ['denied', { errMsg: 'getPhoneNumber:fail:user cancel' }],
  ['denied', { errMsg: 'getPhoneNumber:fail privacy permission is not authorized', errno: 104 }],
  ['not_permitted', { errMsg: 'getPhoneNumber:fail no permission' }],
  ['not_permitted', { errMsg: 'getPhoneNumber:fail', errno: 1400001 }],
]) {
  test(`a phone number that is refused with ${detail.errMsg} (${detail.errno}) is ${error}, and nobody is asked`, async (t) => {
    const menshen = await startMenshen(t);
    const wx = menshen.phone();
    await assert.rejects(menshen.client(wx).phoneNumber({ detail }, { url: '/phone' }), { error, errMsg: detail.errMsg });
    assert.deepEqual(wx.sent, []);
  });
}

test('callContainer is a request to the path of its service', async (t) => {
  const menshen = await startMenshen(t);
  const client = menshen.client(menshen.phone(), { services: { orders: '/orders-service' } });
  const call = (options) => client.callContainer({ config: { env: 'prod-1' }, ...options });
  const told = [];
  const answer = await call({
    path: '/list?page=1',
    method: 'POST',
    header: { 'x-wx-service': 'orders' },
    data: { a: 1 },
    complete: ({ statusCode }) => told.push(statusCode),
  });
  assert.equal(answer.data.url, '/orders-service/list?page=1');
  assert.equal((await call({ path: '/other', header: { 'X-WX-SERVICE': 'unknown' } })).data.url, '/other');
  assert.deepEqual(told, [200]);
});
