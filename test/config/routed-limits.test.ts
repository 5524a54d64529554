// @tier fast
import { describe, expect, test } from '@jest/globals';
import { parseConfig } from '../../lib/config/file.js';
import { ConfigError } from '../../lib/errors.js';

const PATH = '/etc/guestwire/config.toml';

function routed(toml: string) {
  return parseConfig(`[routed]\n${toml}`, PATH).routed;
}

/** What parseConfig() says against these lines of [routed]; undefined when it takes them. */
function refusal(toml: string): string | undefined {
  try {
    routed(toml);
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as Error).message;
  }
}

describe('what [routed] lets metadata ask for', () => {
  test('tables, by number, range and name', () => {
    expect(routed('tables = [100, "200-209", "main"]').tables).toEqual([
      { first: 100, last: 100 }, { first: 200, last: 209 }, { first: 254, last: 254 },
    ]);
  });

  test('destinations and a source of each family', () => {
    const { linkLocal, sources } = routed('link_local = ["169.254.169.254"]\nsource = ["192.0.2.1", "2001:DB8::1"]');
    expect([linkLocal, sources].map((list) => list.map(({ text }) => text)))
      .toEqual([['169.254.169.254'], ['192.0.2.1', '2001:db8::1']]);
    expect(routed('source = "192.0.2.1"').sources.map(({ text }) => text)).toEqual(['192.0.2.1']);
  });

  test.each([
    ['tables = ["local"]', "tables: route table 'local' is the kernel's own: use 'main' or another number"],
    ['tables = ["200-209-210"]', "tables: route table '200-209-210' is neither 'main' nor a number from 1 to 4294967295"],
    ['tables = ["209-200"]', "tables: route tables '209-200' run backwards: write the lower number first"],
    ['tables = ["250-260"]', "tables: route tables '250-260' contain '255', which is the kernel's own: write two ranges"],
    ['tables = [100, "100"]', "tables: '100' is listed twice: list it once"],
    ['tables = 100', 'tables: must be a list of tables such as [100, "200-209"], not the number \'100\''],
    ['vrfs = ["-x"]', "vrfs: interface name '-x' starts with a dash: tools would read it as an option"],
    ['vrfs = ["blue", "blue"]', "vrfs: 'blue' is listed twice: list it once"],
    ['link_local = ["192.0.2.1"]', "link_local: '192.0.2.1' is not link-local: guests reach it without this list, so remove it"],
    ['link_local = ["fe80::2"]', "link_local: 'fe80::2' is an IPv6 link-local address, which Linux never forwards: remove it"],
    ['link_local = ["169.254.0.9", "169.254.0.9"]', "link_local: '169.254.0.9' is listed twice: list it once"],
    ['source = "169.254.0.1"', "source: '169.254.0.1' is link-local and means nothing beyond one link: name an address of this host that others know"],
    ['source = "224.0.0.1"', "source: address '224.0.0.1' is a multicast address"],
    ['source = ["192.0.2.1", "192.0.2.2"]', 'source: two addresses of IPv4 are given: name at most one of each family'],
    ['source = ["192.0.2.1", "2001:db8::1", "192.0.2.2"]', 'source: two addresses of IPv4 are given: name at most one of each family'],
    ['proxy = ["eno1"]', "proxy: 'proxy' needs 'prefixes', or a guest can take the address of a neighbour on that link: list the prefixes of your guests in 'prefixes', or remove 'proxy'"],
  ])('refuses %j', (toml, words) => {
    expect(refusal(toml)).toBe(`config '${PATH}': [routed] ${words}`);
  });

  test('proxy links need prefixes, and an empty list of links does not', () => {
    expect(routed('proxy = []').proxy).toEqual([]);
    expect(routed('proxy = ["eno1"]\nprefixes = ["192.0.2.0/26"]').proxy).toEqual(['eno1']);
  });
});

describe('groups that [filter] lets metadata join', () => {
  test('an empty list permits none, an absent one any', () => {
    const groups = (toml: string) => parseConfig(`[filter]\n${toml}`, PATH).filter.groups;
    expect([groups(''), groups('groups = []'), groups('groups = ["web"]')])
      .toEqual([undefined, new Set(), new Set(['web'])]);
    expect(() => groups('groups = ["a", "a"]')).toThrow("[filter] groups: 'a' is listed twice: list it once");
  });
});
