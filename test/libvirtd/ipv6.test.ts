// @tier libvirt
/** The whole of libvirt.test.ts once more, on a host without an IPv4 address anywhere: the main case, not a corner. */
import process from 'node:process';

process.env['GUESTWIRE_TEST_FAMILIES'] = 'inet6';
await import('./start.test.js');
