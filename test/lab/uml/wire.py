"""The host's eyes and voice on the wire: holds taps as QEMU would, listens on links, sends and floods frames.

One JSON request a line on standard input, {"id", "op", ...}; one answer a line, {"id", "ok"} or {"id", "error"}.
It ends with its standard input. Frames in requests: {"dst", "src", "tag", "ethertype", "text"}; tag is null, a VLAN ID,
or absent. Frames in answers are counted by kind: {"COUNT-less key": count}, the key being
"TAG ETHERTYPE SOURCE DESTINATION TEXT" as in frames.c.
"""
import collections
import fcntl
import json
import os
import select
import socket
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_AUXDATA, PACKET_MR_PROMISC = 263, 1, 8, 1
PACKET_OUTGOING, TP_STATUS_VLAN_VALID = 4, 0x10
SO_RCVBUFFORCE = 33
ETH_P_ALL = 3

taps = {}
listeners = {}
floods = {}


def octets(mac):
    return bytes(int(part, 16) for part in mac.split(':'))


def build(frame):
    data = octets(frame['dst']) + octets(frame['src'])
    if frame.get('tag') is not None:
        data += struct.pack('!HH', 0x8100, frame['tag'])
    data += struct.pack('!H', frame.get('ethertype', 0x88B5)) + frame['text'].encode()
    return data.ljust(60, b'\0')


def text_of(payload):
    text = ''
    for byte in payload[:31]:
        if not 33 <= byte <= 126:
            break
        text += chr(byte)
    return text or '-'


def key_of(data, tag=None):
    at = 12
    if tag is None and data[12:14] == b'\x81\x00':
        tag, at = struct.unpack('!H', data[14:16])[0] & 0xFFF, 16
    destination, source = data[0:6].hex(':'), data[6:12].hex(':')
    return f"{'-' if tag is None else tag} {data[at:at + 2].hex()} {source} {destination} {text_of(data[at + 2:])}"


class Listener:
    def __init__(self, dev):
        self.counts = collections.Counter()
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.bind((dev, ETH_P_ALL))
        index = socket.if_nametoindex(dev)
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.socket.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, struct.pack('iHH8s', index, PACKET_MR_PROMISC, 0, b''))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        self.socket.setblocking(False)

    def fileno(self):
        return self.socket.fileno()

    def drain(self):
        while True:
            try:
                data, control, _, address = self.socket.recvmsg(2048, 256)
            except BlockingIOError:
                return
            if address[2] == PACKET_OUTGOING:
                continue
            tag = None
            for level, kind, aux in control:
                if level == SOL_PACKET and kind == PACKET_AUXDATA:
                    status, _, _, _, _, tci, _ = struct.unpack('IIIHHHH', aux[:20])
                    if status & TP_STATUS_VLAN_VALID:
                        tag = tci & 0xFFF
            self.counts[key_of(data, tag)] += 1


class Flood:
    """Every `interval` seconds each of the frames once."""

    def __init__(self, dev, frames, interval):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.bind((dev, 0))
        self.frames = [build(frame) for frame in frames]
        self.interval, self.next, self.sent = interval, 0, 0

    def due(self, now):
        if now < self.next:
            return
        self.next = now + self.interval
        for frame in self.frames:
            self.socket.send(frame)
        self.sent += 1


def open_tap(name, flags=0):
    fd = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack('16sH14s', name.encode(), IFF_TAP | IFF_NO_PI | flags, b''))
    taps[name] = fd


def read_tap(name):
    counts = collections.Counter()
    while True:
        try:
            counts[key_of(os.read(taps[name], 4096))] += 1
        except BlockingIOError:
            return counts


def send_on(dev, frames):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind((dev, 0))
        for frame in frames:
            sender.send(build(frame))


def counts_of(dev, clear=False):
    listeners[dev].drain()
    counts = dict(listeners[dev].counts)
    if clear:
        listeners[dev].counts.clear()
    return counts


def stop_flood(dev):
    flood = floods.pop(dev)
    flood.socket.close()
    return flood.sent


OPERATIONS = {
    'tap': lambda name: open_tap(name),
    'close': lambda name: os.close(taps.pop(name)),
    'read': lambda name: read_tap(name),
    'write': lambda name, frames: [os.write(taps[name], build(frame)) for frame in frames],
    'listen': lambda dev: listeners.__setitem__(dev, Listener(dev)),
    'counts': counts_of,
    'send': send_on,
    'flood': lambda dev, frames, interval: floods.__setitem__(dev, Flood(dev, frames, interval)),
    'flooded': lambda dev: floods[dev].sent,
    'stop': stop_flood,
}


def answer(line):
    request = json.loads(line)
    number, operation = request.pop('id'), request.pop('op')
    try:
        reply = {'id': number, 'ok': OPERATIONS[operation](**request)}
    except Exception as error:  # the test that asked shall see it
        reply = {'id': number, 'error': f'{operation}: {error!r}'}
    sys.stdout.write(json.dumps(reply) + '\n')
    sys.stdout.flush()


def main():
    pending = b''
    while True:
        wait = min([max(0, flood.next - time.monotonic()) for flood in floods.values()], default=None)
        readable, _, _ = select.select([0, *listeners.values()], [], [], wait)
        for flood in floods.values():
            flood.due(time.monotonic())
        for source in readable:
            if source != 0:
                source.drain()
                continue
            data = os.read(0, 65536)
            if not data:
                return
            *lines, pending = (pending + data).split(b'\n')
            for line in lines:
                answer(line)


main()
