/**
 * Families of kinds: the unions whose `kind` the code branches on, found by their exported names wherever they are
 * declared.
 */
import ts from 'typescript';
import { pathIn } from './program.js';

/** @typedef {import('./program.js').Sources} Sources */

/**
 * @typedef {object} FamilyRule
 * @property {string} name What the lint calls the family.
 * @property {readonly string[]} types Exported names of the unions.
 * @property {(path: string, kinds: ReadonlySet<string>) => boolean} owns Whether a file is a room of the kinds
 * themselves.
 */

/**
 * @typedef {object} Family
 * @property {string} name
 * @property {ReadonlySet<string>} kinds Every literal of `kind`.
 * @property {ReadonlySet<ts.Node>} declarations Where the members declare `kind`.
 * @property {(path: string) => boolean} owns
 */

/**
 * Returns whether a file belongs to one attachment kind, or lists them all.
 * @param {string} path
 * @param {ReadonlySet<string>} kinds
 */
function isOfAttachmentKind(path, kinds) {
  const folder = /^lib\/attachments\/([^/]+)\//.exec(path)?.[1];
  return folder === undefined ? ATTACHMENT_REGISTRY.has(path) : kinds.has(folder);
}

const ATTACHMENT_REGISTRY = new Set(['lib/attachments/kinds.ts', 'lib/attachments/attachment.ts']);
const OBJECT_ROOM = /^lib\/state\/objects(\.ts$|\/)/;
/**
 * Where every attachment kind has its folder, whatever its name: such a folder also knows the objects that its kind
 * makes.
 */
const KIND_FOLDER = /^lib\/attachments\/[^/]+\//;

/**
 * The rooms that may branch, in one table.
 * @type {readonly FamilyRule[]}
 */
export const FAMILY_RULES = [
  { name: 'attachment', types: ['Placed', 'Attachment'], owns: isOfAttachmentKind },
  { name: 'object', types: ['NetObject'], owns: (path) => OBJECT_ROOM.test(path) || KIND_FOLDER.test(path) },
];

/**
 * Returns the families that the sources declare. Throws when a union is missing: a lint that finds nothing would stay
 * silent.
 * @param {Sources} sources
 * @returns {Family[]}
 */
export function familiesIn(sources) {
  const found = exportedTypes(sources, new Set(FAMILY_RULES.flatMap(({ types }) => types)));
  return FAMILY_RULES.map(({ name, types, owns }) => {
    const members = types
      .flatMap((type) => found.get(type) ?? [])
      .flatMap((type) => (type.isUnion() ? type.types : [type]));
    const kinds = new Set(members.flatMap((member) => literalsOf(sources.checker, member)));
    if (kinds.size === 0) throw new Error(`no exported type ${types.join(' or ')} with literals of 'kind' below lib: tell lint/families.js the new name`);
    const declarations = new Set(members.flatMap((member) => member.getProperty('kind')?.declarations ?? []));
    return { name, kinds, declarations, owns: (path) => owns(path, kinds) };
  });
}

/**
 * @param {Sources} sources
 * @param {ReadonlySet<string>} names
 */
function exportedTypes({ root, checker, files }, names) {
  /** @type {Map<string, ts.Type[]>} */
  const found = new Map();
  for (const file of files.filter(({ fileName }) => pathIn(root, fileName).startsWith('lib/'))) {
    for (const statement of file.statements) {
      if (!ts.isTypeAliasDeclaration(statement) && !ts.isInterfaceDeclaration(statement)) continue;
      if (!names.has(statement.name.text) || (ts.getCombinedModifierFlags(statement) & ts.ModifierFlags.Export) === 0) {
        continue;
      }
      found.set(
        statement.name.text, [...(found.get(statement.name.text) ?? []), checker.getTypeAtLocation(statement.name)],
      );
    }
  }
  return found;
}

/**
 * @param {ts.TypeChecker} checker
 * @param {ts.Type} member
 * @returns {string[]}
 */
function literalsOf(checker, member) {
  const kind = member.getProperty('kind');
  return kind === undefined ? [] : literalTypes(checker.getTypeOfSymbol(kind)) ?? [];
}

/**
 * Returns the texts of a string literal type or of a union of them, without `undefined`; of any other type undefined.
 * @param {ts.Type} type
 * @returns {string[] | undefined}
 */
export function literalTypes(type) {
  const parts = (type.isUnion() ? type.types : [type]).filter(({ flags }) =>
    (flags & (ts.TypeFlags.Undefined | ts.TypeFlags.Null)) === 0);
  const texts = parts.map((part) => (part.isStringLiteral() ? part.value : undefined));
  return texts.length === 0 || texts.includes(undefined) ? undefined : texts.filter((text) => text !== undefined);
}
