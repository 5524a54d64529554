// @tier kernel
/** The examples of README.md as a newcomer copies them: its host config, and its guests under it. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from '@jest/globals';
import { deriveAttachments } from '../../lib/attachments/derive.js';
import { loadConfig } from '../../lib/config/file.js';
import { parseDomain } from '../../lib/domain/domain.js';
import { testWith } from '../places/capability.js';

const TEXT = readFileSync('README.md', 'utf8');
const blocks = (language: string): string[] =>
  [...TEXT.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map(([, text = '']) => text);

// A config must be root's.
testWith('root')('the guests of README.md may have what they ask for under its host config', () => {
  const dir = mkdtempSync(join(tmpdir(), 'guestwire-readme-'));
  try {
    const [config = ''] = blocks('toml');
    writeFileSync(join(dir, 'config.toml'), config, { mode: 0o600 });
    const [routed = '', port = ''] = blocks('xml');
    // Dots stand for what is left out.
    const guests = [`${routed.replace('  ...\n', '<devices>')}</devices></domain>`, `<domain><name>fw2</name><metadata>${port.replace('  ...\n', '</metadata><devices>')}</devices></domain>`];
    const kinds = guests.map((xml) =>
      deriveAttachments(parseDomain(xml), loadConfig(join(dir, 'config.toml'))).map(({ kind }) => kind));
    expect(kinds).toEqual([['routed-link'], ['vlan-port']]);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
