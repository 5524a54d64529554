/**
 * The sysctls of a routed link, and why each has its value.
 */
import { SOLICITATIONS } from '../../kernel/link-files.js';
import { addressFamilies, type PlacedLink } from './routed-link.js';

/**
 * Milliseconds between two solicitations for a guest's MAC (kernel: 1000). A packet to a booting guest waits for the
 * next solicitation. The value is whole ticks of any kernel (HZ 100, 250, 300, 1000), because the kernel shows what it
 * rounded to. Router advertisements pass it on to the guest.
 */
export const RETRANS_TIME = 200;

/** Returns the sysctls that a routed link sets, by path below /proc/sys, with the value each gets. */
export function sysctlsOf(routed: PlacedLink): ReadonlyMap<string, string> {
  const families = addressFamilies(routed);
  const { link } = routed;
  const sysctls = new Map([
    // A guest's router advertisement must never give the host a default route or an address.
    [`net/ipv6/conf/${link}/accept_ra`, '0'],
    // The guest cannot tell the host a next hop either: it speaks IPv6 with link-local addresses even if it has no
    // other address.
    [`net/ipv6/conf/${link}/accept_redirects`, '0'],
  ]);
  if (families.has('inet6')) {
    // An admin's default of 1 would refuse every IPv6 address on the link.
    sysctls.set(`net/ipv6/conf/${link}/disable_ipv6`, '0');
    // Without it the gateway's neighbour advertisements lack the router flag (RFC 4861 section 4.4).
    sysctls.set(`net/ipv6/conf/${link}/forwarding`, '1');
    sysctls.set(`net/ipv6/neigh/${link}/mcast_solicit`, SOLICITATIONS);
    sysctls.set(`net/ipv6/neigh/${link}/ucast_solicit`, SOLICITATIONS);
    sysctls.set(`net/ipv6/neigh/${link}/retrans_time_ms`, String(RETRANS_TIME));
  }
  // IPv4 decides by the link a packet came in on, and a link made before ip_forward was set keeps 0.
  if (families.has('inet')) {
    sysctls.set(`net/ipv4/conf/${link}/forwarding`, '1');
    sysctls.set(`net/ipv4/conf/${link}/accept_redirects`, '0');
    sysctls.set(`net/ipv4/conf/${link}/send_redirects`, '0');
    // An admin's default of 2 or 8 would leave the guest's requests for its gateway unanswered.
    sysctls.set(`net/ipv4/conf/${link}/arp_ignore`, '0');
    // What nft does not see: it also keeps the host from answering ARP requests of a forged sender.
    sysctls.set(`net/ipv4/conf/${link}/rp_filter`, '1');
    sysctls.set(`net/ipv4/neigh/${link}/mcast_solicit`, SOLICITATIONS);
    sysctls.set(`net/ipv4/neigh/${link}/ucast_solicit`, SOLICITATIONS);
    sysctls.set(`net/ipv4/neigh/${link}/retrans_time_ms`, String(RETRANS_TIME));
  }
  return sysctls;
}
