/** `guestwire completion`: what bash needs to complete guestwire's words, made from the table of commands itself. */
import { UsageError } from '../errors.js';
import { type Command, command } from './command.js';

/** Returns the command; `commands` is the whole table, once it is there. */
export function completionScript(commands: () => readonly Command[]): Command {
  return command({
    name: 'completion',
    summary: 'print the script with which bash completes guestwire',
    help: `Usage: guestwire completion bash

Prints a script for bash that completes commands, options, guests, and the MACs of a guest. 'guestwire install' puts it
where package bash-completion finds it. Without that package, run: source <(guestwire completion bash)`,
    options: {},
    operand: 'shell',
    run: ({ positionals: [shell, extra] }, io) => {
      if (shell !== 'bash' || extra !== undefined) throw new UsageError("only 'bash' has a completion");
      io.print(bashCompletion(commands()));
      return Promise.resolve(0);
    },
  });
}

/** Options with a value that the shell can complete. */
const FILES: ReadonlySet<string> = new Set(['file']);
const MACS: ReadonlySet<string> = new Set(['nic']);

/** Returns the script. It takes the line apart itself: bash takes a colon for the end of a word, and MACs have five. */
function bashCompletion(commands: readonly Command[]): string {
  const cases = commands.map(({ name, options, operand }) => {
    const words = [...Object.keys(options).map((option) => `--${option}`), '--help'].join('\\n');
    return `    ${name}) options=$'${words}'${operand === undefined ? '' : ` operand=${operand}`} ;;`;
  });
  const all = new Map(commands.flatMap(({ options }) => Object.entries(options)));
  const patterns = (wanted: (name: string, type: string) => boolean): string =>
    [...all].filter(([name, { type }]) => wanted(name, type))
      .flatMap(([name, { short }]) => [`--${name}`, ...(short === undefined ? [] : [`-${short}`])]).join('|');
  return `${HEAD}${commands.map(({ name }) => name).join('\\n')}${BODY_START}
    help) operand=command ;;
${cases.join('\n')}
${BODY_MIDDLE}
    ${patterns((name) => FILES.has(name))}) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
    ${patterns((name) => MACS.has(name))}) words=$(virsh --readonly --quiet domiflist "\${line[2]}" 2>/dev/null | grep -oE '([0-9a-f]{2}:){5}[0-9a-f]{2}') ;;
    ${patterns((name, type) => type === 'string' && !FILES.has(name) && !MACS.has(name))}) return ;;
${BODY_END}`;
}

const HEAD = `_guestwire() {
  local IFS=$' \\t\\n' line candidate commands words= options= operand= text=\${COMP_LINE:0:COMP_POINT} word previous
  read -ra line <<<"$text"
  [[ $text == *[[:space:]] ]] && line+=('')
  COMPREPLY=()
  ((\${#line[@]} > 1)) || return
  commands=$'`;

const BODY_START = `'
  word=\${line[-1]} previous=\${line[-2]}
  if ((\${#line[@]} == 2)); then
    mapfile -t COMPREPLY < <(compgen -W "$commands help --help --version" -- "$word")
    return
  fi
  case \${line[1]} in`;

const BODY_MIDDLE = `    *) return ;;
  esac
  case $previous in`;

const BODY_END = `    *)
      words=$options
      if [[ $word != -* ]]; then
        case $operand in
          guest) words=$(virsh --readonly --quiet list --all --name 2>/dev/null) ;;
          shell) words=bash ;;
          command) words=$commands ;;
          *) return ;;
        esac
      fi ;;
  esac
  # Not by compgen -W, which expands what is in a guest's name.
  while read -r candidate; do
    [[ -n $candidate && $candidate == "$word"* ]] && COMPREPLY+=("$(printf %q "$candidate")")
  done <<<"$words"
  # What bash took for words before the last colon is there already.
  [[ $COMP_WORDBREAKS == *:* && $word == *:* ]] && COMPREPLY=("\${COMPREPLY[@]#"\${word%"\${word##*:}"}"}")
}
complete -F _guestwire guestwire`;
