// Proves that a platform that never answers, or succeeds with nothing, hangs nobody and gives errors as all are.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createClient } from '../src/client.mjs';
import { BASE, fakeWx } from './support/fake.mjs';

for (const [call, error] of [
  ['login', { error: 'unreachable', message: 'wx.login:fail timeout' }],
  ['getRandomValues', null],
]) {
  test(`a wx.${call} that never answers hangs nobody`, async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const fake = fakeWx();
    const answers = fake[call];
    const asked = new Promise((resolve) => {
      fake[call] = () => resolve();
    });
    const menshen = client(fake);
    const request = menshen.request({ url: '/orders' });
    await asked;
    t.mock.timers.tick(10_000);
    if (error) await assert.rejects(request, error);
    else assert.equal((await request).statusCode, 200);
    fake[call] = answers;
    assert.equal((await menshen.request({ url: '/orders' })).statusCode, 200);
  });
}

for (const [path, prepare] of [
  ['/_auth/login', async () => {}],
  ['/_auth/refresh', async (fake, menshen) => {
    await menshen.login();
    fake.expireToken();
  }],
]) {
  test(`a request to ${path} that never answers hangs nobody`, { timeout: 10_000 }, async (t) => {
    const fake = fakeWx();
    const menshen = client(fake);
    await prepare(fake, menshen);
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const answers = fake.request;
    fake.request = (options) => {
      if (!options.url.endsWith(path)) return answers(options);
      fake.calls.push({ ...options, path });
    };
    const asked = fake.count(path);
    const requests = [1, 2].map((id) => menshen.request({ url: `/orders/${id}` }));
    const outcomes = Promise.allSettled(requests);
    let over = false;
    outcomes.then(() => (over = true));
    // A login is sent once more.
    for (let sent = asked + 1; !over; sent += 1) {
      while (!over && fake.count(path) < sent) await new Promise(setImmediate);
      t.mock.timers.tick(20_000);
      for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
    }
    for (const { reason } of await outcomes) assert.equal(reason.error, 'unreachable');
    fake.request = answers;
    assert.equal((await menshen.request({ url: '/orders' })).statusCode, 200);
  });
}

test('a first request with the code that never answers hangs no other call for ever', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const fake = fakeWx();
  const menshen = createClient({ wx: fake, baseUrl: BASE, app: 'shop', loginOnFirstRequest: true });
  const answers = fake.request;
  const asked = new Promise((resolve) => {
    fake.request = () => resolve();
  });
  const first = menshen.request({ url: '/orders' });
  const other = menshen.request({ url: '/orders' });
  await asked;
  fake.request = answers;
  t.mock.timers.tick(60_000);
  await assert.rejects(first, { error: 'unreachable' });
  await assert.rejects(other, { error: 'unreachable' });
  assert.equal((await menshen.request({ url: '/orders' })).statusCode, 200);
});

test('a wx.login that succeeds with nothing is an error as all are', async () => {
  const fake = fakeWx();
  fake.login = ({ success }) => success();
  await assert.rejects(client(fake).login(), { error: 'unreachable', message: 'wx.login:fail' });
});

test('a wx.request to log in that succeeds with nothing is an error as all are', async () => {
  const fake = fakeWx();
  fake.request = ({ success }) => success();
  await assert.rejects(client(fake).request({ url: '/orders' }), { error: 'unknown' });
});

test('random numbers that are none are no nonce', async () => {
  const fake = fakeWx();
  fake.getRandomValues = ({ success }) => success({});
  await client(fake).login();
  assert.equal(fake.calls[0].data.nonce, undefined);
});

function client(wx) {
  return createClient({ wx, baseUrl: BASE, app: 'shop' });
}
