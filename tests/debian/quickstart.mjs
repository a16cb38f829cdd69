// What a reader of the quick start has beside a shell: a browser, a backend, WeChat's developer tools; and a front with the certificate of
// api.weixin.qq.com before the simulator. tests/debian/quickstart.sh calls it; nothing but Node and Chromium is needed.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import vm from 'node:vm';

const PATIENCE_MS = 30_000;

// Answers with what it was asked, as a backend of one's own would.
function backend(port) {
  const server = http.createServer((request, response) => {
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify({ path: request.url, ...Object.fromEntries(Object.entries(request.headers).sort()) }));
  });
  server.listen(port, '127.0.0.1', () => console.log('listens'));
}

// Passes on what comes over TLS.
function front(host, folder, to) {
  const [name, port] = to.split(':');
  const [cert, key] = ['cert.pem', 'key.pem'].map((file) => readFileSync(join(folder, file)));
  const server = tls.createServer({ cert, key }, (client) => {
    const behind = connect(Number(port), name);
    client.pipe(behind).pipe(client);
    for (const socket of [client, behind]) socket.on('error', () => (client.destroy(), behind.destroy()));
  });
  server.listen(443, host, () => console.log('listens'));
}

// Runs a program of a mini-program, with a `wx` that has a code and asks as WeChat's client does: what has a status is a success.
function miniProgram(file, code) {
  const wx = {
    login: ({ success }) => setImmediate(success, { code }),
    request: ({ url, method = 'GET', data, header, success, fail }) => {
      fetch(url, { method, headers: header, body: data && JSON.stringify(data) }).then(
        async (reply) => {
          const text = await reply.text();
          let parsed = text;
          try {
            parsed = JSON.parse(text);
          } catch {
            // Anything but JSON is given as it is.
          }
          success({ statusCode: reply.status, data: parsed });
        },
        (reason) => fail({ errMsg: String(reason) }),
      );
    },
  };
  vm.runInNewContext(readFileSync(file, 'utf8'), { wx, console });
}

// A page of headless Chromium, driven over a pipe.
class Page {
  static async open(url, language) {
    const page = new Page();
    page.profile = mkdtempSync(join(tmpdir(), 'quickstart-'));
    const options = ['--headless', '--no-sandbox', '--disable-gpu', `--lang=${language}`, `--accept-lang=${language}`];
    page.browser = spawn('chromium', [...options, `--user-data-dir=${page.profile}`, '--no-proxy-server', '--remote-debugging-pipe', 'about:blank'], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    });
    page.waiting = new Map();
    let rest = '';
    page.browser.stdio[4].on('data', (bytes) => {
      const messages = (rest + bytes).split('\0');
      rest = messages.pop();
      for (const message of messages.map((text) => JSON.parse(text))) {
        page.waiting.get(message.id)?.(message);
        page.waiting.delete(message.id);
      }
    });
    const { targetInfos } = (await page.call('Target.getTargets', {})).result;
    const { targetId } = targetInfos.find(({ type }) => type === 'page');
    page.session = (await page.call('Target.attachToTarget', { targetId, flatten: true })).result.sessionId;
    await page.call('Page.navigate', { url });
    await page.until(`location.href === ${JSON.stringify(url)} && document.readyState === 'complete'`);
    return page;
  }

  call(method, params) {
    const id = (this.sent = (this.sent ?? 0) + 1);
    this.browser.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId: this.session })}\0`);
    return new Promise((done) => this.waiting.set(id, done));
  }

  async evaluate(expression) {
    const { result } = await this.call('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
    if (result.exceptionDetails) throw new Error(`${expression}: ${result.exceptionDetails.text}`);
    return result.result.value;
  }

  async until(expression) {
    const end = Date.now() + PATIENCE_MS;
    while (!(await this.evaluate(expression))) {
      if (Date.now() > end) throw new Error(`this does not come about: ${expression}\n${await this.evaluate('document.body.innerText')}`);
    }
  }

  close() {
    this.browser.kill('SIGKILL');
    this.browser.once('exit', () => rmSync(this.profile, { recursive: true, force: true, maxRetries: 5 }));
  }
}

// Clicks what the page names, in its order, and looks at what each does.
async function playground(url, language, buttons) {
  const page = await Page.open(url, language === 'zh' ? 'zh-CN' : 'en-US');
  const latest = "(document.querySelector('#log article')?.innerText ?? '')";
  const shows = (text) => page.until(`${latest}.includes(${JSON.stringify(text)})`);
  const click = async (name) => {
    const button = `[...document.querySelectorAll('button')].find((button) => button.innerText === ${JSON.stringify(name)})`;
    await page.until(`${button} && !${button}.disabled`);
    await page.evaluate(`void ${button}.click()`);
  };
  const [getCode, logIn, call, webSocket, refresh, asked, logOut] = buttons;
  const steps = [
    [getCode, '/_sim/login → 200'],
    [logIn, '/_auth/login → 200'],
    [call, '"x-wx-openid"'],
    [webSocket, 'hello at'],
    [refresh, '/_auth/refresh → 200'],
    [asked, '/sns/jscode2session'],
  ];
  for (const [name, text] of steps) {
    await click(name);
    await shows(text);
    console.log(`${name}: ${text}`);
    if (name === call) await forged(page, click, call, latest);
  }
  await click(logOut);
  await page.until("document.getElementById('log').innerText.includes('4401')");
  console.log(`${logOut}: 4401`);
  page.close();
}

async function forged(page, click, call, latest) {
  const shown = await page.evaluate(latest);
  if (/authorization|Bearer/i.test(shown)) throw new Error(`the backend got the token: ${shown}`);
  await page.evaluate("void (document.getElementById('forge').checked = true, document.querySelector('#log').replaceChildren())");
  await click(call);
  await page.until(`${latest}.includes('"x-wx-openid"')`);
  if ((await page.evaluate(latest)).includes('forged')) throw new Error('the backend got the forged header');
}

const [what, ...rest] = process.argv.slice(2);
if (what === 'backend') backend(Number(rest[0]));
if (what === 'front') front(...rest);
if (what === 'mini-program') miniProgram(...rest);
if (what === 'playground') await playground(rest[0], rest[1], rest.slice(2));
