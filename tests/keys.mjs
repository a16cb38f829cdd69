// Makes docs/en/keys.md from `menshen schema`, in the order of conf/menshen.toml: node tests/keys.mjs > docs/en/keys.md

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { menshenProgram } from '../clients/mini-program/tests/support/tools.mjs';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const HEAD = `# Every configuration key

Made from the code that reads them: \`node tests/keys.mjs\` writes this page, and a test compares it. A key without a default is off, or
required where that is said. Durations and sizes have a unit: \`"30s"\`, \`"2h"\`, \`"30d"\`, \`"16KiB"\`. Secrets come from a file or a
named environment variable. A relative path begins at the configuration file's folder.
`;

/** Returns the keys in the order of the commented configuration, as { path, default, about }, by section. */
export function sections() {
  const schema = JSON.parse(execFileSync(menshenProgram(), ['schema'], { encoding: 'utf8' }));
  const order = paths();
  // Of sections that are shown on one line, the line's place counts.
  const at = (path) => (order.includes(path) || !path.includes('.') ? order.indexOf(path) : at(path.replace(/\.[^.]*$/, '')));
  const found = [];
  walk(schema, '', found);
  found.sort((one, other) => at(one.section) - at(other.section));
  found.forEach(({ keys }) => keys.sort((one, other) => at(one.path) - at(other.path)));
  return found;
}

/** Returns the whole page. */
export function page() {
  const part = ({ section, about, keys }) => {
    const rows = keys.map(({ path, shown, about }) => `| \`${path}\` | ${shown} | ${cell(about)} |`);
    return `\n## \`[${section}]\`\n\n${cell(about)}\n\n| key | default | what it is |\n|---|---|---|\n${rows.join('\n')}\n`;
  };
  return HEAD + sections().map(part).join('');
}

// Tables of `tls`, `health`, `cors` and certificates are listed with the section that they are part of.
function walk(schema, section, found, into) {
  const { properties } = schema.items || schema;
  for (const [name, value] of Object.entries(properties)) {
    const path = section ? `${section}.${name}` : name;
    const inner = (value.items || value).properties;
    if (inner && (!section || path === 'headers.rename')) {
      const keys = [];
      found.push({ section: path, about: value.description, keys });
      walk(value, path, found, keys);
    } else if (inner) {
      walk(value, path, found, into);
    } else {
      into.push({ path, shown: shown(value.default), about: value.description });
    }
  }
}

function shown(value) {
  if (value === undefined) return '';
  const text = Array.isArray(value) ? `[${value.map((item) => JSON.stringify(item)).join(', ')}]` : JSON.stringify(value);
  return `\`${text}\``;
}

// What a comment says of the form is enough; the schema's own words follow where they add something.
function cell(about) {
  return about.replace(/[*|<]/g, (sign) => `\\${sign}`);
}

function paths() {
  const found = [];
  let section = '';
  for (const line of readFileSync(join(ROOT, 'conf/menshen.toml'), 'utf8').split('\n')) {
    const heading = line.match(/^\[+([^\]]+)\]/);
    const key = line.match(/^(?:# )?([a-z_.]+) = /);
    if (heading) found.push((section = heading[1]));
    else if (key) found.push(`${section}.${key[1]}`);
  }
  return found;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.stdout.write(page());
