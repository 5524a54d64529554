/** Words and phrases that make a sentence hard to read, each with the reason and a better phrase. */

/**
 * @typedef {object} Banned
 * @property {string} name
 * @property {RegExp} pattern Matched in running text, one match a count.
 * @property {string} reason
 * @property {string} better
 */

/**
 * @param {string} name
 * @param {RegExp} pattern
 * @param {readonly [reason: string, better: string]} advice
 * @returns {Banned}
 */
function banned(name, pattern, [reason, better]) {
  return { name, pattern, reason, better };
}

/** The start of a text or of a sentence, and of a clause behind a semicolon. */
const OPENS = String.raw`(?<=^|[.!?;:] |\*\*)`;

/** To ban one more, add a line; `npm run lint` then prints the counts to write into english.json. */
export const BANNED = [
  banned('who', /\bwho\b/gi, ['it means a person', 'name the thing: the process, the guest, the caller that …']),
  banned('whom', /\bwhom\b/gi, ['it means a person', 'name the thing: the guest to which …']),
  banned('whose', /\bwhose\b/gi, ['it means a person', '"with", or a sentence of its own: a link with another ifindex']),
  banned('whoever', /\bwho(m|se)?ever\b/gi, ['it has no antecedent', 'name the thing: the caller, the process, any client that …']),
  banned('nobody', /\b(nobody|no one)\b/gi, ['it means persons', '"no guest", "no process", "no program", or the passive without it']),
  banned('somebody', /\b(somebody|someone)\b/gi, ['it means a person', '"another program", "another guest", "the administrator"']),
  banned('anybody', /\b(anybody|anyone)\b/gi, ['it means persons', '"any process", "any guest", "any user"']),
  banned('everybody', /\b(everybody|everyone)\b/gi, ['it means persons', '"every process", "every guest", "all users"']),
  banned('to be had', /\b(to be had|(was|is|are|were)( not)? had)\b/gi, ['it is archaic', '"is available", "cannot be reached", "could not get"']),
  banned('by now', /\bby now\b/gi, ['it has two meanings', '"already", "since", or the event after which it holds']),
  banned('by then', /\bby then\b/gi, ['it has two meanings', '"already", "before that"']),
  banned('of now', /\bof now\b/gi, ['it is not English', '"current"']),
  banned('all the same', /\ball the same\b/gi, ['it also means "all equal"', '"still", "nevertheless"']),
  banned('make right', /\b(make[sn]?|made|making|puts?|set) (it |them |that |all )?right\b/gi, ['it says no change', '"repair", "wire again", "correct"']),
  banned('not any more', /\bnot( \w+)? any more\b/gi, ['it is clumsy', '"no longer"']),
  banned('is no NOUN', /\b(is|are|was|were) no (?!longer\b|more\b|such\b)\w+/gi, ['it is a foreign turn', '"is not a …"']),
  banned('is none', /\b(is|are) none\b(?! of\b)/gi, ['it needs a second reading', '"does not exist", "is not one"']),
  banned('has none', /\b(has|have|had) none\b/gi, ['it needs a second reading', '"does not have one"']),
  banned('speaks of', /\b(speaks?|spoken?|spoke) of\b/gi, ['files do not speak', '"mentions", "configures"']),
  banned('tells of', /\b(tells?|told|telling) of\b/gi, ['things do not tell', '"reports", "logs", "shows"']),
  banned('says of', /\b(says?|said) of\b/gi, ['it hides what is said', '"reports about", "configures for"']),
  banned('goes by', /\b(goes|go|going|went) by\b/gi, ['it has three meanings', '"is identified by", "uses"']),
  banned(
    'look after', /\b(looks?|looked|looking) after\b/gi, ['it is for persons', '"maintains", "checks and repairs"'],
  ),
  banned('mend', /\bmend(s|ed|ing)?\b/gi, ['it is archaic', '"repair"']),
  banned('anew', /\banew\b/gi, ['it is archaic', '"again", "a new …"']),
  banned('lest, thereof …', /\b(lest|thereof|therein|wherein|whereof|whereby|hitherto)\b/gi, ['it is archaic', 'a clause with "so that" or "of which"']),
  banned('as it should be', /\bas (it|they|he|she) should be\b/gi, ['it does not say what is wrong', 'name the difference: "differs from the wanted state"']),
  banned('what is not', /\bwhat (is|was|are) no(t|ne)?\b/gi, ['it is an inverted clause', 'name the thing first: "links that are not …"']),
  banned(
    'for what is', /\b(of|for|to|from) what (is|was)\b/gi, ['it is an inverted clause', 'a noun: "the objects that …"'],
  ),
  banned('opens with Of', new RegExp(`${OPENS}Of (?!course\\b)`, 'g'), [
    'it puts the sentence upside down', 'start with the subject',
  ]),
  banned('opens with What is', new RegExp(`${OPENS}What (is|was|are|were|differs|comes|goes|has)\\b(?![^.]*\\?)`, 'g'), ['it hides the subject', 'start with a noun']),
  banned('opens with Nor', new RegExp(`${OPENS}Nor\\b`, 'g'), ['it inverts the sentence', '"… does not … either"']),
];

/**
 * Returns how often each banned phrase is in a text, without those that are not.
 * @param {string} text Running text: lines of one paragraph joined by a space.
 * @returns {Map<string, number>}
 */
export function countBanned(text) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const { name, pattern } of BANNED) {
    const found = text.match(pattern)?.length ?? 0;
    if (found > 0) counts.set(name, found);
  }
  return counts;
}
