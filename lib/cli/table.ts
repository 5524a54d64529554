/** Tables for terminals: columns as wide as they need to be, and what is too wide goes on in the next line. Pure. */

export interface Column {
  readonly title: string;
  /** Characters below which the column is not made narrower; undefined: it keeps the width it needs. */
  readonly least?: number;
}

/** A cell with the escape sequence that colours it; they take no room. */
export interface Cell {
  readonly text: string;
  readonly colour?: Colour | undefined;
}

export type Colour = 'red' | 'green' | 'yellow';

const CODES: Readonly<Record<Colour, string>> = { red: '31', green: '32', yellow: '33' };

const GAP = 2;

/** Returns the lines of a table no wider than `width`, as far as its columns let it. */
export function renderTable(
  columns: readonly Column[], rows: readonly (readonly Cell[])[],
  { width, colours }: { readonly width: number; readonly colours: boolean },
): string[] {
  const widths = fit(columns, rows, width);
  const titles = columns.map(({ title }): Cell => ({ text: title }));
  return [titles, ...rows].flatMap((row) => rowLines(row, widths, colours));
}

/** Returns `text` in a colour. */
export function painted(text: string, colour: Colour | undefined, colours: boolean): string {
  return !colours || colour === undefined || text === '' ? text : `\u001b[${CODES[colour]}m${text}\u001b[0m`;
}

function fit(columns: readonly Column[], rows: readonly (readonly Cell[])[], width: number): number[] {
  const widths = columns.map(({ title }, index) =>
    Math.max(title.length, ...rows.map((row) => row[index]?.text.length ?? 0)));
  let excess = widths.reduce((sum, one) => sum + one + GAP, -GAP) - width;
  while (excess > 0) {
    // The widest gives way first, so that no column is squeezed for another's sake.
    const [widest] = columns.map(({ least }, index) => ({
      index, room: (widths[index] ?? 0) - (least ?? Infinity), size: widths[index] ?? 0,
    }))
      .filter(({ room }) => room > 0).sort((a, b) => b.size - a.size);
    if (widest === undefined) break;
    widths[widest.index] = widest.size - 1;
    excess -= 1;
  }
  return widths;
}

function rowLines(row: readonly Cell[], widths: readonly number[], colours: boolean): string[] {
  const cells = row.map(({ text }, index) => wrapped(text, widths[index] ?? 0));
  const height = Math.max(...cells.map((lines) => lines.length));
  return Array.from({ length: height }, (_, line) => cells.map((lines, index) => {
    const text = lines[line] ?? '';
    const last = index === cells.length - 1;
    return painted(text, row[index]?.colour, colours) + (last
      ? ''
      : ' '.repeat((widths[index] ?? 0) - text.length + GAP));
  }).join('').trimEnd());
}

/** Breaks at a space or behind a comma, and where there is neither, anywhere. */
function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  let rest = text;
  while (rest.length > width) {
    const head = rest.slice(0, width + 1);
    const space = head.lastIndexOf(' ');
    const comma = head.slice(0, width).lastIndexOf(',') + 1;
    const at = space > 0 ? Math.max(space, comma) : comma > 0 ? comma : width;
    lines.push(rest.slice(0, at).trimEnd());
    rest = rest.slice(at).trimStart();
  }
  return [...lines, rest];
}
