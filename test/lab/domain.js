// The XML of the lab's guests: as small as QEMU's `pc` gets, for a host that emulates every instruction.

/**
 * A domain for `virsh define` or a hook's standard input. Without `guest` it has no disk and runs no code, starts in a
 * second, and is enough wherever nothing inside the guest matters; with it, it boots what guest-image built.
 *
 * @param {object} options
 * @param {string} options.name
 * @param {string} [options.uuid] libvirt makes one up unless given
 * @param {string[]} [options.nics] `<interface>` elements; a virtio model and no option ROM unless they say otherwise
 * @param {string} [options.metadata] what `<metadata>` holds
 * @param {number} [options.memory] MiB
 * @param {{image: string, cmdline?: string}} [options.guest] the directory from guestImage(); the gw. words of
 *   guest-init
 */
export function domainXml({ name, uuid, nics = [], metadata, guest, memory = guest ? 128 : 64 }) {
  return `<domain type='qemu'>
  <name>${name}</name>
${uuid ? `  <uuid>${uuid}</uuid>\n` : ''}${metadata ? `  <metadata>${metadata}</metadata>\n` : ''}  <memory unit='MiB'>${memory}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>${guest ? bootElements(guest) : ''}
  </os>
  <features>
    <acpi/>
  </features>
  <devices>
    <controller type='usb' model='none'/>
${nics.map((nic) => `    ${completeNic(nic)}\n`).join('')}    <serial type='file'>
      <source path='/run/libvirt/console-${name}.log'/>
    </serial>
    <memballoon model='none'/>
  </devices>
</domain>
`;
}

/** @param {{image: string, cmdline?: string}} guest */
function bootElements({ image, cmdline = '' }) {
  return `
    <kernel>${image}/vmlinuz</kernel>
    <initrd>${image}/initrd</initrd>
    <cmdline>console=ttyS0 panic=-1 quiet nokaslr mitigations=off tsc=reliable ${cmdline}</cmdline>`;
}

/** @param {string} nic */
function completeNic(nic) {
  const model = nic.includes('<model') ? '' : "<model type='virtio'/>";
  const rom = nic.includes('<rom') ? '' : "<rom enabled='no'/>";
  return nic.trim().replace(/<\/interface>$/, `${model}${rom}</interface>`);
}
