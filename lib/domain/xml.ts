/**
 * Text to a tree of elements, strictly: what is not one well-formed document is refused, and so is what could cost a
 * root process its time or memory (a DOCTYPE, deep nesting, megabytes). Names are resolved to namespaces here, so that
 * no caller ever looks at a prefix. What the elements mean is for domain.ts and metadata.ts.
 */
import { type SaxesAttributeNS, SaxesParser, type SaxesTagNS } from 'saxes';
import { DomainXmlError } from '../errors.js';
import { oneLine, quote } from '../values/quote.js';

/** Longest document, in bytes of UTF-8: a string in libvirt's own protocol cannot be longer (REMOTE_STRING_MAX). */
export const MOST_XML = 4 * 1024 * 1024;

/** Deepest nesting, the root being 1. libxml2, and so libvirt, stops one level later. */
export const MOST_DEPTH = 256;

/** Most elements and attributes together: resolving their namespaces is what costs, up to 5 us each at full depth. */
export const MOST_NODES = 100_000;

export interface XmlElement {
  /** Namespace, '' for none. saxes trims the name, so white space around a namespace does not hide it. */
  readonly uri: string;
  readonly local: string;
  /** Attributes in no namespace, by name, in document order. */
  readonly attributes: ReadonlyMap<string, string>;
  /** Attributes with a prefix, apart because libvirt uses no prefixes; namespace declarations are in neither. */
  readonly qualified: readonly { readonly uri: string; readonly local: string }[];
  readonly children: readonly XmlElement[];
  /** The element's own character data, CDATA included, joined over its children. */
  readonly text: string;
}

/**
 * Returns the root element. Bytes must be UTF-8, which is what libvirt writes. Throws DomainXmlError, which says the
 * line and column, both from 1.
 */
export function parseXml(document: string | Uint8Array): XmlElement {
  const text = documentText(document);
  assertReadable(text);
  // XML 1.1 would admit control characters as references; libxml2 reads every document by the rules of 1.0.
  const parser: Parser = new SaxesParser({
    xmlns: true, position: false, forceXMLVersion: true, defaultXMLVersion: '1.0',
  });
  parser.on('error', (error) => { refuse(parser, parseReason(error)); });
  parser.on('doctype', () => { refuse(parser, 'a DOCTYPE is not accepted: libvirt writes none, and its entities could grow without bound'); });
  parser.on('xmldecl', ({ encoding }) => { assertEncoding(parser, encoding); });
  limitNodes(parser);
  const rootOf = build(parser);
  parser.write(text).close();
  return rootOf();
}

type Parser = SaxesParser<{ xmlns: true; position: false; forceXMLVersion: true; defaultXMLVersion: '1.0' }>;

/** The events that come before saxes resolves the name, so that nothing over the limit is paid for. */
function limitNodes(parser: Parser): void {
  let nodes = 0;
  const count = (): void => {
    nodes += 1;
    if (nodes > MOST_NODES) refuse(parser, `more than ${MOST_NODES} elements and attributes`);
  };
  parser.on('opentagstart', count);
  parser.on('attribute', count);
}

/** An element that is still open. */
interface Open extends XmlElement {
  children: XmlElement[];
  text: string;
}

/** Makes `parser` build a tree; the function it returns gives the root once the parser is closed without an error. */
function build(parser: Parser): () => XmlElement {
  // The document is the parent of the root, so that the root needs no case of its own.
  const document: Open = { uri: '', local: '', attributes: NO_ATTRIBUTES, qualified: NONE, children: [], text: '' };
  const open: Open[] = [document];
  let innermost = document;
  parser.on('opentag', (tag) => {
    if (open.length > MOST_DEPTH) refuse(parser, `elements are nested deeper than ${MOST_DEPTH} levels`);
    const element: Open = { uri: tag.uri, local: tag.local, ...attributesOf(tag), children: [], text: '' };
    innermost.children.push(element);
    open.push(element);
    innermost = element;
  });
  parser.on('closetag', () => {
    open.pop();
    innermost = open.at(-1) ?? document;
  });
  const append = (data: string): void => { innermost.text += data; };
  parser.on('text', append);
  parser.on('cdata', append);
  return () => {
    const [root] = document.children;
    if (root === undefined) refuse(parser, 'document must contain a root element');
    return root;
  };
}

const NO_ATTRIBUTES: ReadonlyMap<string, string> = new Map();
const NONE: readonly never[] = Object.freeze([]);
const XMLNS = 'http://www.w3.org/2000/xmlns/';

function attributesOf(tag: SaxesTagNS): Pick<XmlElement, 'attributes' | 'qualified'> {
  const all: SaxesAttributeNS[] = Object.values(tag.attributes);
  if (all.length === 0) return { attributes: NO_ATTRIBUTES, qualified: NONE };
  const qualified = all.filter(({ uri }) => uri !== '' && uri !== XMLNS).map(({ uri, local }) => ({ uri, local }));
  return {
    attributes: new Map(all.filter(({ uri }) => uri === '').map(({ local, value }) => [local, value])), qualified,
  };
}

function documentText(document: string | Uint8Array): string {
  if (Buffer.byteLength(document) > MOST_XML) {
    throw new DomainXmlError(`domain XML is longer than ${MOST_XML} bytes, the most that guestwire reads`);
  }
  if (typeof document === 'string') return document;
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(document);
  } catch (error) {
    throw new DomainXmlError('domain XML is not UTF-8 text: save the document as UTF-8', { cause: error });
  }
}

function assertReadable(text: string): void {
  if (text.trim() === '') throw new DomainXmlError('domain XML is empty: pass the XML of one domain');
  // saxes pairs a lone high surrogate with whatever follows it, even with a '<'.
  if (/\p{Surrogate}/u.test(text)) throw new DomainXmlError('domain XML is not Unicode text: it contains half a surrogate pair');
}

function assertEncoding(parser: Parser, encoding: string | undefined): void {
  if (encoding === undefined || /^(utf-8|us-ascii|ascii)$/i.test(encoding)) return;
  refuse(parser, `encoding ${quote(encoding)} is not supported: save the document as UTF-8`);
}

function refuse(parser: Parser, reason: string): never {
  // saxes counts what it has read: the column of the offending character, or 0 at the end of a document that ends a
  // line.
  throw new DomainXmlError(`domain XML line ${parser.line} column ${Math.max(1, parser.column)}: ${reason}`);
}

/** saxes ends its messages with a full stop, and puts the name of the element last: `unclosed tag: devices`. */
function parseReason(error: Error): string {
  const reason = error.message.replace(/\.$/, '');
  const [, what, name] = /^(.*?): "?(.*?)"?$/s.exec(reason) ?? [];
  return what === undefined || name === undefined ? oneLine(reason) : `${what} ${quote(name)}`;
}
