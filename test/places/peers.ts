/** Guests and the world as namespaces that connect to one another by TCP, over links of a host that tests wire. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import type { Netns } from './netns.js';

type Place = Pick<Netns, 'target' | 'run' | 'sh'>;

const SERVER = `
import socket, sys, threading
def serve(port):
    s = socket.socket(socket.AF_INET6); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('::', port)); s.listen(64)
    while True: s.accept()[0].close()
for port in sys.argv[1:]: threading.Thread(target=serve, args=(int(port),)).start()
print('ready', flush=True)`;

const CLIENT = `
import os, socket, sys, concurrent.futures as futures
def meets(target):
    try: socket.create_connection(target, timeout=0.4).recv(1)
    except OSError: return '0'
    return '1'
targets = [(host, int(port)) for host, port in zip(sys.argv[2::2], sys.argv[3::2])]
with futures.ThreadPoolExecutor(len(targets)) as pool: answer = sys.argv[1] + ' ' + ''.join(pool.map(meets, targets)) + '\\n'
# One write: all clients share the pipe, and the lines of two print() would mix.
os.write(1, answer.encode())`;

/** Listens on TCP ports, of both families, and takes whoever comes. The process is the caller's to end. */
export async function serve(
  { target }: Pick<Place, 'target'>, ports: readonly number[] = [22, 443],
): Promise<ChildProcess> {
  const server = spawn('nsenter', ['--net', '--target', target, 'python3', '-c', SERVER, ...ports.map(String)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise((done) => { server.stdout.once('data', done); });
  return server;
}

/** Who tries to reach whom. */
export interface Attempt {
  readonly place: Pick<Place, 'target'>;
  readonly targets: readonly (readonly [address: string, port: number])[];
}

/** Returns of each attempt which of its targets takes a connection; all are tried at once. */
export function meetings(attempts: readonly Attempt[]): boolean[][] {
  const clients = attempts.map(({ place, targets }, at) => `nsenter --net --target ${place.target} python3 -c "$CLIENT" ${at} ${targets.flat().join(' ')} &`);
  const { stdout, stderr } = spawnSync(
    'sh', ['-c', [...clients, 'wait'].join('\n')], { encoding: 'utf8', env: { ...process.env, CLIENT } },
  );
  const answers = new Map([...stdout.matchAll(/^(\d+) ([01]+)$/gm)].map(([, at, answer = '']) => [
    Number(at), answer.split('').map((each) => each === '1'),
  ]));
  return attempts.map(({ targets }, at) => {
    const answer = answers.get(at) ?? [];
    if (answer.length !== targets.length) throw new Error(`a client says: ${stdout}${stderr}`);
    return answer;
  });
}

/** Puts the other end of a new link `tap` of `host` into a guest that knows its addresses and the host's gateways. */
export function joinGuest(
  host: Place, guest: Place, { tap, mac, addresses }: { tap: string; mac: string; addresses: readonly string[] },
): void {
  // From there, because a host may see no processes but its own.
  guest.sh(`ip link add eth0 address ${mac} type veth peer name ${tap} netns ${host.target}`);
  host.sh(`ip link set ${tap} up`);
  guest.sh(['echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad', 'ip link set eth0 up', ...addresses.map((address) => (address.includes(':')
    ? `ip addr add ${address}/128 dev eth0 nodad; ip -6 route add default via fe80::1 dev eth0`
    : `ip addr add ${address}/32 dev eth0; ip route add default via 169.254.0.1 dev eth0 onlink`))].join('; '));
}
