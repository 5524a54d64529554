"""Frames of guests, built by hand: holds taps as QEMU would, sends what a hostile guest could, hears what arrives.

One JSON request a line on standard input, {"op", ...}; one answer a line, {"ok"} or {"error"}. It ends with its standard
input. It runs in the namespace of the host; `listen` opens its socket in the namespace of the process `pid`.
"""
import ctypes
import errno
import fcntl
import ipaddress
import json
import os
import socket
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
SO_BINDTODEVICE = 25
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
ETH_P_ALL = 3
PACKET_OTHERHOST = 3
SO_RCVBUFFORCE = 33
TAGS = (b'\x81\x00', b'\x88\xa8')
taps = {}
sockets = {}
sniffers = {}


def octets(mac):
    return bytes(int(part, 16) for part in mac.split(':'))


def checksum(data):
    if len(data) % 2:
        data += b'\0'
    total = sum(struct.unpack(f'!{len(data) // 2}H', data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF) or 0xFFFF


def pseudo(src, dst, protocol, length):
    if src.version == 4:
        return src.packed + dst.packed + struct.pack('!BBH', 0, protocol, length)
    return src.packed + dst.packed + struct.pack('!IHBB', length, 0, 0, protocol)


def udp(src, dst, sport, dport, text):
    length = 8 + len(text)
    head = struct.pack('!HHH', sport, dport, length)
    sum_ = checksum(pseudo(src, dst, 17, length) + head + b'\0\0' + text.encode())
    return head + struct.pack('!H', sum_) + text.encode()


def icmp6(src, dst, kind, body):
    sum_ = checksum(pseudo(src, dst, 58, 4 + len(body)) + struct.pack('!BBH', kind, 0, 0) + body)
    return struct.pack('!BBH', kind, 0, sum_) + body


def packet(src, dst, protocol, payload, hops=64):
    if src.version == 6:
        return struct.pack('!IHBB', 6 << 28, len(payload), protocol, hops) + src.packed + dst.packed + payload
    head = struct.pack('!BBHHHBB', 0x45, 0, 20 + len(payload), 1, 0, hops, protocol)
    return head + struct.pack('!H', checksum(head + b'\0\0' + src.packed + dst.packed)) + src.packed + dst.packed + payload


def frame(mac, to, ip):
    return octets(to) + octets(mac) + (b'\x08\x00' if ip[0] >> 4 == 4 else b'\x86\xdd') + ip


def pair(src, dst):
    return ipaddress.ip_address(src), ipaddress.ip_address(dst)


def open_tap(name):
    fd = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack('16sH14s', name.encode(), IFF_TAP | IFF_NO_PI, b''))
    taps[name] = fd


def send_udp(tap, mac, to, src, dst, text, sport=4000, dport=4000):
    s, d = pair(src, dst)
    os.write(taps[tap], frame(mac, to, packet(s, d, 17, udp(s, d, sport, dport, text))))


def solicit(tap, mac, src, target):
    """A neighbour solicitation; from :: it is duplicate address detection (RFC 4862 section 5.4.2)."""
    group = ipaddress.ip_address(b'\xff\x02' + bytes(9) + b'\x01\xff' + ipaddress.ip_address(target).packed[-3:])
    s = ipaddress.ip_address(src)
    option = b'' if s.is_unspecified else b'\x01\x01' + octets(mac)
    body = bytes(4) + ipaddress.ip_address(target).packed + option
    to = '33:33:' + group.packed[-4:].hex(':')
    os.write(taps[tap], frame(mac, to, packet(s, group, 58, icmp6(s, group, 135, body), 255)))


def advertise(tap, mac, src):
    """A router advertisement: a default route for half an hour. False: the link is down and takes nothing."""
    s, d = pair(src, 'ff02::1')
    body = struct.pack('!BBHII', 64, 0, 1800, 0, 0) + b'\x01\x01' + octets(mac)
    try:
        os.write(taps[tap], frame(mac, '33:33:00:00:00:01', packet(s, d, 58, icmp6(s, d, 134, body), 255)))
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return False
    return True


def report(tap, mac, src, group):
    """A multicast listener report, version 2 (RFC 3810), with its router alert option."""
    s, d = pair(src, 'ff02::16')
    body = struct.pack('!HHBBH', 0, 1, 4, 0, 0) + ipaddress.ip_address(group).packed
    payload = b'\x3a\x00\x05\x02\x00\x00\x01\x00' + icmp6(s, d, 143, body)
    os.write(taps[tap], frame(mac, '33:33:00:00:00:16', packet(s, d, 0, payload, 1)))


def ask(tap, mac, sender, target):
    """An ARP request."""
    s, t = pair(sender, target)
    arp = struct.pack('!HHBBH', 1, 0x0800, 6, 4, 1) + octets(mac) + s.packed + bytes(6) + t.packed
    os.write(taps[tap], b'\xff' * 6 + octets(mac) + b'\x08\x06' + arp)


def read(tap):
    """What came out of the tap since the last call: ARP replies, neighbour advertisements, redirects and texts."""
    found = []
    while True:
        try:
            data = os.read(taps[tap], 4096)
        except BlockingIOError:
            return found
        kind, ip = data[12:14], data[14:]
        if kind == b'\x08\x06' and ip[6:8] == b'\0\2':
            found.append('arp ' + str(ipaddress.ip_address(ip[14:18])))
        elif kind == b'\x86\xdd' and ip[6] == 58 and ip[40] == 136:
            found.append('na ' + str(ipaddress.ip_address(ip[48:64])))
        elif kind == b'\x86\xdd' and ip[6] == 58 and ip[40] in (1, 137):
            found.append({1: 'unreachable6', 137: 'redirect6'}[ip[40]])
        elif kind == b'\x08\x00' and ip[9] == 1 and ip[20] in (3, 5):
            found.append({3: 'unreachable4', 5: 'redirect4'}[ip[20]])
        elif kind == b'\x86\xdd' and ip[6] == 17:
            found.append(ip[48:].decode())
        elif kind == b'\x08\x00' and ip[9] == 17:
            found.append(ip[28:].decode())


def listen(name, pid=None, dev=None, port=4000):
    """Opens sockets of both families that hear `port`, in another namespace or on one link when told so."""
    home = os.open('/proc/self/ns/net', os.O_RDONLY)
    if pid is not None:
        enter(os.open(f'/proc/{pid}/ns/net', os.O_RDONLY))
    for family, any_ in ((socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::')):
        one = socket.socket(family, socket.SOCK_DGRAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if dev is not None:
            one.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, dev.encode())
        one.bind((any_, port))
        one.setblocking(False)
        sockets.setdefault(name, []).append(one)
    enter(home)


def enter(fd):
    if libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), 'setns')
    os.close(fd)


def heard(name):
    """Texts that came since the last call, sorted."""
    texts = []
    for one in sockets[name]:
        while True:
            try:
                texts.append(one.recv(2048).decode())
            except BlockingIOError:
                break
    return sorted(texts)


def sniff(name, dev, pid=None, protocols=(ETH_P_ALL,), groups=()):
    """Hears all frames on a link; of `protocols` only those that the kernel takes in, after netdev ingress."""
    home = os.open('/proc/self/ns/net', os.O_RDONLY)
    if pid is not None:
        enter(os.open(f'/proc/{pid}/ns/net', os.O_RDONLY))
    for protocol in protocols:
        one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
        one.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 25)
        one.bind((dev, protocol))
        one.setblocking(False)
        sniffers.setdefault(name, []).append(one)
    for group in groups:
        join(dev, ipaddress.ip_address(group))
    enter(home)


def join(dev, group):
    """Makes the stack of the host take what is sent to a group, as a server on it would."""
    index = socket.if_nametoindex(dev)
    one = socket.socket(socket.AF_INET if group.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    if group.version == 4:
        one.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group.packed + struct.pack('=4xi', index))
    else:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group.packed + struct.pack('=i', index))
    sockets.setdefault('', []).append(one)


def identity(data):
    """The number that test/attack/packet.ts stamped on a frame, with + for an IPv4 fragment that is not the first."""
    kind, rest = data[12:14], data[14:]
    while kind in TAGS:
        kind, rest = rest[2:4], rest[4:]
    if kind == b'\x08\x00':
        number, offset = struct.unpack('!HH', rest[4:8])
        return f"{number}{'+' if offset & 0x1FFF else ''}"
    if kind == b'\x86\xdd':
        return str(struct.unpack('!I', rest[:4])[0] & 0xFFFFF)
    at = data.rfind(b'gwid')
    return '0' if at < 0 else str(struct.unpack('!H', data[at + 4:at + 6])[0])


def drain(seen, watched):
    """Counts what arrived, by place and number."""
    for name, ears in sniffers.items():
        for one in ears:
            while True:
                try:
                    data, address = one.recvfrom(4096)
                except BlockingIOError:
                    break
                if address[2] != PACKET_OTHERHOST or one.proto == socket.htons(ETH_P_ALL):
                    count(seen, name, data)
    for name, tap in watched.items():
        while True:
            try:
                count(seen, name, os.read(taps[tap], 4096))
            except BlockingIOError:
                break


def count(seen, name, data):
    place = seen.setdefault(name, {})
    number = identity(data)
    place[number] = place.get(number, 0) + 1


def volley(tap, frames, watched, end):
    """
    Writes the frames (hex) to a tap; returns how often each arrived, at sniffers and at `watched` ({place: tap}). What a
    tap is written is on its way when write returns, but for the queue of a veth pair: `end` ({tap, frame, place, number})
    is written last, elsewhere, where no filter stops it, and waited for. One CPU, because queues are per CPU.
    """
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    seen = {}
    drain({}, watched)
    for at, frame_ in enumerate(frames):
        write(taps[tap], bytes.fromhex(frame_))
        if at % 64 == 63:  # a tap's queue holds 1,000
            drain(seen, watched)
    write(taps[end['tap']], bytes.fromhex(end['frame']))
    until = time.monotonic() + 10
    while end['number'] not in seen.get(end['place'], {}):
        drain(seen, watched)
        if time.monotonic() > until:
            raise TimeoutError(f"the end of the volley was not heard at {end['place']}")
    return seen


def arrived():
    """How often each number arrived at sniffers since the last call."""
    seen = {}
    drain(seen, {})
    return seen


def write(fd, data):
    """What the tap itself refuses arrives nowhere, which is for the test to find out."""
    try:
        os.write(fd, data)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


OPERATIONS = {'sniff': sniff, 'volley': volley, 'arrived': arrived, 'tap': open_tap, 'udp': send_udp, 'solicit': solicit, 'advertise': advertise, 'report': report, 'ask': ask, 'read': read,
              'listen': listen, 'heard': heard, 'close': lambda name: os.close(taps.pop(name))}

for line in sys.stdin:
    request = json.loads(line)
    operation = request.pop('op')
    try:
        reply = {'ok': OPERATIONS[operation](**request)}
    except Exception as error:  # the test that asked shall see it
        reply = {'error': f'{operation}: {error!r}'}
    print(json.dumps(reply), flush=True)
