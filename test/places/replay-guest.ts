/**
 * A guest's image that replays frames: what guest-image built, with an init of its own behind it, which the kernel
 * unpacks over the other.
 */
import { execFileSync } from 'node:child_process';
import { appendFileSync, chmodSync, copyFileSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

const INIT = `#!/bin/sh
mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
mount -t proc proc /proc
mount -t sysfs sys /sys
while read -r module; do insmod /modules/$module; done </modules/always
until [ -e /sys/class/net/eth0 ]; do usleep 10000; done
# It says nothing of its own.
echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
ip link set eth0 arp off up
perl /replay.pl
echo "guest: replay ended with $?"
while :; do sleep 1000; done
`;

/** Frames as a guest reads them: each its length in two bytes, and itself. */
export const packed = (frames: readonly Buffer[]): Buffer => Buffer.concat(frames.flatMap((frame) => {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(frame.length);
  return [length, frame];
}));

/**
 * Returns a directory with `vmlinuz` and `initrd` of a guest that sends `frames` and then one of `ends`, until there
 * are none.
 */
export function replayImage(
  image: string, { frames, ends }: { readonly frames: readonly Buffer[]; readonly ends: readonly Buffer[] },
): string {
  const dir = mkdtempSync(join(tmpdir(), 'guestwire-replay-'));
  const root = join(dir, 'root');
  mkdirSync(root);
  writeFileSync(join(root, 'init'), INIT, { mode: 0o755 });
  writeFileSync(join(root, 'frames'), packed(frames));
  writeFileSync(join(root, 'ends'), packed(ends));
  copyFileSync('test/lab/replay.pl', join(root, 'replay.pl'));
  const libraries = execFileSync('ldd', ['/usr/bin/perl'], { encoding: 'utf8' }).match(/\/\S+/g) ?? [];
  const modules = execFileSync('perl', ['-e', 'require strict; require warnings; require Errno; require Tie::Hash; require Config; print "$_\\n" for values %INC'], { encoding: 'utf8' }).trim().split('\n');
  for (const path of ['/usr/bin/perl', ...libraries, ...modules]) {
    mkdirSync(join(root, dirname(path)), { recursive: true });
    copyFileSync(path, join(root, path));
  }
  const initrd = join(dir, 'initrd');
  copyFileSync(join(image, 'initrd'), initrd);
  copyFileSync(join(image, 'vmlinuz'), join(dir, 'vmlinuz'));
  appendFileSync(
    initrd, execFileSync('sh', ['-c', 'find . | cpio --quiet -o -H newc'], { cwd: root, maxBuffer: 1 << 28 }),
  );
  // QEMU reads them as whoever libvirt makes it.
  chmodSync(dir, 0o755);
  return dir;
}
