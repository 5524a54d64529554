/** What the text of a rejected config still tells: which guests it may concern. */

/**
 * Returns whether a rejected config may mention one of `names`: a guest's name, its MACs, its networks.
 * Errs towards yes: escapes may spell anything, and a name counts wherever it stands alone. Only lines that are wholly
 * comment are passed over, for in a broken text a later '#' may belong to a name.
 */
export function configMentions(text: string, names: readonly string[]): boolean {
  const lines = text.split('\n').filter((line) => !/^\s*#/.test(line)).join('\n');
  if (/\\[uUx]|\0/.test(lines)) return true;
  return names.some((name) =>
    maySpell(lines, name) || holdsWord(lines, name) || holdsWord(lines.toLowerCase(), name.toLowerCase()));
}

/**
 * Returns whether a config that cannot be believed may decide about a guest that says nothing itself: a table has the
 * name of one of its bridges and a word about such NICs, or a name with a `{vid}` that fits. `hasVlan`: libvirt's own
 * `<vlan>` speaks for the guest, and then every table of its bridge counts.
 */
export function configMayDecide(text: string, bridges: readonly string[], hasVlan: boolean): boolean {
  const lines = text.split('\n').filter((line) => !/^\s*#/.test(line));
  const tables = lines.join('\n').split(/\n(?=\s*\[)/);
  return bridges.some((bridge) => bridge !== '' &&
    tables.some((table) => hasPattern(table, bridge) ||
      (hasName(table, bridge) && (hasVlan || DECIDING.some((word) => hasName(table, word))))));
}

/** Words of `[bridge.NAME]` that decide about NICs without a `<vlan>`. */
const DECIDING = ['vid', 'vlan', 'undeclared'];

function hasName(table: string, word: string): boolean {
  const exactly = word.replace(/[.+]/g, '\\$&');
  return /^[A-Za-z0-9_.+-]+$/.test(word) && new RegExp(`(?<![A-Za-z0-9_}-])${exactly}(?![A-Za-z0-9_{}-])`).test(table);
}

function hasPattern(table: string, bridge: string): boolean {
  return [...table.matchAll(/([A-Za-z0-9_.+-]*)\{vid\}([A-Za-z0-9_.+-]*)/g)].some(([, start = '', end = '']) =>
    bridge.startsWith(start) &&
      bridge.endsWith(end) &&
      /^[1-9][0-9]*$/.test(bridge.slice(start.length, bridge.length - end.length)));
}

/** TOML writes quotes, backslashes and control characters as escapes; bytes that are no UTF-8 may be any letter. */
function maySpell(text: string, name: string): boolean {
  return (/["\\\p{Cc}]/u.test(name) && text.includes('\\')) || (/[^\0-\x7f]/.test(name) && text.includes('\ufffd'));
}

/** A key ends where a bare key must end, or at its quotes: 'web1' is not in '[guest.web10]'. */
function holdsWord(text: string, word: string): boolean {
  for (let start = text.indexOf(word); start !== -1 && word !== ''; start = text.indexOf(word, start + 1)) {
    const [before, after] = [text.charAt(start - 1), text.charAt(start + word.length)];
    if (!/[A-Za-z0-9_-]/.test(before + after)) return true;
  }
  return false;
}
