// Proves what is shipped: the packed package from both module systems, its types, its size, its adapters, and the demo.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import vm from 'node:vm';
import { built } from '../build.mjs';
import { APPID, startDev, startMenshen } from './support/menshen.mjs';
import { PACKAGE, TOOLS, requireTool } from './support/tools.mjs';
import { createWx } from './support/wx.mjs';

const NAME = 'menshen-mini-program';
const KILOBYTE = 1024;

/** A project that has the packed package installed. */
let project;
let files;

before(() => {
  project = mkdtempSync(join(tmpdir(), 'menshen-package-'));
  process.on('exit', () => rmSync(project, { recursive: true, force: true }));
  const packed = execFileSync('npm', ['pack', '--json', '--pack-destination', project], { cwd: PACKAGE, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  const [{ filename, files: listed }] = JSON.parse(packed.slice(packed.indexOf('[')));
  files = listed.map(({ path }) => path).sort();
  const folder = join(project, 'node_modules', NAME);
  mkdirSync(folder, { recursive: true });
  execFileSync('tar', ['-xzf', join(project, filename), '-C', folder, '--strip-components=1']);
});

const required = (entry = NAME) => createRequire(join(project, 'index.js'))(entry);

async function imported() {
  const file = join(project, 'imports.mjs');
  writeFileSync(file, `export * from '${NAME}';\nexport * from '${NAME}/uni-app';\nexport * from '${NAME}/taro';\n`);
  return import(pathToFileURL(file));
}

test('the package holds what it should, and depends on nothing', () => {
  const kinds = ['js', 'mjs', 'd.ts', 'd.mts'];
  const dist = ['menshen', 'taro', 'uni-app'].flatMap((name) => kinds.map((kind) => `dist/${name}.${kind}`));
  assert.deepEqual(files, [...dist, 'README.md', 'README.zh-CN.md', 'package.json'].sort());
  const manifest = JSON.parse(readFileSync(join(PACKAGE, 'package.json')));
  assert.equal(manifest.dependencies, undefined);
  assert.equal(manifest.peerDependencies, undefined);
});

for (const [system, load] of [
  ['require', required],
  ['import', imported],
]) {
  test(`the packed client logs in when loaded with ${system}`, async (t) => {
    const { createClient, isDenied } = await load();
    const menshen = await startMenshen(t);
    const answer = await createClient({ wx: menshen.phone(), baseUrl: menshen.base }).request({ url: '/orders' });
    assert.match(answer.data.openid, /^o/);
    assert.equal(isDenied({ errMsg: 'authorize:fail auth deny' }), true);
    assert.equal(isDenied({ errMsg: 'request:fail timeout' }), false);
    assert.equal(isDenied(undefined), false);
  });
}

test('minified, the client is at most 8 KB', async () => {
  const { minify } = requireTool('terser');
  for (const form of ['cjs', 'esm']) {
    const { code } = await minify(built('menshen')[form], { toplevel: true, module: form === 'esm', compress: { passes: 3 } });
    assert.ok(code.length <= 8 * KILOBYTE, `${form}: ${code.length} bytes`);
  }
});

test('the client asks for no newer JavaScript than phones have', () => {
  const { parse } = createRequire(createRequire(join(TOOLS, 'package.json')).resolve('terser'))('acorn');
  for (const name of ['menshen', 'uni-app', 'taro']) {
    parse(built(name).cjs, { ecmaVersion: 2018, sourceType: 'script' });
    parse(built(name).esm, { ecmaVersion: 2018, sourceType: 'module' });
  }
});

const CONSUMER = `
/// <reference types="miniprogram-api-typings" />
import { createClient, isDenied, type Client, type MenshenError } from '${NAME}';
import { uniPlatform } from '${NAME}/uni-app';
import { taroPlatform } from '${NAME}/taro';

interface Order { id: number }
const menshen: Client = createClient({ wx, baseUrl: 'https://api.example.com', app: 'shop', loginOnFirstRequest: true });
createClient({ wx: uniPlatform({}), baseUrl: '' });
createClient({ wx: taroPlatform({}), baseUrl: '', services: { orders: '/orders' } });

export async function use(): Promise<number> {
  const task = menshen.request<Order>({ url: '/orders/1', method: 'POST', data: { a: 1 }, success: ({ data }) => data.id.toFixed() });
  task.onChunkReceived(({ data }) => data.byteLength.toFixed());
  task.onHeadersReceived(({ header, statusCode }) => [header, statusCode]);
  task.abort();
  const { data, statusCode } = await task;
  const upload = menshen.uploadFile({ url: '/photos', filePath: 'a', name: 'photo' });
  upload.onProgressUpdate(({ totalBytesSent }) => totalBytesSent.toFixed());
  const text: string = (await upload).data;
  const path: string = (await menshen.downloadFile({ url: '/report' })).tempFilePath;
  const socket = menshen.connectSocket({ url: '/ws', protocols: ['chat'] });
  socket.onClose(({ code }) => code === 4401 && socket.send({ data: text + path }));
  const { socketTask } = await menshen.connectContainer({ path: '/ws', service: 'chat' });
  socketTask.close();
  await menshen.callContainer<Order>({ config: { env: 'prod' }, path: '/a', header: { 'X-WX-SERVICE': 'orders' } });
  const held: boolean = await menshen.checkSession();
  const token: string = await menshen.token();
  await menshen.login();
  if (!(await menshen.permission('scope.writePhotosAlbum', 'To save pictures.'))) return 0;
  await menshen.logout({ everywhere: held });
  try {
    await menshen.phoneNumber({ detail: { code: token } }, { url: '/phone' });
  } catch (reason) {
    const { error, retryAfter, requestId } = reason as MenshenError;
    if (!isDenied(reason as MenshenError)) return retryAfter ?? (error === 'wechat_busy' ? 1 : Number(requestId));
  }
  return data.id + statusCode;
}
`;

const WRONG = [
  ["createClient({ wx, baseUrl: 1 })", 'baseUrl'],
  ["createClient({ wx, baseUrl: '' }).request({ url: '/', method: 'PATCH' })", 'PATCH'],
  ["createClient({ wx, baseUrl: '' }).uploadFile({ url: '/', name: 'a' })", 'filePath'],
];

test('strict types take every call, and refuse wrong ones', () => {
  if (!existsSync(join(project, 'node_modules/miniprogram-api-typings'))) {
    symlinkSync(join(TOOLS, 'node_modules/miniprogram-api-typings'), join(project, 'node_modules/miniprogram-api-typings'));
  }
  writeFileSync(join(project, 'use.mts'), CONSUMER);
  writeFileSync(join(project, 'use.cts'), CONSUMER);
  const wrong = WRONG.map(([line]) => `// @ts-expect-error\n${line};\n`).join('');
  writeFileSync(join(project, 'wrong.mts'), `/// <reference types="miniprogram-api-typings" />\nimport { createClient } from '${NAME}';\n${wrong}`);
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({
    compilerOptions: { strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, noEmit: true, module: 'NodeNext', target: 'ES2020', lib: ['ES2020'], types: [], skipLibCheck: false },
    files: ['use.mts', 'use.cts', 'wrong.mts'],
  }));
  const compiler = join(TOOLS, 'node_modules/typescript/bin/tsc');
  try {
    execFileSync(process.execPath, [compiler, '--project', project], { encoding: 'utf8' });
  } catch (error) {
    assert.fail(error.stdout);
  }
});

test('the adapter for uni-app needs no more than uni gives', async (t) => {
  const { createClient, uniPlatform } = await imported();
  const menshen = await startMenshen(t);
  const wx = menshen.phone();
  // `uni` is a proxy whose members cannot be listed; its sockets come at once only to those who pass a callback.
  const uni = new Proxy({}, {
    ownKeys: () => [],
    get: (_, call) => {
      if (call === 'login') return (options) => (options.provider === 'weixin' ? wx.login(options) : options.fail({ errMsg: 'login:fail' }));
      if (call === 'connectSocket') return (options) => (options.complete ? wx.connectSocket(options) : Promise.resolve());
      return call === 'getRandomValues' ? undefined : wx[call];
    },
  });
  await usedAsUsual(createClient({ wx: uniPlatform(uni), baseUrl: menshen.base }), menshen);
});

test('the adapter for Taro leaves no rejection behind', async (t) => {
  const { createClient, taroPlatform } = await imported();
  const menshen = await startMenshen(t);
  const wx = menshen.phone();
  const Taro = { ...wx };
  for (const call of ['login', 'request', 'uploadFile', 'downloadFile', 'checkSession', 'getRandomValues']) {
    Taro[call] = (options) => {
      let task;
      const over = new Promise((resolve, reject) => {
        task = wx[call]({ ...options, success: (answer) => [options.success(answer), resolve(answer)], fail: (reason) => [options.fail(reason), reject(reason)] });
      });
      return Object.assign(over, task);
    };
  }
  Taro.connectSocket = async (options) => wx.connectSocket(options);
  const client = createClient({ wx: taroPlatform(Taro), baseUrl: menshen.base });
  await usedAsUsual(client, menshen);
  wx.offline = true;
  await assert.rejects(client.request({ url: '/orders' }), { error: 'unreachable' });
});

async function usedAsUsual(client, menshen) {
  const answer = await client.request({ url: '/orders' });
  assert.match(answer.data.openid, /^o/);
  await menshen.endSessions(answer.data.openid);
  const task = client.connectSocket({ url: '/echo' });
  await new Promise((resolve) => task.onOpen(resolve));
  const over = new Promise((resolve) => task.onClose(resolve));
  task.close();
  await over;
  assert.equal((await client.downloadFile({ url: '/report' })).statusCode, 200);
}

test("the demo's files are there, and its client is the built one", () => {
  const root = join(PACKAGE, 'demo/miniprogram');
  assert.equal(readFileSync(join(root, 'menshen.js'), 'utf8'), built('menshen').cjs, 'run node build.mjs');
  const settings = JSON.parse(readFileSync(join(PACKAGE, 'demo/project.config.json')));
  assert.deepEqual([settings.compileType, settings.miniprogramRoot, settings.setting.urlCheck], ['miniprogram', 'miniprogram/', false]);
  const app = JSON.parse(readFileSync(join(root, 'app.json')));
  assert.ok(existsSync(join(root, app.sitemapLocation)));
  for (const page of app.pages) {
    for (const kind of ['js', 'json', 'wxml']) assert.ok(existsSync(join(root, `${page}.${kind}`)), `${page}.${kind}`);
  }
});

test("each button of the demo's page does what it says, against a real Menshen", async (t) => {
  const menshen = await startMenshen(t);
  const phone = menshen.phone();
  const photo = join(phone.folder, 'photo.jpg');
  writeFileSync(photo, 'JPEG');
  phone.chooseMedia = ({ success }) => setImmediate(() => success({ tempFiles: [{ tempFilePath: photo }] }));
  phone.authorize = ({ success }) => setImmediate(() => success({ errMsg: 'authorize:ok' }));
  phone.login = () => assert.fail('the demo asks the simulator for codes');
  const { page, config } = demo(phone);
  Object.assign(config, { baseUrl: menshen.base, simulator: menshen.simulator, appid: APPID });
  const { handlers, shown } = page();
  const markup = readFileSync(join(PACKAGE, 'demo/miniprogram/pages/index/index.wxml'), 'utf8');
  const bound = [...markup.matchAll(/bind\w+="(\w+)"/g)].map(([, name]) => name);
  assert.deepEqual(bound, ['call', 'token', 'upload', 'check', 'phone', 'album', 'logout']);
  const does = async (name, event) => {
    await handlers[name](event);
    return shown();
  };
  assert.match(await does('call'), /"openid": "o/);
  assert.match(await does('token'), /^ey/);
  assert.match(await does('upload'), /"openid":"o/);
  assert.equal(await does('check'), 'true');
  assert.match(await does('phone', { detail: { code: 'c' } }), /"openid": "o/);
  assert.equal(await does('phone', { detail: { errMsg: 'getPhoneNumber:fail user deny' } }), 'You said no. Go on without it; the button asks again.');
  assert.equal(await does('album'), 'true');
  assert.equal(await does('logout'), 'logged out');
  phone.offline = true;
  assert.match(await does('call'), /^unreachable/);
});

test('the demo as it is logs in at `menshen dev`', async (t) => {
  const phone = createWx({ user: 'alice' });
  phone.login = () => assert.fail('the demo asks the simulator for codes');
  const { page, config } = demo(phone);
  assert.deepEqual([config.baseUrl, config.simulator], ['http://127.0.0.1:8080', 'http://127.0.0.1:8080']);
  // That port may be taken here.
  const address = await startDev(t);
  Object.assign(config, { baseUrl: address, simulator: address });
  const { handlers, shown } = page();
  await handlers.call();
  assert.match(shown(), /You are o/);
});

/** Loads the demo as the platform does: every file once, with App, Page and getApp around it. */
function demo(wx) {
  const root = join(PACKAGE, 'demo/miniprogram');
  const loaded = new Map();
  const state = {};
  const globals = { wx, console, setTimeout, clearTimeout, Promise, ArrayBuffer, Uint8Array, App: (app) => (state.app = app), Page: (page) => (state.page = page), getApp: () => state.app };
  const load = (file) => {
    if (!loaded.has(file)) {
      const module = { exports: {} };
      loaded.set(file, module);
      const names = ['module', 'require', ...Object.keys(globals)];
      const run = vm.compileFunction(readFileSync(file, 'utf8'), names, { filename: file });
      run(module, (other) => load(join(dirname(file), other)), ...Object.values(globals));
    }
    return loaded.get(file).exports;
  };
  return {
    config: load(join(root, 'config.js')),
    page() {
      load(join(root, 'app.js'));
      load(join(root, 'pages/index/index.js'));
      const { page } = state;
      page.setData = (data) => Object.assign(page.data, data);
      return { handlers: page, shown: () => page.data.shown };
    },
  };
}
