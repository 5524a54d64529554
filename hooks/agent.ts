/** Entry point of dist/agent.mjs: `guestwire agent` as one file, for guestwire-agent.service. */
import { agent } from '../lib/cli/agent.js';
import { settingsFrom } from '../lib/config/paths.js';
import { GuestwireError } from '../lib/errors.js';
import { forOneRun } from '../lib/guests/io.js';
import { execAsync } from '../lib/system/exec-async.js';

const say = (text: string): void => { process.stdout.write(`${text}\n`); };
const warn = (text: string): void => { process.stderr.write(`guestwire: ${text}\n`); };

try {
  const io = forOneRun({ print: say, warn, settings: settingsFrom(process.env), exec: execAsync });
  process.exitCode = await agent.run(process.argv.slice(2), io);
} catch (error) {
  if (!(error instanceof GuestwireError)) throw error;
  warn(error.message);
  process.exitCode = 1;
}
