/**
 * Frames sent as they are, and what is heard after them. Node has no raw sockets, and what sends ARP and neighbour
 * advertisements either refuses an address that is not the host's (iputils' arping) or does one family only; perl is on
 * every Debian and Ubuntu (perl-base, Essential), and one run of it serves any number of frames and links.
 */
import { assertSuccess, type Exec, type ExecRequest } from './exec.js';

export interface Frame {
  readonly dev: string;
  readonly bytes: Uint8Array;
}

export interface Exchange {
  /** ARP frames and neighbour advertisements that came in, one's own left out. */
  readonly heard: readonly Frame[];
  /** Links that could not be used, with the system's reason. */
  readonly faults: readonly { readonly dev: string; readonly reason: string }[];
}

/**
 * One AF_PACKET socket (17, SOCK_RAW 3) per link and EtherType, bound by the index that SIOCGIFINDEX (0x8933) tells: so
 * frames of a VLAN below the link are not heard. SO_ATTACH_FILTER (26) passes ICMPv6 type 136 only, because an uplink
 * may carry anything. Each argument is a round: send all, then listen for so many milliseconds. `alarm` ends it on a
 * link where there is always something to hear.
 */
const PROGRAM = String.raw`
$| = 1; $SIG{ALRM} = sub { exit 0 }; alarm 1;
my (@frames, %open);
while (<STDIN>) { my ($dev, $hex) = split; push @frames, [$dev, pack('H*', $hex)] }
my $only = join '', map { pack 'S C C L', @$_ } [0x30,0,0,20], [0x15,0,3,58], [0x30,0,0,54], [0x15,0,1,136], [6,0,0,128], [6,0,0,0];
sub opened {
  my ($dev, $type) = @_;
  my ($socket, $request) = (undef, pack 'a16 x24', $dev);
  my $ok = socket($socket, 17, 3, 0)
    && ($type != 0x86dd || setsockopt($socket, 1, 26, pack 'S x![P] P', 6, $only))
    && ioctl($socket, 0x8933, $request)
    && bind($socket, pack 'S n i S C C a8', 17, $type, unpack('x16 i', $request), 0, 0, 0, '');
  print "! $dev $!\n" unless $ok;
  return $ok ? $socket : undef;
}
for my $wait (@ARGV) {
  for (@frames) {
    my ($dev, $frame) = @$_;
    my $type = unpack 'x12 n', $frame;
    my $key = "$dev $type";
    $open{$key} = opened($dev, $type) unless exists $open{$key};
    next unless $open{$key} && !defined send($open{$key}, $frame, 0);
    print "! $dev $!\n";
    $open{$key} = undef;
  }
  my $left = $wait / 1000;
  while ($left > 0) {
    my $in = '';
    defined $open{$_} and vec($in, fileno($open{$_}), 1) = 1 for keys %open;
    last if $in eq '';
    (my $ready, $left) = select($in, undef, undef, $left);
    last if $ready < 1;
    for my $key (grep { $open{$_} && vec($in, fileno($open{$_}), 1) } keys %open) {
      my $from = recv($open{$key}, my $frame, 128, 0x40);
      next if !defined $from || unpack('x10 C', $from) > 2;
      print((split ' ', $key)[0], ' ', unpack('H*', $frame), "\n");
    }
  }
}`;

/** Milliseconds beyond which the program hangs: `alarm` ends it after one second. */
const DEADLINE = 3_000;

/** Sends `frames` and listens, once per number in `rounds` and for so many milliseconds. Throws CommandError. */
export async function exchange(exec: Exec, frames: readonly Frame[], rounds: readonly number[]): Promise<Exchange> {
  const input = frames.map(({ dev, bytes }) => `${dev} ${Buffer.from(bytes).toString('hex')}\n`).join('');
  const request: ExecRequest = {
    tool: 'perl', args: ['-e', PROGRAM, ...rounds.map(String)], input, deadline: DEADLINE,
  };
  const result = await exec(request);
  assertSuccess(request, result, 'sending on raw sockets');
  const lines = result.stdout.split('\n').map((line) => line.split(' '));
  return {
    heard: lines.flatMap(([dev = '', hex]) => (dev === '' || dev === '!' || hex === undefined ? [] : [{
      dev, bytes: Buffer.from(hex, 'hex'),
    }])),
    faults: lines.flatMap(([mark, dev, ...reason]) => (mark === '!' && dev !== undefined
      ? [{ dev, reason: reason.join(' ') }]
      : [])),
  };
}
