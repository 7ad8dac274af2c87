import { Command, CommanderError } from 'commander';
import { VERSION } from '../version.js';
import { adminCommands } from './commands/admin.js';
import { bridgeCommands } from './commands/bridge.js';
import { checkCommands } from './commands/checks.js';
import { completionCommand } from './commands/completion.js';
import { configCommands } from './commands/config.js';
import { contextCommands } from './commands/context.js';
import { localCommands } from './commands/local.js';
import { overrideCommands } from './commands/overrides.js';
import { registryCommands } from './commands/registry.js';
import { storeCommands } from './commands/store.js';
import { watcherCommands } from './commands/watchers.js';
import { whyCommands } from './commands/why.js';
import { CommandFailed, Exit } from './exits.js';
import { example } from './output.js';

/** The groups of commands, in the order of the help. A new group adds its file here. */
const GROUPS: readonly (readonly [title: string, add: (program: Command) => void])[] = [
  ['Server:', localCommands],
  ['Server:', storeCommands],
  ['Services:', registryCommands],
  ['Services:', bridgeCommands],
  ['Configs:', configCommands],
  ['Operators:', adminCommands],
  ['Operators:', whyCommands],
  ['Operators:', overrideCommands],
  ['Operators:', checkCommands],
  ['Operators:', watcherCommands],
  ['This command line:', contextCommands],
  ['This command line:', completionCommand],
];

/** Makes the program with all its commands. */
export function makeProgram(): Command {
  const program = new Command('rollcall')
    .description(`Rollcall ${VERSION}: a self-hosted gRPC control plane.`)
    .version(VERSION, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .showHelpAfterError('(--help lists the arguments and flags)')
    .enablePositionalOptions() // --version of a command that has none is a mistake, and not the version of the program
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'rollcall: ')) });
  for (const [title, add] of GROUPS) {
    program.commandsGroup(title);
    add(program);
  }
  program.addHelpText(
    'after',
    example('rollcall serve', 'rollcall services --context prod', 'rollcall config edit app.yaml'),
  );
  return program;
}

/** The flags that need no command. */
const OWN_FLAGS = ['-h', '--help', '-V', '--version'];

/** Runs a command line. Resolves to the exit code. */
export async function runProgram(args: readonly string[]): Promise<number> {
  const program = makeProgram();
  process.stdout.on('error', onLostOutput);
  const [first = ''] = args;
  if (first.startsWith('-') && !OWN_FLAGS.includes(first)) {
    process.stderr.write(`rollcall: ${first} must stand behind the command, as in "rollcall services ${first} ..."\n`);
    return Exit.USAGE;
  }
  try {
    await program.parseAsync(args.length === 0 ? ['help'] : args, { from: 'user' });
    return Number(process.exitCode ?? Exit.OK);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? Exit.OK : Exit.USAGE;
    const { message, name } = error as Error;
    if (message !== '') process.stderr.write(`${message.replace(/^/gm, 'rollcall: ')}\n`);
    if (error instanceof CommandFailed) return error.exitCode;
    return name === 'BadSettings' ? Exit.USAGE : Exit.FAILED;
  }
}

/** A reader such as "head" that has enough is no failure. Output that is lost in any other way is one. */
function onLostOutput({ code, message }: NodeJS.ErrnoException): never {
  if (code === 'EPIPE') process.exit(Exit.OK);
  process.stderr.write(`rollcall: the output cannot be written: ${message}\n`);
  process.exit(Exit.FAILED);
}

/** Ends the process once its output is written: a pipe takes only so much at once. */
export function endProcess(code: number): void {
  process.stdout.write('', () => {
    if (process.stdout.errored) onLostOutput(process.stdout.errored);
    process.stderr.write('', () => process.exit(code));
  });
}
