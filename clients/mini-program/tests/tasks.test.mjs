// Proves tasks against a real Menshen: aborts, chunks, uploads, downloads and sockets, across logins that come first.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { startMenshen } from './support/menshen.mjs';

/** A client whose token Menshen does not take any more, which it does not know. */
async function loggedOut(menshen, wx) {
  const client = menshen.client(wx);
  const { data } = await client.request({ url: '/who' });
  await menshen.endSessions(data.openid);
  return client;
}

test('a request that is aborted before its login has come is not sent', async (t) => {
  const menshen = await startMenshen(t);
  const wx = menshen.phone();
  const client = menshen.client(wx);
  const told = [];
  const task = client.request({ url: '/orders', success: () => told.push('success'), fail: ({ errMsg }) => told.push(errMsg), complete: () => told.push('complete') });
  task.abort();
  await assert.rejects(task, { error: 'aborted', errMsg: 'request:fail abort' });
  assert.deepEqual(told, ['request:fail abort', 'complete']);
  await client.token();
  assert.deepEqual(wx.sent, ['POST /_auth/login']);
});

test('a request that is aborted while it is answered ends at the backend', async (t) => {
  const menshen = await startMenshen(t);
  const client = menshen.client(menshen.phone());
  const task = client.request({ url: '/stream', enableChunked: true });
  await new Promise((resolve) => task.onChunkReceived(resolve));
  const { response } = await menshen.backend.received('/stream');
  const ended = new Promise((resolve) => response.on('close', resolve));
  task.abort();
  await assert.rejects(task, { error: 'aborted' });
  await ended;
  task.abort();
});

test('callbacks are called as by the platform, and once', async (t) => {
  const menshen = await startMenshen(t);
  const told = [];
  await new Promise((resolve) => {
    menshen.client(menshen.phone()).request({
      url: '/orders',
      success: ({ statusCode }) => told.push(statusCode),
      fail: () => told.push('fail'),
      complete: ({ errMsg }) => resolve(told.push(errMsg)),
    });
  });
  assert.deepEqual(told, [200, 'request:ok']);
});

for (const devtools of [false, true]) {
  test(`chunks are the answer's only, whatever came before it${devtools ? ', in the developer tools too' : ''}`, async (t) => {
    const menshen = await startMenshen(t);
    const client = await loggedOut(menshen, menshen.phone({ devtools }));
    const events = [];
    const task = client.request({ url: '/stream', enableChunked: true, responseType: 'text' });
    task.onHeadersReceived(({ header }) => events.push(header['Content-Type']));
    task.onChunkReceived(({ data }) => events.push(Buffer.from(data).toString()));
    const { response } = await menshen.backend.received('/stream');
    response.write('second,');
    response.end('third');
    assert.equal((await task).statusCode, 200);
    assert.equal(events[0], 'text/event-stream');
    assert.equal(events.slice(1).join(''), 'first,second,third');
    assert.equal(await menshen.redeemed(), 2);
  });
}

test("a backend's own refusal in chunks is the caller's", async (t) => {
  const menshen = await startMenshen(t);
  const chunks = [];
  const task = menshen.client(menshen.phone()).request({ url: '/refused', enableChunked: true });
  task.onChunkReceived(({ data }) => chunks.push(Buffer.from(data).toString()));
  assert.equal((await task).statusCode, 401);
  assert.deepEqual(chunks, ['{"error":"card_declined"}']);
});

test('a listener that is taken off hears nothing', async (t) => {
  const menshen = await startMenshen(t);
  const heard = [];
  const task = menshen.client(menshen.phone()).request({ url: '/orders' });
  const listener = () => heard.push('first');
  task.onHeadersReceived(listener);
  task.onHeadersReceived(() => heard.push('second'));
  task.offHeadersReceived(listener);
  await task;
  assert.deepEqual(heard, ['second']);
  task.offHeadersReceived();
});

test('an upload arrives once, although its token was refused at first', async (t) => {
  const menshen = await startMenshen(t);
  const wx = menshen.phone();
  const client = await loggedOut(menshen, wx);
  const filePath = join(wx.folder, 'photo.jpg');
  writeFileSync(filePath, 'JPEG'.repeat(50_000));
  const progress = [];
  const task = client.uploadFile({ url: '/photos', filePath, name: 'photo', formData: { album: 'cats' } });
  task.onProgressUpdate(({ progress: percent }) => progress.push(percent));
  const answer = await task;
  assert.equal(answer.statusCode, 200);
  assert.match(JSON.parse(answer.data).openid, /^o/);
  assert.ok(progress.includes(100));
  const uploads = menshen.backend.seen.filter(({ url }) => url === '/photos');
  assert.equal(uploads.length, 1);
  assert.match(uploads[0].body, /name="album"\r\n\r\ncats/);
  assert.match(uploads[0].body, /filename="photo.jpg"\r\n\r\nJPEGJPEG/);
});

test('a download is what the backend sent, although its token was refused at first', async (t) => {
  const menshen = await startMenshen(t);
  const client = await loggedOut(menshen, menshen.phone());
  const heads = [];
  const task = client.downloadFile({ url: '/report.pdf' });
  task.onHeadersReceived(() => heads.push('head'));
  const { statusCode, tempFilePath } = await task;
  assert.equal(statusCode, 200);
  assert.equal(JSON.parse(readFileSync(tempFilePath, 'utf8')).url, '/report.pdf');
  assert.deepEqual(heads, ['head']);
});

test("a download that the backend refuses is the caller's", async (t) => {
  const menshen = await startMenshen(t);
  const client = menshen.client(menshen.phone());
  assert.equal((await client.downloadFile({ url: '/refused' })).statusCode, 401);
  assert.equal(await menshen.redeemed(), 1);
});

test('an upload and a download can be aborted', async (t) => {
  const menshen = await startMenshen(t);
  const wx = menshen.phone();
  const client = menshen.client(wx);
  const filePath = join(wx.folder, 'photo.jpg');
  writeFileSync(filePath, 'JPEG');
  const upload = client.uploadFile({ url: '/photos', filePath, name: 'photo' });
  const download = client.downloadFile({ url: '/report.pdf' });
  upload.abort();
  download.abort();
  await assert.rejects(upload, { errMsg: 'uploadFile:fail abort' });
  await assert.rejects(download, { errMsg: 'downloadFile:fail abort' });
});

/** Resolves with the events of a socket until one is `last`. */
function events(task, last) {
  const heard = [];
  return new Promise((resolve) => {
    for (const name of ['Open', 'Message', 'Error', 'Close']) {
      task[`on${name}`]((event) => {
        heard.push(name === 'Message' ? event.data : name === 'Close' ? event.code : name);
        if (name === last) resolve(heard);
      });
    }
  });
}

test('a socket opens as the user, carries messages and closes', async (t) => {
  const menshen = await startMenshen(t);
  const task = menshen.client(menshen.phone()).connectSocket({ url: '/echo' });
  const refused = await new Promise((fail) => task.send({ data: 'too soon', fail }));
  assert.match(refused.errMsg, /^sendSocketMessage:fail/);
  task.onOpen(() => task.send({ data: 'hello' }));
  task.onMessage(() => task.close({ code: 1000 }));
  assert.deepEqual(await events(task, 'Close'), ['Open', 'echo hello', 1000]);
});

test('a socket whose token is refused opens with another, and nobody sees the first try', async (t) => {
  const menshen = await startMenshen(t);
  const wx = menshen.phone();
  const client = await loggedOut(menshen, wx);
  const task = client.connectSocket({ url: '/echo' });
  assert.deepEqual(await events(task, 'Open'), ['Open']);
  assert.equal(wx.count('WS /echo'), 2);
  assert.equal(await menshen.redeemed(), 2);
  task.close();
});

test('a socket that ends with its session is followed by one of a new session', async (t) => {
  const menshen = await startMenshen(t);
  const client = menshen.client(menshen.phone());
  const task = client.connectSocket({ url: '/echo' });
  await new Promise((resolve) => task.onOpen(resolve));
  const { data } = await client.request({ url: '/who' });
  const over = events(task, 'Close');
  await menshen.endSessions(data.openid);
  assert.deepEqual(await over, [4401]);
  const again = client.connectSocket({ url: '/echo' });
  assert.deepEqual(await events(again, 'Open'), ['Open']);
  again.close();
});

test('a socket that cannot be opened says so, once, and logs nobody in again', async (t) => {
  const menshen = await startMenshen(t);
  const wx = menshen.phone();
  const client = menshen.client(wx);
  await client.token();
  const { connectSocket } = wx;
  wx.connectSocket = (options) => connectSocket({ ...options, url: 'ws://127.0.0.1:1/' });
  const task = client.connectSocket({ url: '/echo' });
  assert.deepEqual(await events(task, 'Close'), ['Error', 1006]);
  assert.equal(await menshen.redeemed(), 1);
});

test('a socket that is closed before its login has come is not opened', async (t) => {
  const menshen = await startMenshen(t);
  const wx = menshen.phone();
  const client = menshen.client(wx);
  const task = client.connectSocket({ url: '/echo' });
  const over = events(task, 'Close');
  task.close();
  assert.deepEqual(await over, [1000]);
  await client.token();
  assert.deepEqual(wx.sent, ['POST /_auth/login']);
});

test('a socket without a login fails and says why', async (t) => {
  const menshen = await startMenshen(t);
  await menshen.fault({ fault: 'errcode', errcode: 40226 });
  const failed = [];
  const task = menshen.client(menshen.phone()).connectSocket({ url: '/echo', fail: ({ error }) => failed.push(error) });
  assert.deepEqual(await events(task, 'Error'), ['Error']);
  assert.deepEqual(failed, ['user_blocked']);
});
