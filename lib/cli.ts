#!/usr/bin/env node
/** The `guestwire` command, of which cli/main.ts is all: the build makes that one file, because loading hundreds takes longer than most commands. */
import { main, mindStreams, processIo } from './cli/main.js';

mindStreams();
process.exitCode = await main(process.argv.slice(2), processIo());
