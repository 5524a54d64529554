/** The texts of a file that people read: literals and comments of code, and the prose of a page. */
import ts from 'typescript';

/**
 * @typedef {object} Text
 * @property {'literals' | 'comments' | 'docs'} category
 * @property {number} line
 * @property {string} text
 */

/**
 * Returns the literals and comments of TypeScript or JavaScript.
 * @param {ts.SourceFile} source
 * @returns {Text[]}
 */
export function textsOfCode(source) {
  /** @type {Text[]} */
  const texts = [];
  /** @type {[number, number][]} */
  const masked = [];
  const visit = (/** @type {ts.Node} */ node) => {
    if (isLiteral(node)) {
      const start = node.getStart(source);
      masked.push([start, node.end]);
      if (!isModuleName(node) && 'text' in node) {
        texts.push({
          category: 'literals', line: lineAt(source, start), text: flat(/** @type {string} */ (node.text)),
        });
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return [...texts, ...commentsIn(source, withoutRanges(source.text, masked))];
}

/** @param {ts.Node} node */
function isLiteral(node) {
  return ts.isStringLiteralLike(node) ||
    ts.isTemplateHead(node) ||
    ts.isTemplateMiddle(node) ||
    ts.isTemplateTail(node) ||
    ts.isRegularExpressionLiteral(node);
}

/** @param {ts.Node} node */
function isModuleName(node) {
  return ts.isRegularExpressionLiteral(node) || ts.isImportDeclaration(node.parent) || ts.isExportDeclaration(
    node.parent,
  );
}

/**
 * @param {string} text
 * @param {readonly [number, number][]} ranges
 */
function withoutRanges(text, ranges) {
  let from = 0;
  let left = '';
  for (const [start, end] of [...ranges].sort(([a], [b]) => a - b)) {
    left += text.slice(from, start) + ' '.repeat(end - start);
    from = end;
  }
  return left + text.slice(from);
}

/** A block, or lines of `//` one after another. */
const COMMENT = /\/\*[\s\S]*?\*\/|\/\/.*(?:\n[ \t]*\/\/.*)*/g;

/**
 * @param {ts.SourceFile} source
 * @param {string} code Without literals.
 * @returns {Text[]}
 */
function commentsIn(source, code) {
  return [...code.matchAll(COMMENT)].map((match) => ({
    category: 'comments', line: lineAt(source, match.index),
    text: flat(source.text.slice(match.index, match.index + match[0].length).replace(/^\/\*+|\*+\/$/g, '').replace(
      /^[ \t]*(\*|\/\/)+ ?/gm, '',
    )),
  }));
}

/**
 * Returns the quoted words and the comments of a shell script.
 * @param {string} script
 * @returns {Text[]}
 */
export function textsOfShell(script) {
  return script.split('\n').flatMap((text, index) => {
    const comment = /^\s*#(?!!)(.*)/.exec(text)?.[1];
    const texts = comment === undefined
      ? (text.match(/'[^']*'|"[^"]*"/g) ?? []).map((quoted) => quoted.slice(1, -1))
      : [comment.trim()];
    return texts.map((one) => /** @type {Text} */ ({
      category: comment === undefined ? 'literals' : 'comments', line: index + 1, text: one,
    }));
  });
}

/**
 * Returns the paragraphs of a Markdown page, without code.
 * @param {string} page
 * @returns {Text[]}
 */
export function textsOfPage(page) {
  const prose = page.replace(/^(```|~~~)[\s\S]*?^\1/gm, (code) => code.replace(/[^\n]+/g, ''));
  let line = 1;
  return prose.split(/(\n\s*\n)/).flatMap((part) => {
    const at = line;
    line += part.split('\n').length - 1;
    const text = flat(part.replace(/`[^`]*`/g, '`x`').replace(/^[ \t]*([-*>|]|\d+\.)[ \t]+/gm, ''));
    return text === '' ? [] : [/** @type {Text} */ ({ category: 'docs', line: at, text })];
  });
}

/** @param {string} text */
function flat(text) {
  return text.replace(/\s+/g, ' ').trim();
}

/**
 * @param {ts.SourceFile} source
 * @param {number} position
 */
function lineAt(source, position) {
  return source.getLineAndCharacterOfPosition(position).line + 1;
}
