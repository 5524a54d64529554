import assert from 'node:assert/strict';
import { addBridge, hookLog, startGuest, tagged, vlansOf } from './lab.js';
import { test } from './testing.js';

test('a guest is wired', async () => {
  await addBridge();
  const guest = await startGuest({ name: 'g1', nics: [{ vlan: tagged(10) }] });
  const [tap = ''] = await guest.taps();
  assert.deepEqual(await vlansOf(tap), ['10 pvid untagged']);
  console.error(hookLog());
  await guest.destroy();
});
test('guests talk', async () => {
  await addBridge();
  const a = await startGuest({ name: 'a', nics: [{ vlan: tagged(10) }], boots: 'gw.ip=eth0,10.0.10.1/24' });
  const b = await startGuest({ name: 'b', nics: [{ vlan: tagged(10) }], boots: 'gw.ip=eth0,10.0.10.2/24' });
  await a.up(); await b.up();
  assert(await a.ping('10.0.10.2', 3));
  assert(!await a.ping('10.0.10.3', 1));
  await a.frames();
  assert.equal(1,2);
});
