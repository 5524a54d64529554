// How rooms may import each other, made from lint/rooms.js; `npm run lint` runs it.
import { DOORS, STOREYS } from './lint/rooms.js';

const storeys = STOREYS.map((rooms) => Object.keys(rooms));
const inside = (/** @type {string[]} */ rooms) => `^lib/(${rooms.join('|')})/`;

const downwards = storeys.flatMap((rooms, floor) => rooms.map((room) => ({
  name: `${room}-looks-down`,
  comment: 'A room imports lower storeys only: move what both need down, or hand it in.',
  severity: 'error',
  from: { path: `^lib/${room}/` },
  to: { path: inside(storeys.slice(floor).flat().filter((other) => other !== room)) },
}))).filter(({ to }) => to.path !== inside([]));

const doors = DOORS.map(([name, place]) => ({
  name: `${name}-has-one-door`,
  severity: 'error',
  from: { path: '^(lib|hooks)/', pathNot: place },
  to: { path: `node_modules/${name}/` },
}));

export default {
  forbidden: [
    ...downwards,
    ...doors,
    { name: 'no-circle', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'lib-has-no-flat-file',
      comment: 'Every file of lib/ is in a room.',
      severity: 'error',
      from: { path: '^lib/(?!(index|errors|cli)\\.ts$)[^/]+\\.ts$' },
      to: {},
    },
    {
      name: 'errors-stand-under-all',
      severity: 'error',
      from: { path: '^lib/errors' },
      to: { path: '^lib/' },
    },
    {
      name: 'hook-never-reaches-libvirt',
      comment: 'Calling libvirt from its own hook deadlocks it; execa doubles the time of a start.',
      severity: 'error',
      from: { path: '^hooks/hook(-cached)?\\.ts$' },
      to: { path: '^lib/(libvirt|guests|agent|cli)/|^lib/system/exec-async|node_modules/execa/', reachable: true },
    },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
  },
};
