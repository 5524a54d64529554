#!/usr/bin/env node
/**
 * The `guestwire` command, of which cli/main.ts is all: the build makes that one file, because loading hundreds takes
 * longer than most commands. An older Node stops at words of cli/main.ts that it does not know, and prints where: so
 * this file asks for the version first.
 */
import { nodeFault } from './install/node-version.js';

const fault = nodeFault(process.version);
if (fault === undefined) void run();
else {
  process.stderr.write(`guestwire: '${process.execPath}' is version '${process.version}', and guestwire ${fault}\n`);
  process.exitCode = 1;
}

async function run(): Promise<void> {
  const { main, mindStreams, processIo } = await import('./cli/main.js');
  mindStreams();
  process.exitCode = await main(process.argv.slice(2), processIo());
}
