// Starts a real Menshen with the simulated WeChat and a backend, on ports that the system chooses.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { createClient } from '../../src/client.mjs';
import { menshenProgram, requireTool } from './tools.mjs';
import { createWx } from './wx.mjs';

const { WebSocketServer } = requireTool('ws');

export const APPID = 'wx0123456789abcdef';
const SECRET = '0123456789abcdef0123456789abcdef';

/** Starts everything; `t` is the test that ends it. `token` is the text of [token]. */
export async function startMenshen(t, { token = '' } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'menshen-client-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const backend = await startBackend(t);
  const simulator = await run(t, ['simulate', '--listen', '127.0.0.1:0', '--app', `${APPID}:${SECRET}`], 'stdout', (line, found) => {
    found.address = (line.match(/http:\S+/) || [])[0];
    return found.address;
  });
  const config = join(folder, 'menshen.toml');
  writeFileSync(config, `
[server]
listen = ["127.0.0.1:0"]
[control]
listen = "127.0.0.1:0"
[wechat]
api_base = "${simulator.address}"
[log]
format = "json"
[token]
${token}
[[app]]
name = "shop"
kind = "mini_program"
appid = "${APPID}"
secret_env = "SHOP_APP_SECRET"
[[upstream]]
name = "api"
servers = ["127.0.0.1:${backend.port}"]
[[route]]
path = "/"
upstream = "api"
[[route]]
path = "/public"
upstream = "api"
auth = "public"
`);
  const serving = await run(t, ['serve', '-c', config], 'stderr', (line, found) => {
    const { message, address } = JSON.parse(line);
    if (message === 'listening') found.address = `http://${address}`;
    if (message === 'open for control') found.control = `http://${address}`;
    return found.address && found.control;
  });
  const { address: base, control } = serving;
  const post = (url, body) => fetch(url, { method: 'POST', body: JSON.stringify(body) });

  return {
    base,
    control,
    simulator: simulator.address,
    backend,
    /** Returns a user's phone. */
    phone: (options) => createWx({ simulator: simulator.address, appid: APPID, user: 'alice', ...options }),
    client: (wx, options) => createClient({ wx, baseUrl: base, app: 'shop', ...options }),
    /** How often WeChat was asked to redeem a code. */
    async redeemed() {
      const calls = await (await fetch(`${simulator.address}/_sim/calls`)).json();
      return (calls['/sns/jscode2session'] || { calls: 0 }).calls;
    },
    /** Has the simulated WeChat answer logins in another way. */
    async fault(plan) {
      const planned = await post(`${simulator.address}/_sim/faults`, { path: '/sns/jscode2session', times: 1, ...plan });
      if (!planned.ok) throw new Error(await planned.text());
    },
    /** Ends all sessions of a user, as an operator does. */
    endSessions: (openid) => fetch(`${control}/v1/apps/shop/users/${openid}/sessions`, { method: 'DELETE' }),
    /** Sends a request by hand. */
    asked: (path, headers) => fetch(base + path, { headers }),
  };
}

/** Starts `menshen dev`, and returns its address. */
export async function startDev(t) {
  const dev = await run(t, ['dev', '--listen', '127.0.0.1:0'], 'stdout', (line, found) => {
    found.base = (line.match(/^Menshen listens on (http:\S+)/) || [])[1] || found.base;
    return line.includes('Bearer $TOKEN');
  });
  return dev.base;
}

async function run(t, args, output, read) {
  const child = spawn(menshenProgram(), args, { env: { ...process.env, SHOP_APP_SECRET: SECRET } });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  t.after(() => {
    child.kill();
    return ended;
  });
  const found = {};
  const said = [];
  await new Promise((resolve, reject) => {
    createInterface({ input: child[output] }).on('line', (line) => {
      said.push(line);
      if (read(line, found)) resolve();
    });
    child[output === 'stdout' ? 'stderr' : 'stdout'].resume();
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`menshen ${args[0]} ended with ${code}:\n${said.join('\n')}`)));
  });
  return found;
}

/** A backend that says what it received, and streams where it is asked to. */
async function startBackend(t) {
  const seen = [];
  const waiting = [];
  const server = http.createServer((request, response) => {
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () => {
      const { method, url, headers } = request;
      const entry = { method, url, headers, body: Buffer.concat(parts).toString(), response };
      seen.push(entry);
      waiting.splice(0).forEach((look) => look());
      if (url.startsWith('/stream')) {
        response.writeHead(200, { 'Content-Type': 'text/event-stream' });
        return void response.write('first,');
      }
      if (url.startsWith('/refused')) return void response.writeHead(401, { 'Content-Type': 'application/json' }).end('{"error":"card_declined"}');
      response.writeHead(200, { 'Content-Type': 'application/json' });
      response.end(JSON.stringify({ openid: headers['x-wx-openid'], session: headers['x-menshen-session'], url }));
    });
  });
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(`echo ${data}`)));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    sockets.clients.forEach((socket) => socket.terminate());
    server.closeAllConnections();
    server.close();
  });
  return {
    port: server.address().port,
    seen,
    /** Waits for a request to arrive. */
    async received(path) {
      for (;;) {
        const entry = seen.find(({ url }) => url === path);
        if (entry) return entry;
        await new Promise((resolve) => waiting.push(resolve));
      }
    },
  };
}
