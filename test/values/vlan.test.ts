// @tier fast long
import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';
import { ValueError } from '../../lib/errors.js';
import {
  accessPort, canonicalMembership, formatMembership, formatRange, formatVids, type NativeVlan, parseVids, runsOf,
  vidsOf, type VlanMember, vlanMembership,
} from '../../lib/values/vlan.js';
import { rounds } from '../tiers/bound.js';

const anyVid = fc.integer({ min: 1, max: 4094 });
const anyRange = fc.tuple(anyVid, anyVid).map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) }));
const anyVids = fc.uniqueArray(anyVid, { maxLength: 20 });
/** What the grammar can say: tagged VIDs and at most one native. */
const anyMembership = fc.tuple(
  fc.uniqueArray(anyVid, { minLength: 1, maxLength: 12 }), fc.constantFrom('none', 'untagged', 'tagged'),
)
  .map(([vids, native]) =>
    vids.map((vid, index) => member(vid, index === 0 ? native : 'none')).sort((a, b) => a.vid - b.vid));

function member(vid: number, native: string): VlanMember {
  return { vid, pvid: native !== 'none', untagged: native === 'untagged' };
}

function tagged(...vids: number[]): VlanMember[] {
  return vids.map((vid) => member(vid, 'none'));
}

function vlan(tags: readonly (string | undefined | readonly [string, string])[], trunk?: string): NativeVlan {
  return {
    trunk,
    tags: tags.map((tag) =>
      (typeof tag === 'object' ? { id: tag[0], nativeMode: tag[1] } : { id: tag, nativeMode: undefined })),
  };
}

describe('vlanMembership', () => {
  test.each<[string, NativeVlan, VlanMember[]]>([
    ['one tag is an access port', vlan(['10']), accessPort(10)],
    ["one tag with trunk='no' is an access port", vlan(['10'], 'no'), accessPort(10)],
    ['one tag is an access port whatever its nativeMode', vlan([['10', 'tagged']]), accessPort(10)],
    ['a range of one is one tag', vlan(['10-10']), accessPort(10)],
    ["one tag with trunk='yes' has no PVID", vlan(['10'], 'yes'), tagged(10)],
    ["one native tag with trunk='yes' keeps its mode", vlan([['10', 'tagged']], 'yes'), [member(10, 'tagged')]],
    ['more tags are a trunk without a PVID, ascending', vlan(['20', '10']), tagged(10, 20)],
    ['a range is a trunk', vlan(['10-12']), tagged(10, 11, 12)],
    ['the native tag has the PVID', vlan([['10', 'untagged'], '20']), [member(10, 'untagged'), ...tagged(20)]],
    ['a native-tagged tag has the PVID and keeps its tag', vlan(['20', ['10', 'tagged']]), [member(10, 'tagged'), ...tagged(20)]],
    ['the ends of the range of VLAN IDs', vlan(['1', '4094']), tagged(1, 4094)],
  ])('%s', (_, written, membership) => {
    expect(vlanMembership(written)).toEqual(membership);
  });

  test.each([
    [vlan([]), "<vlan> has no <tag>: add at least one <tag id='...'/>"],
    [vlan([undefined]), "VLAN ID '' is not a number or range of numbers: write '10' or '10-19'"],
    [vlan(['10', '20'], 'no'), "trunk='no' in <vlan> allows only one VLAN: remove trunk='no' or keep one <tag>"],
    [vlan(['10-11'], 'no'), "trunk='no' in <vlan> allows only one VLAN: remove trunk='no' or keep one <tag>"],
    [vlan(['10'], 'true'), "trunk='true' in <vlan> is neither 'yes' nor 'no'"],
    [vlan([['10', 'native']]), "nativeMode='native' in <tag> is neither 'tagged' nor 'untagged'"],
    [vlan([['10', 'native'], '20']), "nativeMode='native' in <tag> is neither 'tagged' nor 'untagged'"],
    [vlan([['10-11', 'tagged']]), "nativeMode is set on the VLAN range '10-11': a native VLAN is one VLAN ID"],
    [vlan(['10', '20', '10']), "VLAN ID '10' is listed twice: list each VLAN once"],
    [vlan(['10-20', '15']), "VLAN ID '15' is listed twice: list each VLAN once"],
    [vlan([['30', 'tagged'], ['20', 'untagged'], ['10', 'tagged']]), "VLAN IDs '10' and '20' are both native: a port has one native VLAN"],
  ])('refuses %j', (written, message) => {
    expect(() => vlanMembership(written)).toThrow(new ValueError(message));
  });

  test('what a trunk is written as, it means', () => {
    fc.assert(fc.property(anyMembership, fc.nat(), (members, turn) => {
      const tags = members.map(({ vid, pvid, untagged }) => ({
        id: String(vid), nativeMode: pvid ? (untagged ? 'untagged' : 'tagged') : undefined,
      }));
      const turned = [...tags.slice(turn % tags.length), ...tags.slice(0, turn % tags.length)];
      expect(vlanMembership({ trunk: 'yes', tags: turned })).toEqual(members);
    }));
  });
});

describe('canonicalMembership', () => {
  test('is ascending, whatever the order, and leaves its argument alone', () => {
    fc.assert(fc.property(anyMembership, (members) => {
      const reversed = Object.freeze([...members].reverse());
      expect(canonicalMembership(reversed)).toEqual(members);
    }));
  });
});

describe('parseVids', () => {
  test.each([
    ['', "VLAN ID '' is not a number or range of numbers: write '10' or '10-19'"],
    ['ten', "VLAN ID 'ten' is not a number or range of numbers: write '10' or '10-19'"],
    ['-5', "VLAN ID '-5' is not a number or range of numbers: write '10' or '10-19'"],
    ['10-', "VLAN ID '10-' is not a number or range of numbers: write '10' or '10-19'"],
    ['10-11-12', "VLAN ID '10-11-12' is not a number or range of numbers: write '10' or '10-19'"],
    ['10,20', "VLAN ID '10,20' is not a number or range of numbers: write '10' or '10-19'"],
    [' 10', "VLAN ID ' 10' is not a number or range of numbers: write '10' or '10-19'"],
    ['10\n', "VLAN ID '10\\n' is not a number or range of numbers: write '10' or '10-19'"],
    ['0x10', "VLAN ID '0x10' is not a number or range of numbers: write '10' or '10-19'"],
    ['1e1', "VLAN ID '1e1' is not a number or range of numbers: write '10' or '10-19'"],
    ['\u0661\u0660', "VLAN ID '\u0661\u0660' is not a number or range of numbers: write '10' or '10-19'"],
    ['0', "VLAN ID '0' is outside 1-4094"],
    ['00', "VLAN ID '00' is outside 1-4094"],
    ['4095', "VLAN ID '4095' is outside 1-4094"],
    ['5000', "VLAN ID '5000' is outside 1-4094"],
    ['1-4095', "VLAN ID '4095' is outside 1-4094"],
    ['9'.repeat(400), `VLAN ID '${'9'.repeat(200)}...' is outside 1-4094`],
    ['010', "VLAN ID '010' has a leading zero: write '10'"],
    ['5-010', "VLAN ID '010' has a leading zero: write '10'"],
    ['20-10', "VLAN range '20-10' runs backwards: write '10-20'"],
  ])('refuses %j', (text, message) => {
    expect(() => parseVids(text)).toThrow(new ValueError(message));
  });

  test('reads what formatRange writes', () => {
    fc.assert(fc.property(anyRange, (range) => {
      expect(parseVids(formatRange(range))).toEqual(range);
      expect(vidsOf(range)).toHaveLength(range.last - range.first + 1);
    }));
  });
});

describe('runsOf and formatVids', () => {
  test.each([
    [[], ''],
    [[10], '10'],
    [[20, 10], '10,20'],
    [[12, 10, 11], '10-12'],
    [[1, 2, 4, 5, 7], '1-2,4-5,7'],
    [[10, 10, 11], '10-11'],
  ])('%j reads %j', (vids, text) => {
    expect(formatVids(vids)).toBe(text);
  });

  test('runs hold exactly the VIDs, ascending, and no two of them touch', () => {
    fc.assert(fc.property(anyVids, (vids) => {
      const runs = runsOf(vids);
      expect(runs.flatMap(vidsOf)).toEqual([...vids].sort((a, b) => a - b));
      runs.slice(1).forEach((run, index) => { expect(run.first).toBeGreaterThan((runs[index]?.last ?? 0) + 1); });
    }));
  });

  test('what is written reads back', () => {
    fc.assert(fc.property(anyVids.filter((vids) => vids.length > 0), (vids) => {
      expect(formatVids(vids).split(',').map(parseVids)).toEqual(runsOf(vids));
    }));
  });
});

describe('formatMembership', () => {
  test.each<[VlanMember[], string]>([
    [[], 'no VLAN'],
    [accessPort(10), 'access 10'],
    [tagged(10), 'trunk 10'],
    [[member(10, 'tagged')], 'trunk native 10 tagged'],
    [[member(10, 'untagged'), ...tagged(20, 30, 31)], 'trunk 20,30-31 native 10'],
    [[member(10, 'tagged'), ...tagged(20)], 'trunk 20 native 10 tagged'],
    [[...tagged(10), { vid: 20, pvid: false, untagged: true }], 'trunk 10 untagged 20'],
    [[member(1, 'untagged'), { vid: 20, pvid: false, untagged: true }], 'trunk native 1 untagged 20'],
  ])('%j reads %s', (members, text) => {
    expect(formatMembership(members)).toBe(text);
  });

  test('different memberships read differently, also those only others program', () => {
    const few = fc.tuple(
      fc.uniqueArray(fc.record({ vid: fc.integer({ min: 1, max: 4 }), untagged: fc.boolean() }), {
        selector: ({ vid }) => vid, maxLength: 4,
      }),
      fc.integer({ min: 0, max: 4 }),
    ).map(([members, pvid]) => canonicalMembership(members.map((each) => ({ ...each, pvid: each.vid === pvid }))));
    fc.assert(fc.property(few, few, (a, b) => {
      expect(formatMembership(a) === formatMembership(b)).toBe(JSON.stringify(a) === JSON.stringify(b));
    }), { numRuns: rounds(3000) });
  });
});
