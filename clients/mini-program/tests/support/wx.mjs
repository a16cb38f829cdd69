// A `wx` that behaves as the platform's does, over real sockets: asynchronous, with tasks, and failing in its words.

import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { requireTool } from './tools.mjs';

const { WebSocket } = requireTool('ws');
const folders = mkdtempSync(join(tmpdir(), 'wx-'));
process.on('exit', () => rmSync(folders, { recursive: true }));

/** How header names arrive, which varies by platform and version. */
export const HEADER_CASES = {
  canonical: (name) => name.toLowerCase().replace(/(^|-)[a-z]/g, (letter) => letter.toUpperCase()),
  lower: (name) => name.toLowerCase(),
  upper: (name) => name.toUpperCase(),
};

/**
 * One user's phone. `simulator` is where WeChat is simulated; with `devtools` it behaves as the developer tools, which tell no
 * status before a response has ended.
 */
export function createWx({ simulator, appid, user, headerCase = 'canonical', devtools = false }) {
  const folder = mkdtempSync(join(folders, 'phone-'));
  const kept = new Map();
  const spelled = HEADER_CASES[headerCase];

  const phone = {
    /** Every call that went to the network, as `POST /path`. */
    sent: [],
    offline: false,
    session: 'valid',
    kept,
    folder,
    count: (call) => phone.sent.filter((sent) => sent === call).length,
  };

  phone.login = (options) => {
    over(options, async () => {
      const answer = await fetch(`${simulator}/_sim/login`, { method: 'POST', body: JSON.stringify({ appid, user }) });
      return { code: (await answer.json()).code, errMsg: 'login:ok' };
    }, 'login:fail');
  };

  phone.checkSession = (options) => {
    over(options, async () => {
      if (phone.session === 'valid') return { errMsg: 'checkSession:ok' };
      throw { errMsg: 'checkSession:fail session time out, need relogin' };
    });
  };

  phone.getRandomValues = (options) => {
    over(options, async () => ({ randomValues: buffer(randomBytes(options.length)), errMsg: 'getRandomValues:ok' }));
  };

  phone.getStorageSync = (key) => (kept.has(key) ? JSON.parse(kept.get(key)) : '');
  phone.setStorageSync = (key, value) => void kept.set(key, JSON.stringify(value));
  phone.removeStorageSync = (key) => void kept.delete(key);

  phone.request = (options) => {
    const { data, method = 'GET', dataType = 'json', responseType = 'text' } = options;
    const url = new URL(options.url);
    let body;
    if (data !== undefined && method === 'GET') Object.entries(data).forEach(([name, value]) => url.searchParams.set(name, value));
    else if (data !== undefined) body = data instanceof ArrayBuffer ? Buffer.from(data) : typeof data === 'string' ? data : JSON.stringify(data);
    return exchange('request', options, url, body, 'application/json', ({ statusCode, header, cookies, bytes }) => {
      const text = bytes.toString();
      const read = () => (responseType === 'arraybuffer' ? buffer(bytes) : dataType === 'json' ? json(text) : text);
      return { data: options.enableChunked ? '' : read(), statusCode, header, cookies, errMsg: 'request:ok' };
    });
  };

  phone.uploadFile = (options) => {
    const boundary = randomBytes(12).toString('hex');
    const fields = Object.entries(options.formData || {});
    const body = Buffer.concat([
      ...fields.map(([name, value]) => Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`)),
      Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name="${options.name}"; filename="${basename(options.filePath)}"\r\n\r\n`),
      readFileSync(options.filePath),
      Buffer.from(`\r\n--${boundary}--\r\n`),
    ]);
    const type = `multipart/form-data; boundary=${boundary}`;
    return exchange('uploadFile', { ...options, method: 'POST' }, new URL(options.url), body, type, ({ statusCode, bytes }) => ({
      data: bytes.toString(),
      statusCode,
      errMsg: 'uploadFile:ok',
    }));
  };

  phone.downloadFile = (options) =>
    exchange('downloadFile', options, new URL(options.url), undefined, 'application/json', ({ statusCode, bytes }) => {
      const tempFilePath = join(folder, randomBytes(8).toString('hex'));
      writeFileSync(tempFilePath, bytes);
      return { tempFilePath, statusCode, errMsg: 'downloadFile:ok' };
    });

  phone.connectSocket = (options) => {
    phone.sent.push(`WS ${new URL(options.url).pathname}`);
    const listeners = { Open: [], Message: [], Error: [], Close: [] };
    const emit = (name, event) => setImmediate(() => listeners[name].forEach((listener) => listener(event)));
    const socket = new WebSocket(options.url, options.protocols || [], { headers: headersOf(options) });
    socket.on('open', () => emit('Open', { header: {} }));
    socket.on('message', (data, binary) => emit('Message', { data: binary ? buffer(data) : data.toString() }));
    socket.on('error', (error) => emit('Error', { errMsg: error.message }));
    socket.on('close', (code, reason) => emit('Close', { code, reason: reason.toString() }));
    over(options, async () => ({ errMsg: 'connectSocket:ok', socketTaskId: 1 }));
    const task = {
      send: ({ data, ...callbacks }) => {
        over(callbacks, async () => {
          if (socket.readyState !== WebSocket.OPEN) throw { errMsg: 'sendSocketMessage:fail SocketTask.readyState is not OPEN' };
          socket.send(data);
          return { errMsg: 'sendSocketMessage:ok' };
        });
      },
      close: (how = {}) => {
        socket.close(how.code || 1000, how.reason);
        over(how, async () => ({ errMsg: 'closeSocket:ok' }));
      },
    };
    for (const name of Object.keys(listeners)) task[`on${name}`] = (listener) => void listeners[name].push(listener);
    return task;
  };

  function headersOf({ header }) {
    const set = Object.entries(header || {}).filter(([name]) => name.toLowerCase() !== 'referer');
    return { ...Object.fromEntries(set), Referer: `https://servicewechat.com/${appid}/devtools/page-frame.html` };
  }

  function exchange(api, options, url, body, type, read) {
    const listeners = { HeadersReceived: [], ChunkReceived: [], ProgressUpdate: [] };
    const emit = (name, event) => listeners[name].forEach((listener) => listener(event));
    let end;
    let request = null;
    over(options, () => new Promise((resolve, reject) => {
      const fail = (how, errno) => reject({ errMsg: `${api}:fail ${how}`, errno });
      end = () => {
        if (request) request.destroy();
        fail('abort', 600001);
      };
      if (phone.offline) return fail('net::ERR_INTERNET_DISCONNECTED', 600001);
      phone.sent.push(`${options.method || 'GET'} ${url.pathname}`);
      const headers = { 'content-type': type, ...headersOf(options) };
      if (body !== undefined) headers['content-length'] = Buffer.byteLength(body);
      request = http.request(url, { method: options.method || 'GET', headers, agent: false }, (response) => {
        const { statusCode } = response;
        const header = {};
        for (let at = 0; at < response.rawHeaders.length; at += 2) header[spelled(response.rawHeaders[at])] = response.rawHeaders[at + 1];
        const cookies = response.headers['set-cookie'] || [];
        const parts = [];
        emit('HeadersReceived', { header, cookies, ...(devtools || api !== 'request' ? {} : { statusCode }) });
        response.on('data', (part) => {
          parts.push(part);
          if (options.enableChunked) emit('ChunkReceived', { data: buffer(part) });
        });
        response.on('end', () => {
          const bytes = Buffer.concat(parts);
          if (api === 'downloadFile') emit('ProgressUpdate', { progress: 100, totalBytesWritten: bytes.length, totalBytesExpectedToWrite: bytes.length });
          resolve(read({ statusCode, header, cookies, bytes }));
        });
        response.on('error', () => fail('net::ERR_CONNECTION_RESET', 600001));
      });
      request.on('error', (error) => fail(error.code === 'ECONNREFUSED' ? 'net::ERR_CONNECTION_REFUSED' : 'net::ERR_CONNECTION_RESET', 600001));
      if (api === 'uploadFile') request.on('finish', () => emit('ProgressUpdate', { progress: 100, totalBytesSent: body.length, totalBytesExpectedToSend: body.length }));
      request.end(body);
    }));
    const task = { abort: () => end() };
    for (const name of Object.keys(listeners)) {
      task[`on${name}`] = (listener) => void listeners[name].push(listener);
      task[`off${name}`] = (listener) => void (listeners[name] = listener ? listeners[name].filter((other) => other !== listener) : []);
    }
    return task;
  }

  return phone;
}

// The platform answers in a later turn always, and ends with `complete`.
function over({ success, fail, complete }, call, named) {
  const tell = (callback) => (outcome) => setImmediate(() => {
    if (callback) callback(outcome);
    if (complete) complete(outcome);
  });
  call().then(tell(success), (reason) => tell(fail)(reason.errMsg ? reason : { errMsg: `${named || 'call:fail'} ${reason.message}` }));
}

function buffer(bytes) {
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
}

function json(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
