#!/usr/bin/env node
/** What starts first: it answers `--version` and `--help` by itself, and loads the program for the rest. */
import { fstatSync, writeSync } from 'node:fs';
import { version } from '../package.json';

const [flag, ...others] = process.argv.slice(2);
const isAlone = others.length === 0;

if (isAlone && (flag === '--version' || flag === '-V')) {
  // Not through process.stdout, which takes longer to open than all the rest.
  writeSync(1, `${version}\n`);
} else if (isAlone && (flag === '--help' || flag === '-h') && !fstatSync(1).isCharacterDevice()) {
  // A terminal may want the lines broken; the program does that. Whether it is one, node:tty would take longer to say.
  void import('./help-text.ts').then(({ helpText }) => writeSync(1, helpText));
} else {
  void import('./program.ts').then(({ run }) => run());
}
