/**
 * Entry point of dist/hook.cjs: reads what libvirt gives and ends with what libvirt understands. The launcher
 * (hooks/qemu) has already let go the guests and operations that need no work.
 */
import { readSync } from 'node:fs';
import { exec } from '../lib/exec.js';
import { runHook } from '../lib/hook.js';
import { settingsFrom } from '../lib/settings.js';
import { MOST_XML } from '../lib/xml.js';

const [, , guest = '', operation = ''] = process.argv;

void runHook({ guest, operation, stdin: readStdin(), settings: settingsFrom(process.env), exec }).then((result) => {
  if (result.stderr !== '') process.stderr.write(result.stderr);
  // Not waited for: node takes its heap apart.
  process.exit(result.exitCode);
});

/** Reads one byte more than is allowed, so that the parser sees that it is too much. */
function readStdin(): Uint8Array {
  // Not filled with zeros: of 4 MiB a few pages are ever touched.
  const buffer = Buffer.allocUnsafe(MOST_XML + 1);
  let size = 0;
  while (size < buffer.length) {
    const read = readSync(0, buffer, size, buffer.length - size, null);
    if (read === 0) break;
    size += read;
  }
  return buffer.subarray(0, size);
}
