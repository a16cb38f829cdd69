// Proves that the English and the Chinese documents are the same: pages, sections, tables, snippets, and every name in them; and that
// pages about the code name files and versions that are there.

import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import vm from 'node:vm';
import { page, sections } from './keys.mjs';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const pages = (language) => readdirSync(join(ROOT, 'docs', language)).sort();
const PAIRS = [['README.md', 'README.zh-CN.md'], ...pages('en').map((page) => [`docs/en/${page}`, `docs/zh/${page}`])];

const text = (file) => readFileSync(join(ROOT, file), 'utf8');
const BLOCK = /^( *)```(\w*)\n([^]*?)^ *```$/gm;
const blocks = (file) => [...text(file).matchAll(BLOCK)].map(([, , language, code]) => ({ language, code }));
const prose = (file) => text(file).replace(BLOCK, '');

// Comments are for readers, and so is what a picture says.
const bare = ({ language, code }) => (language === '' ? '' : code.replace(/(^|\s)(#|\/\/) .*/g, '').replace(/ +$/gm, ''));

/** The lines that make a page's form: headings, rows of tables, items of lists. */
const form = (file) => prose(file).split('\n').map((line) => (line.match(/^(#+ |\||- |\d+\. )/) || [''])[0]).filter(Boolean);

/** Every name: codes, keys, commands, headers, endpoints, files. */
const names = (file) => [...prose(file).matchAll(/`([^`\n]+(?:\n[^`\n]+)?)`/g)].map(([, name]) => name.replace(/\s*\n\s*/g, ' ')).sort();

/** Where links lead, as seen from the page; those to the other language are made the same. */
const links = (file) =>
  [...prose(file).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, link]) => link.replace(/#.*/, '#').replace('README.zh-CN.md', 'README.md').replace('docs/zh/', 'docs/en/'))
    .filter((link) => link !== 'README.md')
    .sort();

test('both languages have the same pages', () => {
  assert.deepEqual(pages('zh'), pages('en'));
  for (const [english, chinese] of PAIRS) {
    for (const file of [english, chinese]) assert.match(text(file), /^# /, file);
  }
});

for (const [english, chinese] of PAIRS) {
  const same = (what, of) => test(`${chinese} has the ${what} of ${english}`, () => assert.deepEqual(of(chinese), of(english)));
  same('sections, tables and lists', form);
  same('snippets', (file) => blocks(file).map(bare));
  same('keys, codes, commands and other names', names);
  same('links', links);
}

test('docs/pingora.md is of the versions that are built', () => {
  const page = text('docs/pingora.md');
  const lock = text('Cargo.lock');
  const named = [...page.matchAll(/(pingora-core|^\| (?:h2|http|rustls|webpki)) (\d+(?:\.\d+)+)/gm)];
  assert.deepEqual([...new Set(named.map(([, name]) => name.replace('| ', '')))], ['pingora-core', 'h2', 'http', 'rustls', 'webpki']);
  for (const [, name, version] of named) {
    const crate = name.replace('| ', '').replace('webpki', 'rustls-webpki');
    const [, built] = lock.match(new RegExp(`name = "${crate}"\nversion = "([^"]+)"`));
    assert.equal(`${built}.`.startsWith(`${version}.`), true, `${crate} is ${built} now: look at each row, then name the new version`);
  }
});

for (const file of ['ARCHITECTURE.md', 'docs/exchange.md', 'docs/relay.md']) {
  test(`the files that ${file} draws are there`, () => {
    const drawn = blocks(file).filter(({ language }) => language === '');
    const paths = drawn.flatMap(({ code }) => code.split('\n'))
      .flatMap((line) => line.trim().split(/ {2,}/)[0].split(/[ ,→]+/))
      .filter((word) => /^[a-z0-9_]+\/[a-z0-9_/]*$/.test(word));
    for (const path of paths) {
      const there = ['src', 'src/server'].some((folder) => ['', '.rs'].some((end) => existsSync(join(ROOT, folder, path + end))));
      assert.equal(there, true, path);
    }
  });
}

/** The anchor of a heading, as GitHub makes it. */
const anchor = (heading) => heading.trim().toLowerCase().replace(/[^\p{Letter}\p{Number}\s_-]/gu, '').replace(/\s/g, '-');

for (const file of PAIRS.flat()) {
  test(`every link of ${file} leads somewhere`, () => {
    for (const [, link] of prose(file).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(link)) continue;
      const [path, wanted] = link.split('#');
      const target = path ? join(dirname(file), path) : file;
      let found;
      try {
        found = readdirSync(join(ROOT, target)) && '';
      } catch (reason) {
        if (reason.code !== 'ENOTDIR') throw new Error(`${link}: ${reason.code}`);
        found = text(target);
      }
      if (!wanted) continue;
      const anchors = [...found.matchAll(/^#+ (.*)$/gm)].map(([, heading]) => anchor(heading));
      assert.ok(anchors.includes(wanted), `${link}: ${anchors}`);
    }
  });
}

for (const [english] of PAIRS) {
  test(`every JavaScript of ${english} parses`, () => {
    const scripts = blocks(english).filter(({ language }) => language === 'js');
    scripts.forEach(({ code }) => new vm.Script(`async () => {${code}\n}`));
  });
}

test('every errcode of the troubleshooting page is told to clients as it says', () => {
  const source = text('src/wechat/errcode.rs').split('#[cfg(test)]')[0];
  const told = { CodeInvalid: 'code_invalid', CodeUsed: 'code_used', UserBlocked: 'user_blocked', Busy: 'wechat_busy', MinuteQuota: 'wechat_busy', DayQuota: 'wechat_busy' };
  const alone = Object.fromEntries([...source.matchAll(/^ +(-?\d+) => ErrcodeClass::(\w+)/gm)].map(([, errcode, kind]) => [errcode, told[kind]]));
  const [, operators] = source.split('matches!(');
  const within = (errcode) => [...operators.matchAll(/(\d+)(?:\.\.=(\d+))?/g)].some(([, first, last]) => errcode >= Number(first) && errcode <= Number(last || first));
  const rows = [...text('docs/en/troubleshooting.md').matchAll(/^\| (-?\d+[\d, -]*) \| \d+ `(\w+)`/gm)];
  assert.ok(rows.length > 10);
  for (const [, errcodes, error] of rows) {
    for (const errcode of errcodes.split(', ')) assert.equal(alone[errcode] || (within(Number(errcode)) && 'wechat_misconfigured'), error, errcode);
  }
});

test("the capacity that is promised is the benchmarks' limit", () => {
  const [, part] = text('docs/en/production.md').split('## Capacity');
  const limits = [...part.split('\n## ')[0].matchAll(/^\| .* \| ([\d,]+(?: \S+)?) \|$/gm)].map(([, limit]) => limit);
  assert.equal(limits.length, 6);
  const figures = text('benches/README.md');
  limits.forEach((limit) => assert.ok(new RegExp(`\\| ${limit} \\|`).test(figures), limit));
});

test('the page of keys says what the program says, in both languages', () => {
  assert.equal(text('docs/en/keys.md'), page(), 'run node tests/keys.mjs > docs/en/keys.md');
  const rows = [...text('docs/zh/keys.md').matchAll(/^\| `([a-z_.]+)` \| (.*?) \| \S.* \|$/gm)].map(([, path, shown]) => [path, shown]);
  assert.deepEqual(rows, sections().flatMap(({ keys }) => keys.map(({ path, shown }) => [path, shown])));
});

// What a Chinese page should not have: half-width punctuation behind a Chinese character, or one that touches Latin letters.
for (const [, file] of PAIRS) {
  test(`${file} is set as Chinese is`, () => {
    const plain = prose(file).replace(/`[^`]*`/g, 'x').replace(/\]\([^)]*\)/g, ']');
    const touching = [...plain.matchAll(/\p{Script=Han}[,;:?!]|\p{Script=Han}[A-Za-z0-9]|[A-Za-z0-9]\p{Script=Han}/gu)];
    const around = touching.map(({ index }) => plain.slice(Math.max(0, index - 12), index + 12));
    assert.deepEqual(around, []);
  });
}
