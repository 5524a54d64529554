// The emulated system: Debian's own kernel, which has all that User-Mode Linux lacks, under systemd on a disk of its
// own. QEMU emulates the processor, since no machine of CI has hardware to do better.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';

/**
 * Writes the archive that the system unpacks: OUT/job, and what of the checkout runs and is run. The packages go along
 * that the command needs, which are those of a global installation.
 *
 * @param {string} top @param {string} out
 */
export function writeJob(top, out) {
  /** @type {unknown} */
  const lock = JSON.parse(readFileSync(join(top, 'package-lock.json'), 'utf8'));
  const packages = Object.entries(/** @type {{packages: Record<string, {dev?: boolean}>}} */ (lock).packages)
    .filter(([path, { dev }]) => path !== '' && dev !== true)
    .map(([path]) => path);
  const parts = ['package.json', 'dist', 'hooks', 'test/lab', ...packages].map((part) =>
    relative('/', join(top, part)));
  execFileSync('tar', [
    '-c', '-h', '--hard-dereference', '-f', join(out, 'job.tar'), '-C', out, 'job', '-C', join(top, 'test/lab/tcg'),
    'lab-job', '-C', '/', ...parts,
  ]);
}

/** @param {string} image @param {string} out */
export function emulator(image, out) {
  const port = (/** @type {string} */ name) => ['-chardev', `file,id=${name},path=${join(out, name)}`, '-device', `virtserialport,chardev=${name},name=${name}`];
  return [
    'qemu-system-x86_64', '-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', '2', '-m', '1536',
    '-nodefaults', '-display', 'none', '-no-reboot', '-serial', 'stdio',
    '-kernel', join(image, 'vmlinuz'), '-append', 'root=/dev/nvme0n1 rw console=ttyS0 mitigations=off quiet audit=0 panic=-1 systemd.show_status=0',
    // The kernel has NVMe built in. A second disk of that kind would have either name. What is written to the system
    // goes with it.
    '-drive', `id=system,if=none,format=raw,file=${join(image, 'disk')},snapshot=on`, '-device', 'nvme,drive=system,serial=lab',
    '-drive', `if=virtio,format=raw,file=${join(out, 'job.tar')},readonly=on`,
    '-device', 'virtio-serial-pci', ...port('results'), ...port('status'),
  ];
}
