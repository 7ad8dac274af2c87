import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { attributeOf, contextNamed, CONTEXT_KEYS, type ContextKey, readContexts, writeContexts } from '../contexts.js';
import { example, table } from '../output.js';
import { REACH_FLAGS } from '../reach.js';

/** Commands that keep named places to call. */
export function contextCommands(program: Command): void {
  const context = program
    .command('context')
    .summary('keep named servers to call')
    .description('Keeps named places to call. A context names files and holds no secret.');

  context
    .command('list')
    .description('Lists the contexts. The one in use has a star.')
    .action(() => {
      const { current, contexts } = readContexts();
      const rows = Object.entries(contexts).map(([name, { server = '', namespace = '' }]) => [
        ...[name === current ? `* ${name}` : `  ${name}`, server || '-', namespace || '-'],
      ]);
      process.stdout.write(table(['CONTEXT', 'SERVER', 'NAMESPACE'], rows));
    })
    .addHelpText('after', example('rollcall context list'));

  const set = context
    .command('set <name>')
    .description('Makes or replaces a context from the flags given, and uses it.')
    .option('-n, --namespace <name>', 'namespace of its calls');
  for (const [flags, help] of REACH_FLAGS) if (!flags.startsWith('--context')) set.addOption(new Option(flags, help));
  set
    .action((name: string, flags: Record<string, unknown>) => {
      const given = CONTEXT_KEYS.map((key) => [key, flags[attributeOf(key)]] as const);
      const made = Object.fromEntries(
        given
          .filter(([, value]) => value !== undefined)
          .map(([key, value]) => [key, FILES.has(key) ? resolve(String(value as string)) : String(value as string)]),
      );
      const { contexts } = readContexts();
      writeContexts({ current: name, contexts: { ...contexts, [name]: made } });
      process.stdout.write(`the context ${name} is in use\n`);
    })
    .addHelpText(
      'after',
      example('rollcall context set prod --server a:7400,b:7400 --ca ca.crt --token-file ~/.rollcall-token'),
    );

  context
    .command('use <name>')
    .description('Uses a context from now on.')
    .action((name: string) => {
      const { contexts } = readContexts();
      contextNamed(contexts, name);
      writeContexts({ current: name, contexts });
      process.stdout.write(`the context ${name} is in use\n`);
    })
    .addHelpText('after', example('rollcall context use prod'));

  context
    .command('delete <name>')
    .description('Deletes a context. The files that it names stay.')
    .action((name: string) => {
      const { current, contexts } = readContexts();
      contextNamed(contexts, name);
      const left = Object.fromEntries(Object.entries(contexts).filter(([other]) => other !== name));
      writeContexts({ current: current === name ? '' : current, contexts: left });
      process.stdout.write(`the context ${name} is deleted\n`);
    })
    .addHelpText('after', example('rollcall context delete old'));
}

/** The keys that name files: a context is used from any folder. */
const FILES: ReadonlySet<ContextKey> = new Set(['ca', 'cert', 'key', 'token-file'] as const);
