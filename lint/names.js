/** Names of files in kebab-case: parts of lower-case letters and digits, joined by dashes. */
import { filesBelow } from './program.js';

const FOLDERS = ['lib', 'hooks', 'test', 'bench', 'lint'];
/** `address.ts`, `exec-async.ts`, `xml.test.ts`, and programs without an extension. */
const KEBAB = /^[a-z0-9]+(-[a-z0-9]+)*(\.test)?(\.[a-z0-9]+)?$/;
const FOLDER = /^[a-z0-9]+(-[a-z0-9]+)*$/;
const ALLOWED = new Set(['README.md', '.gitignore']);
/**
 * Names of 0.1.0 that run words together. An entry goes when its file has its new name; the pattern cannot tell them.
 */
const RUN_TOGETHER = [
  'agentunit', 'attackfilter', 'attackflood', 'attackhost', 'attacktables', 'badhost', 'badinput', 'badnames',
  'closelook', 'cloudinit', 'errornames', 'eventnames', 'faketables', 'fakekernel', 'fakenft', 'fakeprint',
  'fakedaemon', 'fileset', 'filterconfig', 'filterfacts', 'filterwish', 'filterwords', 'filterxml', 'guesthost',
  'guestxml', 'hookcache', 'hookend', 'hookhealth', 'hookrun', 'hostconfig', 'installhost', 'intentedit', 'leftfiles',
  'madecheck', 'madelink', 'madestate', 'nftloss', 'nicconfig', 'nicstate', 'planlog', 'policyrules', 'portpolicy',
  'rawsocket', 'replayguest', 'routedhost', 'rtnames', 'serveconfig', 'serveplace', 'slowhost', 'takeback',
  'tooloutput', 'uplinkgarbage', 'wiredschema',
];

/**
 * Returns a sentence for each file or folder with another name.
 * @param {string} root
 * @returns {string[]}
 */
export function wrongNames(root) {
  const paths = FOLDERS.flatMap((folder) => filesBelow(root, folder));
  return paths.flatMap((path) => {
    const [file = '', ...folders] = path.split('/').reverse();
    const isRight = (KEBAB.test(file) || ALLOWED.has(file)) && folders.every((folder) => FOLDER.test(folder)) &&
      !RUN_TOGETHER.some((word) => file.startsWith(`${word}.`));
    return isRight ? [] : [`${path}: write the name in kebab-case, as in 'host-config.ts'`];
  });
}
