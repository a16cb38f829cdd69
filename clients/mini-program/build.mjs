// Makes the one file of each kind that is shipped from the modules in src/: CommonJS, an ES module, and the demo's copy.
// It needs nothing but Node, since the modules are written to be put one behind the other.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const CLIENT = ['answers', 'platform', 'session', 'task', 'calls', 'socket', 'client'];

/** What each entry is made of, and what it gives. */
const ENTRIES = {
  menshen: { modules: CLIENT, gives: ['createClient', 'isDenied'] },
  'uni-app': { modules: ['uni-app'], gives: ['uniPlatform'] },
  taro: { modules: ['taro'], gives: ['taroPlatform'] },
};

/** Returns the text of an entry in both forms. */
export function built(name) {
  const { modules, gives } = ENTRIES[name];
  const text = modules.map((module) => withoutImports(readFileSync(join(here, 'src', `${module}.mjs`), 'utf8'))).join('\n');
  const head = '// Made from src/ by build.mjs.\n';
  return {
    cjs: `${head}'use strict';\n\n${text}\nmodule.exports = { ${gives.join(', ')} };\n`,
    esm: `${head}${text}\nexport { ${gives.join(', ')} };\n`,
  };
}

function withoutImports(text) {
  return text.replace(/^import .*\n/gm, '').replace(/^export /gm, '').replace(/\n{3,}/g, '\n\n');
}

function write(folder) {
  mkdirSync(folder, { recursive: true });
  for (const name of Object.keys(ENTRIES)) {
    const { cjs, esm } = built(name);
    writeFileSync(join(folder, `${name}.js`), cjs);
    writeFileSync(join(folder, `${name}.mjs`), esm);
    // Whoever imports the ES module looks for types of its own.
    const types = readFileSync(join(here, 'src', `${name}.d.ts`), 'utf8');
    writeFileSync(join(folder, `${name}.d.ts`), types);
    writeFileSync(join(folder, `${name}.d.mts`), types.replace("'./menshen'", "'./menshen.mjs'"));
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  write(join(here, 'dist'));
  writeFileSync(join(here, 'demo', 'miniprogram', 'menshen.js'), built('menshen').cjs);
}
