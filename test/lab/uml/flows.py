"""Ends of flows between namespaces, for policy.test.js.

  flows.py serve           takes TCP on ports 22 and 443, sends back what comes by UDP to port 7, and answers port 67 by broadcast to 68
  flows.py meet ADDRESS PORT ...   tries all at once; prints 1 for each that takes a connection and speaks, else 0
  flows.py send FROM-PORT ADDRESS PORT SIZE   sends one datagram; prints how much comes back, 0 for nothing
  flows.py hear PORT       prints the senders of datagrams for two seconds
  flows.py lease           asks port 67 by broadcast from 68; prints 1 when an answer comes
"""
import concurrent.futures as futures, os, socket, sys, threading

TIMEOUT = 2.5


def listener(kind, port):
    server = socket.socket(socket.AF_INET6, kind)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(('::', port))
    return server


def greet(port):
    server = listener(socket.SOCK_STREAM, port)
    server.listen(64)
    while True:
        client = server.accept()[0]
        client.send(b'x')
        client.close()


def reflect(port):
    server = listener(socket.SOCK_DGRAM, port)
    while True:
        data, sender = server.recvfrom(65535)
        server.sendto(data, sender)


def broadcaster(port):
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'eth0')
    client.bind(('', port))
    return client


def lend():
    server = broadcaster(67)
    while True:
        server.recvfrom(65535)
        server.sendto(b'lease', ('255.255.255.255', 68))


def serve():
    for work in [lambda: greet(22), lambda: greet(443), lambda: reflect(7), *([lend] if os.path.exists('/sys/class/net/eth0') else [])]:
        threading.Thread(target=work).start()
    print('ready', flush=True)


def meets(target):
    try:
        with socket.create_connection(target, timeout=TIMEOUT) as client:
            return '1' if client.recv(1) == b'x' else '0'
    except OSError:
        return '0'


def meet(words):
    targets = [(address, int(port)) for address, port in zip(words[::2], words[1::2])]
    with futures.ThreadPoolExecutor(len(targets)) as pool:
        print(''.join(pool.map(meets, targets)))


def answer(client):
    client.settimeout(TIMEOUT)
    try:
        return len(client.recv(65535))
    except OSError:
        return 0


def send(source, address, port, size):
    client = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_DGRAM)
    client.bind(('', int(source)))
    client.connect((address, int(port)))
    client.send(b'x' * int(size))
    print(answer(client))


def hear(port):
    server = listener(socket.SOCK_DGRAM, int(port))
    server.settimeout(2)
    print('ready', flush=True)
    try:
        while True:
            print(server.recvfrom(65535)[1][0], flush=True)
    except socket.timeout:
        pass


def lease():
    client = broadcaster(68)
    client.sendto(b'discover', ('255.255.255.255', 67))
    print(1 if answer(client) > 0 else 0)


command, *words = sys.argv[1:]
{'serve': serve, 'meet': lambda *_: meet(words), 'send': send, 'hear': hear, 'lease': lease}[command](*words)
