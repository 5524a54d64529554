// Whom guests on VLAN ports meet: guests are namespaces behind ports of a bridge that the real hook wires, connections
// are real, and what `guestwire explain` says of each is compared with what becomes of it.
// test/kernel-real/policy.test.ts is the same for routed links.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { addBridge, addPort, hook, ok, readText, run, sh, waitFor } from './lab.js';
import { checks, test } from './testing.js';

const { createJournal, decide, parseAddress } = /** @type {typeof import('../../../lib/index.js')} */ (
  /** @type {unknown} */ (await import('../../../dist/index.js')));

const here = fileURLToPath(new URL('.', import.meta.url));
const FLOWS = join(here, 'flows.py');
/** @param {string[]} args */
const guestwire = (...args) => run('node', [join(here, '../../../dist/cli.js'), ...args]);

const VLAN_10 = '<gw:tag id="10"/>';
const TRUNK = '<gw:tag id="10" nativeMode="untagged"/><gw:tag id="20"/>';

/** VLANs, and what is said beside them; `web` says nothing. @type {Record<string, {vlan: string, words: string}>} */
const GUESTS = {
  web: { vlan: VLAN_10, words: '' },
  db: { vlan: VLAN_10, words: '<gw:allow direction="in" proto="tcp" port="443" from="guest:web"/><gw:allow direction="in" proto="tcp" port="22" from="group:admins,10.0.0.100"/><gw:allow direction="in" proto="udp" port="7" from="10.0.0.101,2001:db8:a::65"/>' },
  iso: { vlan: VLAN_10, words: '<gw:policy profile="isolated"/><gw:group name="admins"/>' },
  shut: { vlan: VLAN_10, words: '<gw:policy profile="closed"/>' },
  bound: { vlan: VLAN_10, words: '<gw:allow direction="out" proto="tcp" port="443" to="guest:web,10.0.0.100"/><gw:allow direction="out" proto="tcp" port="22" to="10.0.0.101"/>' },
  both: { vlan: VLAN_10, words: '<gw:allow direction="in" proto="tcp" port="22" from="guest:web"/><gw:allow direction="out" proto="tcp" port="22" to="guest:shut"/>' },
  trunk: { vlan: TRUNK, words: '<gw:policy profile="isolated"/>' },
  far: { vlan: '<gw:tag id="20"/>', words: '<gw:policy profile="open"/>' },
};
const NAMES = Object.keys(GUESTS);
/** Behind the uplink, and the host itself. @type {Record<string, number | undefined>} */
const OTHERS = { world: 100, host: 101 };
/** @param {string} who */
const numberOf = (who) => OTHERS[who] ?? NAMES.indexOf(who) + 1;
/** @param {string} who */
const addressOf = (who) => `10.0.${who === 'far' ? 20 : 0}.${numberOf(who)}`;
/** @param {string} who */
const address6Of = (who) => `2001:db8:${who === 'far' ? 'b' : 'a'}::${numberOf(who).toString(16)}`;
/** @param {string} name */
const macOf = (name) => `52:54:00:aa:bb:0${numberOf(name)}`;

/** @param {string} name */
function xmlOf(name) {
  const { vlan = '', words = '' } = GUESTS[name] ?? {};
  const own = [addressOf(name), address6Of(name), ...(name === 'trunk' ? ['10.0.20.7'] : [])]
    .map((address) => `<gw:ip address='${address}'/>`)
    .join('');
  return `<domain type='kvm'><name>${name}</name><uuid>4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c0${numberOf(name)}</uuid><metadata><gw:guestwire xmlns:gw='urn:guestwire:1'>`
    + `<gw:interface mac='${macOf(name)}'><gw:vlan${vlan === TRUNK ? " trunk='yes'" : ''}>${vlan}</gw:vlan>${own}${words}</gw:interface></gw:guestwire></metadata>`
    + `<devices><interface type='bridge'><mac address='${macOf(name)}'/><source bridge='br0'/><target dev='p-${name}'/></interface></devices></domain>`;
}

/** @param {string} who @param {string[]} args */
const inside = (who, ...args) => [...(who === 'host' ? [] : ['ip', 'netns', 'exec', who]), 'python3', FLOWS, ...args];
/** @param {string} who @param {string[]} args */
const flows = (who, ...args) =>
  ok(inside(who, ...args)[0] ?? '', inside(who, ...args).slice(1)).then((text) => text.trim());

/** @type {import('node:child_process').ChildProcess[]} */
const servers = [];

/**
 * Starts what stays, and resolves when it is ready to what it has said since.
 * @param {string} who
 * @param {string[]} args
 */
async function start(who, ...args) {
  const [file = '', ...rest] = inside(who, ...args);
  const child = spawn(file, rest);
  servers.push(child);
  const said = { text: '' };
  child.stdout.setEncoding('utf8').on('data', (/** @type {string} */ text) => (said.text += text));
  await waitFor(() => said.text.startsWith('ready'), { what: `${args.join(' ')} in ${who}` });
  return said;
}

/** @param {string} name @param {string[]} vids */
async function addEnd(name, vids) {
  await addPort(`p-${name}`, { netns: name, vids });
  const mac = name in GUESTS ? `ip -n ${name} link set eth0 address ${macOf(name)}` : '';
  await sh(`ip netns exec ${name} sh -c 'echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad'
    ${mac}
    ip -n ${name} addr add ${addressOf(name)}/24 dev eth0; ip -n ${name} addr add ${address6Of(name)}/64 dev eth0 nodad`);
}

/** Other tests want the host's links silent. */
const IPV6 = ['all', 'default'].map((which) => `net.ipv6.conf.${which}.disable_ipv6`);
let settings = '';

async function build() {
  settings = await ok('sysctl', IPV6);
  await ok('sysctl', ['-qw', ...IPV6.map((name) => `${name}=0`)]);
  await addBridge({ pvid: 0 });
  for (const name of NAMES) await addEnd(name, []);
  await addEnd('world', ['10 pvid untagged']);
  await sh(`bridge vlan add dev br0 vid 10 self; ip link add link br0 name br0.10 type vlan id 10; ip link set br0.10 up
    ip addr add ${addressOf('host')}/24 dev br0.10; ip addr add ${address6Of('host')}/64 dev br0.10 nodad
    ip -n trunk link add link eth0 name eth0.20 type vlan id 20; ip -n trunk link set eth0.20 up; ip -n trunk addr add 10.0.20.7/24 dev eth0.20`);
  // Of another tenant, whose addresses are those of shut and of the world.
  for (const [name, number] of [['twin', 4], ['twins', 100]]) {
    await addPort(`p-${name}`, { netns: String(name), vids: ['30 pvid untagged'] });
    await sh(`ip -n ${name} addr add 10.0.0.${number}/24 dev eth0`);
  }
  for (const name of NAMES)
    assert.deepEqual(await hook(name, 'start', xmlOf(name)), { code: 0, stdout: '', stderr: '' });
  await Promise.all([...NAMES, 'world', 'host'].map((who) => start(who, 'serve')));
}

async function takeDown() {
  await ok('sysctl', ['-qw', ...settings.trim().split('\n').map((line) => line.replaceAll(' ', ''))]);
  for (const server of servers.splice(0)) server.kill('SIGKILL');
  for (const name of NAMES) for (const operation of ['stopped', 'release']) await hook(name, operation, xmlOf(name));
}

/** Who connects to whom on a TCP port, and whether that is allowed. @type {[string, string, number, boolean][]} */
const TABLE = [
  ['world', 'web', 443, true], ['web', 'world', 443, true], ['host', 'web', 22, true], ['web', 'host', 22, true],
  ['web', 'db', 443, true], ['web', 'db', 22, false], ['iso', 'db', 22, true],
  ['iso', 'db', 443, false], ['world', 'db', 22, true], ['world', 'db', 443, false],
  ['db', 'world', 443, true], ['db', 'web', 22, true], ['host', 'db', 22, false],
  ['world', 'iso', 443, true], ['host', 'iso', 443, true], ['web', 'iso', 443, false],
  ['shut', 'iso', 22, false], ['iso', 'web', 443, true], ['iso', 'trunk', 22, false],
  ['world', 'shut', 443, false], ['web', 'shut', 443, false], ['host', 'shut', 443, false],
  ['shut', 'world', 22, true], ['shut', 'host', 22, true], ['shut', 'web', 443, true],
  ['bound', 'web', 443, true], ['bound', 'web', 22, false], ['bound', 'world', 443, true],
  ['bound', 'world', 22, false], ['bound', 'host', 22, true], ['bound', 'host', 443, false],
  ['world', 'bound', 443, true], ['web', 'bound', 22, true],
  ['web', 'both', 22, true], ['web', 'both', 443, false], ['world', 'both', 22, false],
  ['both', 'web', 22, false], ['both', 'shut', 22, false],
  ['trunk', 'web', 22, true], ['web', 'trunk', 22, false], ['world', 'trunk', 22, true],
  ['trunk', 'far', 22, true], ['far', 'trunk', 22, false],
];

/** Of a trunk in the VLAN that both are in. @param {string} who @param {string} other */
const towards = (who, other) => (who === 'trunk' && other === 'far' ? '10.0.20.7' : addressOf(who));

/** Which rows of a table connect; all at once. @param {[string, string, number, boolean][]} rows */
async function meetings(rows) {
  const met = new Map(await Promise.all([...new Set(rows.map(([from]) => from))].map(async (who) => {
    const mine = rows.filter(([from]) => from === who);
    const answers = await flows(who, 'meet', ...mine.flatMap(([, to, port]) => [towards(to, who), String(port)]));
    return /** @type {[string, string[]]} */ ([who, answers.split('')]);
  })));
  return rows.map(([from]) => met.get(from)?.shift() === '1');
}

async function whoMeetsWhom() {
  const met = await meetings(TABLE);
  const row = (/** @type {unknown[]} */ answers) => TABLE.map(([from, to, port], index) => `${from} to ${to}, ${port}: ${String(answers[index])}`);
  assert.deepEqual(row(met), row(TABLE.map(([, , , allowed]) => allowed)), 'what becomes of it');
  // As `guestwire explain` does, which takes a second a row in here.
  const guests = createJournal('/run/guestwire', (message) => { throw new Error(message); }).list();
  const said = TABLE.map(([from, to, port]) => {
    const ends = { from: parseAddress(towards(from, to)), to: parseAddress(towards(to, from)) };
    const parties = { guests, host: new Set([addressOf('host')]), quarantined: new Set() };
    return decide({ ...ends, proto: 'tcp', port }, parties).verdict === 'passes';
  });
  assert.deepEqual(row(said), row(TABLE.map(([, , , allowed]) => allowed)), 'what is said of it');
  const { code, stdout } = await guestwire(
    'explain', 'iso', '--from', addressOf('web'), '--to', addressOf('iso'), '--proto', 'tcp', '--port', '443',
  );
  assert.deepEqual([code, stdout.split('\n').at(-2)], [1, "  in guest 'iso' NIC 0 (52:54:00:aa:bb:03) dropped: profile 'isolated' lets no other guest in (its metadata)"]);
}

/** @param {string} who @param {string} to */
const pings = async (who, to) => (await run('ip', ['netns', 'exec', who, 'ping', '-c', '1', '-W', '1', to])).code === 0;

async function whatPassesAlways() {
  const echoes = [addressOf, address6Of].flatMap((shown) => [
    pings('world', shown('shut')), pings('web', shown('shut')), pings('shut', shown('web')),
    pings('web', shown('both')),
  ]);
  assert.deepEqual(await Promise.all(echoes), [true, false, true, false, true, false, true, false]);
  assert.deepEqual(await Promise.all([flows('shut', 'lease'), flows('bound', 'lease')]), ['1', '1'], 'an answer by broadcast, which no tracking takes for one');
  // An error that a closed guest hears: nobody listens there.
  assert.match((await run('ip', ['netns', 'exec', 'shut', 'python3', '-c', `import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(2); s.connect(('${addressOf('web')}', 9)); s.send(b'x'); s.recv(1)`])).stderr, /ConnectionRefusedError/);
}

/** Longer than a frame, by both families, in both directions. */
async function largePackets() {
  /** @type {[string, string, boolean][]} */
  const rows = [
    ['shut', 'world', true], ['shut', 'host', true], ['host', 'db', true], ['iso', 'web', true], ['web', 'shut', false],
    ['host', 'shut', false], ['world', 'db', false],
  ];
  await Promise.all([addressOf, address6Of].flatMap((shown) => rows.map(async ([from, to, arrives]) => {
    assert.equal(
      await flows(from, 'send', '0', shown(to), '7', '8000'), arrives ? '8000' : '0', `${from} to ${shown(to)}`,
    );
  })));
}

/** An entry of connection tracking that another VLAN made opens nothing, and keeps nobody from opening the same. */
async function sameAddresses() {
  await flows('twin', 'send', '7000', '10.0.0.100', '7001', '1');
  assert.match(readText('/proc/net/nf_conntrack'), /src=10\.0\.0\.4 dst=10\.0\.0\.100 sport=7000 dport=7001/);
  const heard = await start('shut', 'hear', '7000');
  await flows('world', 'send', '7001', addressOf('shut'), '7000', '1');
  assert.equal(heard.text, 'ready\n');
  await flows('twin', 'send', '7002', '10.0.0.100', '7', '1');
  assert.equal(await flows('shut', 'send', '7002', '10.0.0.100', '7', '1'), '1');
  assert.equal(await flows('twin', 'send', '7000', '10.0.0.100', '7001', '1'), '0', 'nobody listens there');
}

/**
 * Who sends to a neighbour by this host, which routes it back, is a guest all the same; an answer is let in that way,
 * too.
 */
async function throughTheHost() {
  const routes = (/** @type {string} */ verb) => ['web', 'world'].map((who) => `ip -n ${who} route ${verb} ${addressOf('iso')} via ${addressOf('host')}; ip -n iso route ${verb} ${addressOf(who)} via ${addressOf('host')}`).join('\n');
  await sh(`sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.br0/10.send_redirects=0\n${routes('add')}`);
  /** @type {[string, string, number, boolean][]} */
  const rows = [
    ['web', 'iso', 443, false], ['iso', 'web', 443, true], ['world', 'iso', 443, true], ['iso', 'world', 443, true],
  ];
  assert.deepEqual(await meetings(rows), rows.map(([, , , allowed]) => allowed));
  await sh(`sysctl -qw net.ipv4.ip_forward=0\n${routes('del')}`);
}

async function quarantine() {
  /** @type {[string, string, number, boolean][]} */
  const rows = [['world', 'iso', 443, false], ['iso', 'world', 443, false], ['world', 'web', 443, true]];
  assert.equal((await guestwire('quarantine', 'iso')).code, 0);
  assert.deepEqual(await meetings(rows), [false, false, true]);
  assert.equal((await guestwire('quarantine', '--lift', 'iso')).code, 0);
  assert.deepEqual(await meetings(rows), [true, true, true]);
}

async function counted() {
  const { stdout } = await guestwire('drops', 'db');
  assert.match(stdout, /[1-9][0-9]* packets +[0-9]+ bytes {2}drop {4}gets: no rule lets it in/);
}

/** Ports without such words cost no tracking. */
async function untracked() {
  for (const name of NAMES.filter((one) => !['web', 'far'].includes(one)))
    for (const operation of ['stopped', 'release']) await hook(name, operation, xmlOf(name));
  assert.doesNotMatch(await ok('nft', ['list', 'ruleset']), /\bct\b/);
  await waitFor(
    () => /^nf_conntrack_bridge \d+ 0 /m.test(readText('/proc/modules')), { what: 'nobody to use nf_conntrack_bridge' },
  );
}

test('guests on VLAN ports meet by permission', async () => {
  try {
    await build();
    const { check, end } = checks();
    await check('who meets whom', whoMeetsWhom);
    await check('what passes always', whatPassesAlways);
    await check('large packets', largePackets);
    await check('the same addresses in two VLANs', sameAddresses);
    await check('neighbours through the host', throughTheHost);
    await check('what was dropped is counted', counted);
    await check('quarantine', quarantine);
    await check('without such words nothing is tracked', untracked);
    end();
  } finally {
    await takeDown();
  }
}, { usually: 11, timeout: 300_000 });
