/**
 * Values in messages: single quotes, and nothing that could break a line, a terminal or a log. libvirt and users
 * choose guest names freely, so a name may hold quotes, newlines or escape sequences.
 */

const LONGEST = 200;

/** Returns `value` in single quotes, control characters and quotes escaped, cut after 200 characters. */
export function quote(value: string): string {
  return `'${harmless(cut(value).replace(/[\\']/g, '\\$&'))}'`;
}

/** Returns `value` for where nothing stands around it: only control characters are escaped, and it is cut, too. */
export function unquoted(value: string): string {
  return harmless(cut(value));
}

/** Returns a path below /proc/sys as sysctl(8) takes it; a dot in the name of a link is a slash there. */
export function sysctlName(path: string): string {
  return path.split('/').map((part) => part.replaceAll('.', '/')).join('.');
}

/** Returns a name as one word of a shell. */
export function shellWord(name: string): string {
  return /^[\w@%+=:,./-]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`;
}

/** Returns tool output as one line, for use at the end of a message. */
export function oneLine(text: string): string {
  return text.trim().replace(/\s+/g, ' ').replace(/\p{C}/gu, escapeCodePoint);
}

/** Returns why a system call failed, as 'EROFS: read-only file system': Node adds the call and the path to it. */
export function systemReason(error: unknown): string {
  return oneLine((error as Error).message.split(',', 1)[0] ?? '');
}

/**
 * Returns a sentence for an error that guestwire does not throw on purpose, on one line. Node's own errors of system
 * calls ('EMFILE: too many open files, open ...') are the host's affair; any other error is a bug and comes with its
 * stack.
 */
export function bugReport(error: unknown): string {
  const { stack, message } = error instanceof Error ? error : new Error(String(error));
  if (error instanceof Error && 'errno' in error && 'syscall' in error) {
    return `the system refused a call: ${oneLine(message)}`;
  }
  return `this is a bug in guestwire, please report it: ${oneLine(stack ?? message)}`;
}

function harmless(text: string): string {
  return text.replace(/[\p{C}\u2028\u2029]/gu, escapeCodePoint);
}

function cut(value: string): string {
  return value.length > LONGEST ? shortened(value) : value;
}

function shortened(value: string): string {
  // Whole characters: half of a surrogate pair would show as an escape that is not in the value.
  const characters = Array.from(value.slice(0, 2 * LONGEST + 2));
  return characters.length > LONGEST ? `${characters.slice(0, LONGEST).join('')}...` : value;
}

function escapeCodePoint(character: string): string {
  if (character === '\n') return '\\n';
  if (character === '\t') return '\\t';
  return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
}
