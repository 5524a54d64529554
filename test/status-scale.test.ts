/** `guestwire status` of a host with 200 guests. */
import { expect } from '@jest/globals';
import { testWith } from './capability.js';
import { openGuestHost } from './guesthost.js';
import { guestXml, hookIn } from './routedhost.js';

const GUESTS = 200;

testWith('root', 'netns', 'nft')(`shows ${GUESTS} guests in less than 2 s`, async () => {
  const host = await openGuestHost();
  try {
    host.netns.sh(`for i in $(seq ${GUESTS}); do echo tuntap add vnet$i mode tap; echo link set vnet$i up; done | ip -batch -`);
    const hook = hookIn(host.netns, host.dir);
    for (let i = 1; i <= GUESTS; i++) {
      const number = String(i).padStart(3, '0');
      const xml = guestXml({ name: `guest${i}`, tap: `vnet${i}`, addresses: [`192.0.2.${i}`, `2001:db8::${i}`] })
        .replace(/2c\d+<\/uuid>/, `2${number}</uuid>`).replaceAll(/52:54:00:aa:bb:\d+/g, `52:54:00:aa:${number.slice(0, 1)}b:${number.slice(1)}`);
      expect(hook('start', xml)).toMatchObject({ status: 0 });
    }
    const times = [1, 2, 3].map(() => {
      const start = performance.now();
      const { status, stdout, stderr } = host.guestwire(['status'], { libvirt: false });
      expect({ status, stderr, lines: stdout.match(/ wired /g)?.length }).toEqual({ status: 0, stderr: '', lines: GUESTS });
      return performance.now() - start;
    });
    // The best of three: this machine has other work.
    expect(Math.min(...times)).toBeLessThan(2000);
  } finally {
    host.close();
  }
}, 240_000);
