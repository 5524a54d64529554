/**
 * The picture of docs/architecture.md, made from lint/rooms.js: `node lint/picture.js` writes docs/architecture.svg. A
 * test compares the two.
 */
import { writeFileSync } from 'node:fs';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';
import { STOREYS } from './rooms.js';

const WIDTH = 960;
const LEFT = 40;
const ROW = 64;
const BOX = { height: 40, gap: 16 };

/** How a start runs: each step with the room that does it. */
const PIPELINE = [
  ['domain XML', 'domain'], ['intent', 'attachments'], ['attachments', 'attachments'], ['observation', 'kernel'],
  ['plan', 'reconcile'], ['operations', 'state'], ['batches', 'state'], ['run, verify', 'reconcile'],
];

/** @param {string} text @returns {string} */
const escaped = (text) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');

/**
 * @param {{ x: number, y: number, width: number, text: string, title?: string, fill: string }} box
 * @returns {string}
 */
function box({ x, y, width, text, title = '', fill }) {
  return [
    '<g>', `<title>${escaped(title)}</title>`,
    `<rect x="${x}" y="${y}" width="${width}" height="${BOX.height}" rx="6" fill="${fill}" stroke="#445"/>`,
    `<text x="${x + width / 2}" y="${y + 25}" text-anchor="middle">${escaped(text)}</text>`, '</g>',
  ].join('');
}

/** @param {Record<string, string>} rooms @param {number} floor @returns {string} */
function storey(rooms, floor) {
  const names = Object.keys(rooms);
  const y = 30 + (STOREYS.length - 1 - floor) * ROW;
  const width = (WIDTH - LEFT - BOX.gap * names.length) / Math.max(names.length, 4);
  const boxes = names.map((name, index) => box({
    x: LEFT + index * (width + BOX.gap), y, width, text: `${name}/`, title: rooms[name] ?? '', fill: '#eef3fb',
  }));
  return `<text x="12" y="${y + 25}" fill="#778">${floor + 1}</text>${boxes.join('')}`;
}

/** @returns {string} */
function pipeline() {
  const y = 30 + STOREYS.length * ROW + 30;
  const width = (WIDTH - LEFT - BOX.gap * PIPELINE.length) / PIPELINE.length;
  const steps = PIPELINE.map(([text = '', room = ''], index) => {
    const x = LEFT + index * (width + BOX.gap);
    const arrow = index === 0 ? '' : `<path d="M${x - BOX.gap + 2} ${y + 20}h${BOX.gap - 6}" marker-end="url(#tip)"/>`;
    return `${arrow}${box({ x, y, width, text, title: room, fill: '#f6f1e4' })}`
      + `<text x="${x + width / 2}" y="${y + 58}" text-anchor="middle" fill="#778">${room}/</text>`;
  });
  return steps.join('');
}

/** @returns {string} the picture as SVG */
export function picture() {
  const height = 30 + STOREYS.length * ROW + 120;
  const tip = '<marker id="tip" viewBox="0 0 6 6" refX="4" refY="3" markerWidth="6" markerHeight="6" orient="auto">'
    + '<path d="M0 0l6 3-6 3z" fill="#445"/></marker>';
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="14">`,
    `<defs>${tip}</defs>`, `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    '<text x="12" y="18" fill="#778">Rooms of lib/: a room imports rooms of lower storeys only</text>',
    ...STOREYS.map(storey),
    `<text x="12" y="${30 + STOREYS.length * ROW + 18}" fill="#778">The pipeline of a start</text>`,
    `<g stroke-width="1">${pipeline().replace(/<path d="M/g, '<path stroke="#445" d="M')}</g>`, '</svg>', '',
  ].join('\n');
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(fileURLToPath(new URL('../docs/architecture.svg', import.meta.url)), picture());
}
