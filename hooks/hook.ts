/**
 * Entry point of dist/hook.cjs: reads what libvirt gives and ends with what libvirt understands. The launcher
 * (hooks/qemu) has already let go the guests and operations that need no work.
 */
import { readSync, writeSync } from 'node:fs';
import { settingsFrom } from '../lib/config/paths.js';
import { MOST_XML } from '../lib/domain/xml.js';
import { runHook } from '../lib/hook/contract.js';
import { exec } from '../lib/system/exec.js';

/** Exit status for an XML that did not come whole; the launcher has it, and says what becomes of the guest. */
const INCOMPLETE = 4;

const [, , guest = '', operation = ''] = process.argv;

const stdin = readStdin();
const { GUESTWIRE_XML_LENGTH: length } = process.env;
// The whole XML says what a start needs.
if (length !== undefined && Number(length) !== stdin.length) process.exit(INCOMPLETE);

void runHook({ guest, operation, stdin, settings: settingsFrom(process.env), exec }).then((result) => {
  tell(result.stderr);
  // Not waited for: node takes its heap apart.
  process.exit(result.exitCode);
});

/**
 * Writes the whole text before the process ends: process.stderr defers what a pipe has no room for (64 KiB), and the
 * process ends before that.
 */
function tell(text: string): void {
  try {
    if (text !== '') writeSync(2, text);
  } catch {
    // The reader is gone. The status counts: with node's own, 1, the guest would start.
  }
}

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
