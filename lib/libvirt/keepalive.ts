/**
 * Whether the peer still lives: after each interval without a message from it, it is sent a ping, and after `count` of
 * them without any message at all it is given up. A kill closes the socket at once; this is for a daemon that is
 * stopped or hangs.
 */

export interface KeepaliveOptions {
  /** Milliseconds of silence before each ping; libvirt's own default is 5000. */
  readonly interval: number;
  /** How many pings stay unanswered before the connection is given up; libvirt's own default is 5. */
  readonly count: number;
}

export interface Keepalive {
  /** The peer has sent something. */
  heard(): void;
  stop(): void;
}

/** Starts it. `dead` is called once, after which it has stopped. */
export function startKeepalive({ interval, count }: KeepaliveOptions, ping: () => void, dead: () => void): Keepalive {
  let silent = 0;
  let heardSince = false;
  const timer = setInterval(() => {
    silent = heardSince ? 0 : silent + 1;
    heardSince = false;
    if (silent > count) {
      clearInterval(timer);
      dead();
    } else if (silent > 0) ping();
  }, interval);
  // The socket keeps the process alive; this need not.
  timer.unref();
  return {
    heard: () => { heardSince = true; },
    stop: () => { clearInterval(timer); },
  };
}
