// A real guest of libvirt's lxc driver is wired from its start to its end.
import assert from 'node:assert/strict';
import { note, sh, waitFor } from '../uml/lab.js';
import { test } from '../uml/testing.js';
import { addBox, lxc, reached, removeBox, restartDaemon } from './box.js';
import { worldState } from './spaces.js';

test('a guest of lxc is wired from its start to its end, and over a restart of libvirtd', async () => {
  try {
    await addBox(`${process.cwd()}/hooks/qemu`);
    // The first guest makes it, and it stays.
    await sh('mkdir -p -m 700 /run/guestwire');
    const before = await worldState();
    await lxc('start', 'box');
    await reached();
    note(await worldState());
    assert.match(await sh('ip route show proto 117; ip -6 route show proto 117; ip -d link show box'), /192\.0\.2\.20 dev box [^]*2001:db8:0:10::20 dev box [^]*alias guestwire:4dea22b3/);
    await restartDaemon();
    await waitFor(
      async () => (await lxc('domstate', 'box')).trim() === 'running', { what: 'libvirtd to know its guest' },
    );
    await reached();
    // Another driver than the guest's does not know it.
    assert.match(await sh(`LIBVIRT_DEFAULT_URI=test:///default node ${process.cwd()}/dist/cli.js reconcile --all`), /nothing changed/);
    await reached();
    await lxc('destroy', 'box');
    await waitFor(async () => (await worldState()) === before, { what: 'nothing to be left', timeout: 15_000 })
      .catch(() => undefined);
    assert.equal(await worldState(), before);
  } finally {
    await removeBox();
  }
}, { timeout: 300_000 });
