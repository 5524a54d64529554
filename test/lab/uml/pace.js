// How soon a VLAN port is right after an event, beside a routed link of the same guest: the ratio is that of kernels
// where programs are quick, and there test/libvirtd/agent/*.test.ts times routed links. By hand: `run-lab --libvirt 9
// test/lab/uml/pace.js`.
import assert from 'node:assert/strict';
import { renameSync, writeFileSync } from 'node:fs';
import {
  addBridge, addPort, device, event, interfaceXml, makeMac, ofPort, ok, openAgent, quiet, saidSince, setConfig,
  setMetadata, sh, startGuest, tagged, vlansOf, waitFor,
} from './lab.js';
import { before11, figures, test } from './testing.js';

/**
 * This kernel has neither family netdev nor inet, which routed links need: what is for netdev becomes a second table of
 * family bridge, so that nft has the same work, and what is for inet is left out, in favour of routed links. Both kinds
 * pay for the detour alike.
 */
const NFT = `#!/bin/sh
case " $* " in
  *' -f - '*) sed -e '/ inet /d' -e 's/ netdev guestwire/ bridge gwnetdev/' -e 's/hook ingress device [^ ]*/hook prerouting/' | nft.real "$@" ;;
  *' list table netdev '*) nft.real "$1" list table bridge gwnetdev | sed -e 's/gwnetdev/guestwire/g' -e 's/"bridge"/"netdev"/g' -e 's/"prerouting"/"ingress"/g' ;;
  *' inet '*) echo 'No such file or directory' >&2; exit 1 ;;
  *) exec nft.real "$@" ;;
esac
`;
const TIMES = 3;
/** A VLAN port may cost so many times what a routed link does. */
const MOST = 3;

/** @param {number[]} values */
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;

/**
 * Milliseconds from the event to the agent's last word of it.
 * @param {() => Promise<unknown>} act
 * @param {(word: import('./agent.js').Word) => boolean} isEvent
 */
async function timed(act, isEvent) {
  const since = performance.now();
  await act();
  const at = await waitFor(() => saidSince(since, 'libvirt', 'vlan').find(isEvent)?.at ?? 0, { what: 'the event' });
  await waitFor(() => saidSince(at, 'agent').length > 0, { what: 'the agent to do something' });
  await quiet();
  return (saidSince(at, 'agent').at(-1)?.at ?? NaN) - at;
}

/** Milliseconds that a program takes. @param {string} file @param {string[]} args */
async function paceOf(file, ...args) {
  const times = [];
  for (let count = 0; count < TIMES; count += 1) {
    const began = performance.now();
    await ok(file, args);
    times.push(performance.now() - began);
  }
  return median(times);
}

test('a VLAN port is right as soon as a routed link is', async () => {
  renameSync('/usr/sbin/nft', '/usr/sbin/nft.real');
  writeFileSync('/usr/sbin/nft', NFT, { mode: 0o755 });
  try {
    await sh('sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_dad=0');
    for (const number of [0, 1]) {
      await addBridge({ name: `br${number}`, pvid: 0 });
      await addPort(`up${number}`, { bridge: `br${number}` });
    }
    setConfig('[bridge.br0]\nuplinks = ["up0"]\n[bridge.br1]\nuplinks = ["up1"]\n');
    const [port, otherPort] = [{ mac: makeMac(), vlan: tagged(11) }, { mac: makeMac(), vlan: tagged(12, 13) }];
    const [link, otherLink] = [
      { mac: makeMac(), routed: ['192.0.2.1', '2001:db8::1'] },
      { mac: makeMac(), routed: ['192.0.2.2', '2001:db8::2'] },
    ];
    const guest = await startGuest({ name: 'a', nics: [port, link], slots: 2 });
    const [tap = ''] = await guest.taps();
    await openAgent();
    await setMetadata('a', [port, link, otherPort, otherLink]);
    await quiet();
    /** @type {Record<string, number[]>} */
    const took = {};
    const measure = async (
      /** @type {string} */ what, /** @type {() => Promise<unknown>} */ act,
      /** @type {(word: import('./agent.js').Word) => boolean} */ isEvent,
    ) => { (took[what] ??= []).push(await timed(act, isEvent)); };
    const routes = async () => (await sh('ip route show proto 117; ip -6 route show proto 117')).split('\n').filter(Boolean).map((line) => line.split(' ')[0]).sort();
    for (let count = 0; count < TIMES; count += 1) {
      const [vid, host] = [count % 2 === 0 ? 21 : 11, count % 2 === 0 ? 9 : 1];
      await measure(
        'metadata, VLAN port',
        () => setMetadata('a', [{ ...port, vlan: tagged(vid) }, link, otherPort, otherLink]),
        event('metadata-change'),
      );
      assert.deepEqual(await vlansOf(tap), [`${vid} pvid untagged`]);
      port.vlan = tagged(vid);
      await measure(
        'metadata, routed link',
        () =>
          setMetadata('a', [port, { ...link, routed: [`192.0.2.${host}`, `2001:db8::${host}`] }, otherPort, otherLink]),
        event('metadata-change'),
      );
      link.routed = [`192.0.2.${host}`, `2001:db8::${host}`];
      assert.deepEqual(await routes(), link.routed);
      for (const [kind, nic] of /** @type {const} */ ([['VLAN port', otherPort], ['routed link', otherLink]])) {
        const xml = interfaceXml(nic, { plugged: true });
        await measure(`attach, ${kind}`, () => device('a', 'attach-device', xml), event('device-added'));
        const third = (await guest.taps())[2] ?? '';
        assert.deepEqual(
          kind === 'VLAN port' ? await vlansOf(third) : await routes(),
          kind === 'VLAN port' ? ['12', '13'] : [...link.routed, ...otherLink.routed].sort(),
        );
        await measure(`detach, ${kind}`, () => device('a', 'detach-device', xml), event('device-removed'));
      }
      assert.deepEqual([await vlansOf('up0'), await routes()], [[String(vid)], link.routed]);
      for (const bridge of ['br1', 'br0']) {
        await measure(
          'update-device, VLAN port',
          () => device('a', 'update-device', interfaceXml({ ...port, bridge })),
          ofPort(tap),
        );
        assert.deepEqual(await vlansOf(tap), [`${vid} pvid untagged`]);
      }
    }
    const medians = Object.fromEntries(Object.entries(took).map(([what, times]) => [what, median(times)]));
    for (const [what, times] of Object.entries(took)) figures.push(`${what} ${Math.round(median(times))} ms (${times.map(Math.round).join(' ')})`);
    const ratios = Object.fromEntries(['metadata', 'attach', 'detach'].map((what) => [
      what, (medians[`${what}, VLAN port`] ?? NaN) / (medians[`${what}, routed link`] ?? NaN),
    ]));
    for (const [what, ratio] of Object.entries(ratios)) figures.push(`VLAN/routed ${what} ${ratio.toFixed(2)}`);
    for (const [file, ...args] of [
      ['ip', '-j', '-d', 'link', 'show'], ['bridge', '-j', 'vlan', 'show'],
      ['nft', '-s', 'list', 'table', 'bridge', 'guestwire'], ['flock', '/run/pace', 'true'],
    ]) {
      figures.push(`${String(file)} ${Math.round(await paceOf(String(file), ...args))} ms`);
    }
    assert.deepEqual(
      Object.entries(ratios).filter(([, ratio]) => !(ratio < MOST)), [], 'VLAN port against routed link',
    );
  } finally {
    renameSync('/usr/sbin/nft.real', '/usr/sbin/nft');
  }
}, { when: before11, timeout: 600_000 });
