/** Sites that branch on a kind, found by type: the text 'link' is also a word of commands and of tables. */
import ts from 'typescript';
import { guardNames, isPlain, tableOf, withoutCasts } from './expressions.js';
import { literalTypes } from './families.js';
import { pathIn } from './program.js';

/** @typedef {import('./program.js').Sources} Sources */
/** @typedef {import('./families.js').Family} Family */

/** A module in the folder of one attachment kind. */
const KIND_MODULE = /(^|\/)attachments\/[^/]+\//;

/**
 * @typedef {object} Site
 * @property {string} family
 * @property {string} file
 * @property {number} line
 * @property {'comparison' | 'case' | 'in' | 'membership' | 'set' | 'table' | 'guard' | 'guard call' | 'import'} form
 */

const EQUALITY = new Set([
  ts.SyntaxKind.EqualsEqualsToken, ts.SyntaxKind.EqualsEqualsEqualsToken,
  ts.SyntaxKind.ExclamationEqualsToken, ts.SyntaxKind.ExclamationEqualsEqualsToken,
]);
/** Methods of sets, maps and arrays whose argument is looked for. */
const LOOKUPS = new Set(['has', 'includes', 'indexOf', 'lastIndexOf', 'get']);

/**
 * Returns every site outside the rooms of the kinds, in the order of files and lines.
 * @param {Sources} sources
 * @param {readonly Family[]} families
 * @returns {Site[]}
 */
export function sitesIn(sources, families) {
  const finder = new Finder(sources, families);
  for (const file of sources.files) finder.visit(file);
  return finder.sites();
}

class Finder {
  /** @type {Map<ts.Node, Site>} */
  #sites = new Map();
  #sources;
  #families;
  #guards;

  /**
   * @param {Sources} sources
   * @param {readonly Family[]} families
   */
  constructor(sources, families) {
    this.#sources = sources;
    this.#families = families;
    this.#guards = guardNames(sources.files);
  }

  /** @returns {Site[]} */
  sites() {
    return [...this.#sites.values()].sort((a, b) => (a.file === b.file ? a.line - b.line : a.file < b.file ? -1 : 1));
  }

  /** @param {ts.Node} node */
  visit(node) {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) this.#import(node);
    else if (ts.isBinaryExpression(node)) this.#binary(node);
    else if (ts.isCaseClause(node)) this.#add(node, this.#familyOf(node.parent.parent.expression), 'case');
    else if (ts.isCallExpression(node)) this.#call(node);
    else if (ts.isElementAccessExpression(node)) this.#table(node.expression, node.argumentExpression);
    else if (ts.isTypePredicateNode(
      node,
    )) this.#add(node, node.type && this.#memberFamily(this.#sources.checker.getTypeFromTypeNode(node.type)), 'guard');
    ts.forEachChild(node, (child) => { this.visit(child); });
  }

  /**
   * @param {ts.Node} node
   * @param {Family | undefined} family
   * @param {Site['form']} form
   */
  #add(node, family, form) {
    if (family === undefined || this.#sites.has(node)) return;
    const source = node.getSourceFile();
    const file = pathIn(this.#sources.root, source.fileName);
    if (family.owns(file)) return;
    const line = source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1;
    this.#sites.set(node, { family: family.name, file, line, form });
  }

  /**
   * A room above that reaches into the folder of one kind knows that kind by its name.
   * @param {ts.ImportDeclaration | ts.ExportDeclaration} node
   */
  #import(node) {
    const { moduleSpecifier } = node;
    if (moduleSpecifier === undefined || !ts.isStringLiteral(moduleSpecifier)) return;
    if (!KIND_MODULE.test(moduleSpecifier.text)) return;
    this.#add(node, this.#families.find(({ name }) => name === 'attachment'), 'import');
  }

  /** @param {ts.BinaryExpression} node */
  #binary(node) {
    const { left, right, operatorToken: { kind: operator } } = node;
    if (operator === ts.SyntaxKind.InKeyword) {
      const family = this.#familyOf(left);
      if (family !== undefined) {
        this.#add(tableOf(right) ?? right, this.#isOwned(right, family) ? undefined : family, 'table');
      }
      this.#add(node, family ?? this.#memberFamily(this.#sources.checker.getTypeAtLocation(right), 2), 'in');
    }
    if (!EQUALITY.has(operator) || isPlain(left) || isPlain(right)) return;
    const families = [this.#familyOf(left), this.#familyOf(right)];
    // Kinds of two objects compared with each other: that decides nothing about any one kind.
    if ([left, right].every((side, index) => families[index] !== undefined && this.#originOf(withoutCasts(
      side,
    )) !== undefined)) return;
    this.#add(
      node,
      families.find((family) => family !== undefined) ?? this.#looseFamily(left, right) ?? this.#looseFamily(
        right, left,
      ),
      'comparison',
    );
  }

  /** @param {ts.CallExpression} node */
  #call(node) {
    const { expression: callee, arguments: [first, second] } = node;
    if (ts.isPropertyAccessExpression(callee)) {
      const [table, key] = callee.name.text === 'hasOwn'
        ? [first, second]
        : LOOKUPS.has(callee.name.text) ? [callee.expression, first] : [];
      const family = key && this.#familyOf(key);
      if (family !== undefined && table !== undefined && !this.#isOwned(table, family)) {
        this.#add(node, family, 'membership');
        this.#addSet(table, family);
      }
    }
    const predicate = this.#predicateOf(callee);
    if (predicate?.type !== undefined) {
      this.#add(node, this.#memberFamily(this.#sources.checker.getTypeFromTypeNode(predicate.type)), 'guard call');
    }
  }

  /**
   * A guard that a kind's own room declares is as good as a comparison where it is called; any other counts where it is
   * declared.
   * @param {ts.Expression} callee
   * @returns {ts.TypePredicateNode | undefined}
   */
  #predicateOf(callee) {
    const name = ts.isPropertyAccessExpression(callee) ? callee.name : callee;
    if (!ts.isIdentifier(name) || !this.#guards.has(name.text)) return undefined;
    const declaration = this.#declarationOf(callee);
    if (declaration === undefined || !ts.isFunctionLike(declaration) || declaration.type === undefined) {
      return undefined;
    }
    if (!ts.isTypePredicateNode(declaration.type)) return undefined;
    const file = pathIn(this.#sources.root, declaration.getSourceFile().fileName);
    return this.#families.some((family) => family.owns(file)) ? declaration.type : undefined;
  }

  /**
   * @param {ts.Expression} table
   * @param {ts.Expression} key
   */
  #table(table, key) {
    const family = isPlain(key) ? undefined : this.#familyOf(key);
    if (family !== undefined && !this.#isOwned(table, family)) this.#add(tableOf(table) ?? table, family, 'table');
  }

  /**
   * The names that a membership test looks among count where they are written.
   * @param {ts.Expression} table
   * @param {Family} family
   */
  #addSet(table, family) {
    const declaration = this.#declarationOf(table);
    if (declaration !== undefined && ts.isVariableDeclaration(declaration) && declaration.initializer !== undefined) {
      this.#add(declaration, family, 'set');
    }
  }

  /**
   * Returns whether a table is declared by a room of the kinds: to look a kind up there is to ask the kind.
   * @param {ts.Expression} table
   * @param {Family} family
   */
  #isOwned(table, family) {
    const declaration = this.#declarationOf(table);
    return declaration !== undefined && family.owns(pathIn(this.#sources.root, declaration.getSourceFile().fileName));
  }

  /**
   * @param {ts.Expression} expression
   * @returns {ts.Declaration | undefined}
   */
  #declarationOf(expression) {
    const { checker } = this.#sources;
    const symbol = checker.getSymbolAtLocation(ts.isPropertyAccessExpression(expression)
      ? expression.name
      : expression);
    const whole = symbol && (symbol.flags & ts.SymbolFlags.Alias) !== 0 ? checker.getAliasedSymbol(symbol) : symbol;
    return whole?.declarations?.[0];
  }

  /**
   * Returns the family whose kind an expression is: by the declaration of the property it comes from, else by its type.
   * @param {ts.Expression} expression
   * @returns {Family | undefined}
   */
  #familyOf(expression) {
    const bare = withoutCasts(expression);
    const origin = this.#originOf(bare);
    if (origin !== undefined) return this.#families.find(({ declarations }) =>
      origin.some((one) => declarations.has(one) || this.#quotes(one, declarations)));
    if (ts.isStringLiteralLike(bare)) return undefined;
    const literals = literalTypes(this.#sources.checker.getTypeAtLocation(bare));
    return literals && literals.length > 1
      ? this.#families.find(({ kinds }) => literals.every((text) => kinds.has(text)))
      : undefined;
  }

  /**
   * Returns where the property is declared that an expression reads, directly, by destructuring or by a constant.
   * @param {ts.Expression} expression
   * @returns {readonly ts.Declaration[] | undefined}
   */
  #originOf(expression) {
    const { checker } = this.#sources;
    if (ts.isPropertyAccessExpression(expression)) return checker.getSymbolAtLocation(expression.name)?.declarations;
    if (!ts.isIdentifier(expression)) return undefined;
    const declaration = checker.getSymbolAtLocation(expression)?.valueDeclaration;
    if (declaration === undefined) return undefined;
    if (ts.isVariableDeclaration(declaration) && declaration.initializer !== undefined) {
      return this.#originOf(withoutCasts(declaration.initializer));
    }
    if (!ts.isBindingElement(declaration) || !ts.isObjectBindingPattern(declaration.parent)) return undefined;
    const name = declaration.propertyName ?? declaration.name;
    return ts.isIdentifier(name)
      ? checker.getTypeAtLocation(declaration.parent).getProperty(name.text)?.declarations
      : undefined;
  }

  /**
   * Returns whether a declaration's type is written as the kind of a member:
   * `readonly kind: Attachment['kind'] | null`.
   * @param {ts.Declaration} declaration
   * @param {ReadonlySet<ts.Node>} declarations
   */
  #quotes(declaration, declarations) {
    if (!ts.isPropertySignature(declaration) || declaration.type === undefined) return false;
    const parts = ts.isUnionTypeNode(declaration.type) ? declaration.type.types : [declaration.type];
    return parts.some((part) => {
      if (!ts.isIndexedAccessTypeNode(part) || part.indexType.getText() !== "'kind'") return false;
      const kind = this.#sources.checker.getTypeFromTypeNode(part.objectType).getProperty('kind');
      return kind?.declarations?.some((one) => declarations.has(one)) === true;
    });
  }

  /**
   * A `kind` with a type of its own, compared with the name of a kind: the type was lost, the branch is still there. A
   * type of literals counts for names with a dash only: 'veth' and 'tap' are also words of other unions.
   * @param {ts.Expression} side
   * @param {ts.Expression} other
   * @returns {Family | undefined}
   */
  #looseFamily(side, other) {
    const bare = withoutCasts(side);
    const name = ts.isPropertyAccessExpression(bare) ? bare.name.text : ts.isIdentifier(bare) ? bare.text : '';
    if (name !== 'kind' || !ts.isStringLiteralLike(other)) return undefined;
    const type = this.#sources.checker.getTypeAtLocation(bare);
    const isText = (this.#sources.checker.getNonNullableType(type).flags & ts.TypeFlags.String) !== 0;
    const literals = isText ? [] : other.text.includes('-') ? literalTypes(type) : undefined;
    return literals &&
      this.#families.find(({ kinds }) => kinds.has(other.text) && literals.every((text) => kinds.has(text)));
  }

  /**
   * Returns the family that a type is a member, or a union of members, of; `least` members.
   * @param {ts.Type} type
   * @param {number} least
   * @returns {Family | undefined}
   */
  #memberFamily(type, least = 1) {
    const parts = type.isUnion() ? type.types : [type];
    if (parts.length < least) return undefined;
    return this.#families.find(({ declarations }) =>
      parts.every((part) => part.getProperty('kind')?.declarations?.some((one) => declarations.has(one))));
  }
}
