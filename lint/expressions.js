/** Expressions as the search for branches needs them: bare, told apart by their form alone, without types. */
import ts from 'typescript';

/**
 * Returns the access to a table that an expression names, as the site; undefined when it is no such access.
 * @param {ts.Expression} expression
 * @returns {ts.Node | undefined}
 */
export function tableOf(expression) {
  return ts.isElementAccessExpression(expression.parent) ? expression.parent : undefined;
}

/**
 * Returns whether an expression cannot be a kind or the name of one; to ask for its type would cost more than to look.
 * @param {ts.Expression} expression
 */
export function isPlain(expression) {
  return ts.isNumericLiteral(expression) || ts.isTypeOfExpression(expression) || PLAIN.has(expression.kind) ||
    (ts.isIdentifier(expression) && expression.text === 'undefined');
}

const PLAIN = new Set([ts.SyntaxKind.NullKeyword, ts.SyntaxKind.TrueKeyword, ts.SyntaxKind.FalseKeyword]);

/**
 * Returns an expression without parentheses, casts and assertions around it.
 * @param {ts.Expression} expression
 * @returns {ts.Expression}
 */
export function withoutCasts(expression) {
  if (
    ts.isParenthesizedExpression(expression) ||
    ts.isAsExpression(expression) ||
    ts.isNonNullExpression(expression) ||
    ts.isSatisfiesExpression(expression)
  ) {
    return withoutCasts(expression.expression);
  }
  return expression;
}

/**
 * Returns the names of the functions that are type guards, so that other calls need not be resolved.
 * @param {readonly ts.SourceFile[]} files
 * @returns {Set<string>}
 */
export function guardNames(files) {
  /** @type {Set<string>} */
  const names = new Set();
  for (const { statements } of files) {
    for (const one of statements) {
      if (ts.isFunctionDeclaration(one) && one.name && one.type && ts.isTypePredicateNode(one.type)) {
        names.add(one.name.text);
      }
    }
  }
  return names;
}
