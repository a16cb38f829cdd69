// Proves that both READMEs say the same: their snippets parse and are equal but for comments, and name the same things.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';
import { PACKAGE, TOOLS } from './support/tools.mjs';

const LANGUAGES = ['README.md', 'README.zh-CN.md'];

const { parse } = createRequire(createRequire(join(TOOLS, 'package.json')).resolve('terser'))('acorn');
const text = (file) => readFileSync(join(PACKAGE, file), 'utf8');
const blocks = (file) => [...text(file).matchAll(/```(\w+)\n([^]*?)```/g)].map(([, language, code]) => ({ language, code }));
const bare = ({ code }) => code.replace(/(\/\/|#).*/g, '').trim();

for (const file of LANGUAGES) {
  test(`every snippet of ${file} parses`, () => {
    const snippets = blocks(file).filter(({ language }) => language === 'js');
    assert.ok(snippets.length > 5);
    snippets.forEach(({ code }) => parse(code, { ecmaVersion: 2022, sourceType: 'module' }));
  });
}

test('both languages show the same snippets', () => {
  const [english, chinese] = LANGUAGES.map((file) => blocks(file).map(bare));
  assert.deepEqual(chinese, english);
});

test('both languages name the same calls, options, codes and files', () => {
  const named = (file) => [...new Set([...text(file).replace(/```[^]*?```/g, '').matchAll(/`([^`]+)`|\]\(([^)]+)\)/g)].map(([, code, link]) => code || link))];
  const own = (names) => names.filter((name) => !LANGUAGES.includes(name)).sort();
  const [english, chinese] = LANGUAGES.map((file) => own(named(file)));
  assert.deepEqual(chinese, english);
});

test('both languages have as many sections and table rows', () => {
  const shape = (file) => text(file).split('\n').filter((line) => /^(#|\||- )/.test(line)).map((line) => line.match(/^(#+|\||-)/)[0]);
  assert.deepEqual(shape(LANGUAGES[1]), shape(LANGUAGES[0]));
});

test('the calls of the README are those that the client has', async () => {
  const { createClient } = await import('../src/client.mjs');
  const client = createClient({ wx: { getStorageSync: () => '' }, baseUrl: 'https://a.test' });
  const [, calls] = text('README.md').split('## Calls\n');
  const listed = calls.split('\n').filter((line) => line.startsWith('| `')).flatMap((line) => [...line.split('|')[1].matchAll(/`(\w+)\(/g)].map(([, name]) => name));
  assert.deepEqual(listed.sort(), Object.keys(client).sort());
});
