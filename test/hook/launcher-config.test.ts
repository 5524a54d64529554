// @tier kernel
/** hooks/qemu where node goes wrong: which guests the host config may be about, as the shell alone reads it. */
import { afterAll, beforeAll, beforeEach, describe, expect } from '@jest/globals';
import { canRun, testWith } from '../places/capability.js';
import { bridgeNic, domainXml, DONE, ethernetNic, UUID } from '../places/hook-run.js';
import { type NodelessHost, openNodelessHost } from '../places/nodeless-host.js';

const NEEDED = ['root', 'netns'] as const;
const hookTest = testWith(...NEEDED);

let host: NodelessHost;
beforeAll(async () => { if (canRun(...NEEDED)) host = await openNodelessHost(); });
afterAll(() => { if (canRun(...NEEDED)) host.close(); });
beforeEach(() => {
  if (!canRun(...NEEDED)) return;
  host.write('/run/node.exit', '1');
  host.write('/run/node.stderr', 'no\n');
});

function refusal(guest: string): unknown {
  return { status: 1, stdout: '', stderr: `guestwire: guest '${guest}': guestwire crashed, please report it: no\n` };
}

describe('when node goes wrong', () => {
  const about = '[guest.web1."52:54:00:aa:bb:01"]\nisolated = true\n';
  const lan = '[network.lan.portgroup.dmz]\nvlan = { tags = [30] }\n';
  const names: readonly (readonly [title: string, config: string, guest: string, refused: boolean])[] = [
    ['names it', about, 'web1', true],
    ['names it in quotes', '["guest"."my web"."52:54:00:aa:bb:01"]\n', 'my web', true],
    ['names another that begins so', about, 'web', false],
    ['names another that ends so', about, 'eb1', false],
    ['names another that is longer', about, 'web10', false],
    ['names it in a comment', `${about}# not web2\n`, 'web2', false],
    ['names it as a bridge only', '[bridge.web1]\n', 'web1', false],
    ['may name it by an escape', '[guest."web\\u0031"]\n', 'web1', true],
    ['may name it by an escaped quote', '[guest."say \\"hi\\""]\n', 'say "hi"', true],
    ['names others, and it holds a newline', about, 'web2\n\nweb3', false],
    ['names others, and it looks like a pattern', about, '*', false],
    ['names others, and it looks like an option', about, '-f', false],
    ['names a network of it', lan, 'lan-guest', true],
    ['names others, and it is called what the config calls them', about, 'guest', false],
    ['names others, and it is called as a key is', lan, 'tags', false],
    ['names it, and it is called as a key is', '[guest.tags."52:54:00:aa:bb:01"]\nisolated = true\n', 'tags', true],
  ];
  for (const [title, config, guest, refused] of names) {
    hookTest(`and the config ${title}, '${guest.replace(/\n/g, '\\n')}' ${refused ? 'is refused' : 'starts'}`, async () => {
      host.write('/run/config.toml', config);
      const nics = [ethernetNic({}), "<interface type='network'>\n      <source network='lan' portgroup='dmz'/>\n    </interface>\n"];
      const xml = domainXml({ name: guest, nics: guest === 'lan-guest' ? nics : [ethernetNic({})] });
      const outcome = await host.hook({ operation: 'start', guest, xml });
      expect(outcome).toEqual(refused ? refusal(guest) : DONE);
    });
  }

  const makes: readonly (readonly [title: string, config: string, bridge: string, refused: boolean])[] = [
    ['makes its bridge', '[bridge.br30]\nvid = 30\nparent = "eno1"\n', 'br30', true],
    ['makes its bridge by {vid}', '[bridge."br{vid}"]\nparent = "eno1"\nallowed = [30]\n', 'br30', true],
    ['makes its bridge in inline tables', 'bridge={br30={vid=30,parent="eno1"}}\n', 'br30', true],
    ['makes its bridge, and is broken', '[bridge.br30\nvid = 30\n', 'br30', true],
    ['makes another', '[bridge.br30]\nvid = 30\nparent = "eno1"\n[bridge.br0]\nuplinks = ["eno1"]\n', 'br0', false],
    ['makes others by {vid}', '[bridge."br{vid}"]\nparent = "eno1"\nallowed = [30]\n', 'lan30', false],
    ['puts its NIC into a VLAN', '[bridge.br30]\nvlan = { tags = [10] }\n', 'br30', true],
    ['refuses its NIC', '[bridge.br30]\nundeclared = "refuse"\n', 'br30', true],
    ['filters all NICs of its bridge', '[bridge.br30]\nfilter = "all"\n', 'br30', false],
    ['puts the NICs of another bridge into a VLAN', '[bridge.br30]\nvlan = { tags = [10] }\n[bridge.br0]\nuplinks = []\n', 'br0', false],
    ['makes one whose name is longer', '[bridge.br300]\nvid = 30\nparent = "eno1"\n', 'br30', false],
  ];
  for (const [title, config, bridge, refused] of makes) {
    hookTest(`and the config ${title}, a guest on '${bridge}' ${refused ? 'is refused' : 'starts'}`, async () => {
      host.write('/run/config.toml', config);
      const outcome = await host.hook({ operation: 'start', xml: domainXml({ nics: [bridgeNic({ bridge })] }) });
      expect(outcome).toEqual(refused ? refusal('web1') : DONE);
    });
  }

  const natives: readonly (readonly [title: string, config: string, refused: boolean])[] = [
    ['is not there', '', false],
    ['says nothing of its bridge', '[bridge.br1]\nuplinks = ["eno1"]\n', false],
    ['has a table of its bridge', '[bridge.br0]\nuplinks = ["eno1"]\n', true],
    ['has a table of its bridge, and is broken', '[bridge.br0\nuplinks = [', true],
  ];
  for (const [title, config, refused] of natives) {
    hookTest(`and the config ${title}, a guest with libvirt's own <vlan> ${refused ? 'is refused' : 'starts'}`, async () => {
      host.write('/run/config.toml', config);
      const xml = domainXml({ nics: [bridgeNic({ more: "<vlan><tag id='42'/></vlan>" })] });
      expect(await host.hook({ operation: 'start', xml })).toEqual(refused ? refusal('web1') : DONE);
    });
  }

  const LETTERED = 'abcdef01-2222-3333-4444-55555555abcd';
  const numbered = (uuid: string): string => `[guest."${uuid}"."52:54:00:aa:bb:01"]\nisolated = true\n`;
  for (const [title, config, refused] of [
    ['has a table of its UUID', numbered(LETTERED), true],
    ['has a table of its UUID in capitals', numbered(LETTERED.toUpperCase()), true],
    ['has a table of another UUID', numbered(LETTERED.replace(/.$/, '9')), false],
  ] as const) {
    hookTest(`and the config ${title}, the guest ${refused ? 'is refused' : 'starts'}`, async () => {
      host.write('/run/config.toml', config);
      const xml = domainXml({ nics: [ethernetNic({})] }).replace(UUID, LETTERED);
      const outcome = await host.hook({ operation: 'start', xml });
      expect(outcome).toEqual(refused ? refusal('web1') : DONE);
    });
  }
});
