// @tier fast
/** The agent's monitors when they cannot live. */
import { expect, test } from '@jest/globals';
import { startMonitors } from '../../lib/agent/monitors.js';
import { waitFor } from '../lab/host.js';

test('what ends at once is started again and again, and told of once', async () => {
  const [warnings, started]: [string[], string[]] = [[], []];
  let gaps = 0;
  const stop = startMonitors({
    follow: ({ tool }) => {
      started.push(tool);
      return { ended: Promise.resolve('status 1'), stop: () => undefined };
    },
    onChange: () => undefined, onGap: () => { gaps += 1; }, warn: (line) => warnings.push(line),
  });
  await waitFor(() => Promise.resolve(started.length >= 8), { what: 'four attempts of each' });
  await stop();
  expect(warnings).toEqual([
    "'ip -o -d monitor link' ended (status 1): restarting it; until then changes are noticed only by the periodic check of all guests",
    "'bridge monitor link vlan' ended (status 1): restarting it; until then changes are noticed only by the periodic check of all guests",
  ]);
  // Whatever happened between two lives was not seen.
  expect(gaps).toBeGreaterThanOrEqual(6);
});
