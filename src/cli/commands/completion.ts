import { Argument, type Command } from 'commander';
import { example } from '../output.js';

/** The command that prints the completion of a shell. */
export function completionCommand(program: Command): void {
  program
    .command('completion')
    .summary('print the completion of a shell')
    .description('Prints a script with which a shell completes commands and flags.')
    .addArgument(new Argument('<shell>').choices(['bash', 'zsh', 'fish']))
    .action((shell: 'bash' | 'zsh' | 'fish') => void process.stdout.write(SCRIPTS[shell](wordsOf(program))))
    .addHelpText(
      'after',
      example(
        'rollcall completion bash > ~/.local/share/bash-completion/completions/rollcall',
        'rollcall completion zsh > ~/.zfunc/_rollcall   # with "fpath+=~/.zfunc" before compinit',
        'rollcall completion fish > ~/.config/fish/completions/rollcall.fish',
      ),
    );
}

/** The words that may follow each command, by the command with those before it, such as "config put". */
function wordsOf(command: Command, before: readonly string[] = []): ReadonlyMap<string, readonly string[]> {
  const names = command.commands.map((one) => one.name());
  const flags = command.options.map(({ long }) => long).filter((long): long is string => long !== undefined);
  const own = [[before.join(' '), [...names, ...flags]]] as [string, readonly string[]][];
  return new Map([...own, ...command.commands.flatMap((one) => [...wordsOf(one, [...before, one.name()])])]);
}

type Words = ReadonlyMap<string, readonly string[]>;

/** One branch for each command: the longest that the line begins with counts. */
const branches = (words: Words, branch: (path: string, words: string) => string): string =>
  [...words].map(([path, choices]) => branch(path, choices.join(' '))).join('\n');

/** Sets "choices" for bash and zsh to the words that may follow; `before` are the words before the cursor. */
const choose = (words: Words, before: string): string => `  local typed="" word choices
  for word in ${before}; do
    case "$word" in -*) ;; *) typed="\${typed:+$typed }$word" ;; esac
  done
  while :; do
    case "$typed" in
${branches(words, (path, choices) => `      "${path}") choices="${choices}"; break ;;`)}
    esac
    case "$typed" in *" "*) typed="\${typed% *}" ;; *) typed="" ;; esac
  done`;

const SCRIPTS: Readonly<Record<'bash' | 'zsh' | 'fish', (words: Words) => string>> = {
  bash: (words) => `# rollcall completion for bash
_rollcall() {
  local cur="\${COMP_WORDS[COMP_CWORD]}"
${choose(words, '"${COMP_WORDS[@]:1:COMP_CWORD-1}"')}
  COMPREPLY=($(compgen -W "$choices" -- "$cur"))
  [[ \${#COMPREPLY[@]} -eq 0 ]] && COMPREPLY=($(compgen -f -- "$cur"))
}
complete -F _rollcall rollcall
`,
  zsh: (words) => `#compdef rollcall
# rollcall completion for zsh
_rollcall() {
${choose(words, '"${(@)words[2,CURRENT-1]}"')}
  compadd -- \${=choices} || _files
}
compdef _rollcall rollcall
# A file on $fpath is run as the function at the first completion.
[ "$funcstack[1]" != "_rollcall" ] || _rollcall
`,
  fish: (words) => `# rollcall completion for fish
function __rollcall_words
  set -l path
  for word in (commandline -opc)[2..]
    string match -q -- '-*' $word; or set -a path $word
  end
  while true
    switch (string join ' ' $path)
${branches(words, (path, choices) => `      case '${path}'\n        string split ' ' -- '${choices}'\n        return`)}
    end
    set -e path[-1]
  end
end
complete -c rollcall -f -a '(__rollcall_words)'
`,
};
