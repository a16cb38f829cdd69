// Finds what the tests need: the program under test, and the packages that tests/setup.sh installs.

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const PACKAGE = join(dirname(fileURLToPath(import.meta.url)), '../..');
const ROOT = join(PACKAGE, '../..');

export const TOOLS = join(ROOT, 'target/test-backends/mini-program');

/** Requires a package that only the tests need. */
export const requireTool = createRequire(join(TOOLS, 'package.json'));

/** Returns the path of the built program. */
export function menshenProgram() {
  const target = process.env.CARGO_TARGET_DIR || join(ROOT, 'target');
  const program = process.env.MENSHEN || join(target, 'debug/menshen');
  if (!existsSync(program)) throw new Error(`${program} is missing: run cargo build --bin menshen, or make test`);
  return program;
}
