import type { Command } from 'commander';
import { CALLER_NAME, hashOf, newToken } from '../../access/tokens.js';
import { VERSION } from '../../version.js';
import { CommandFailed, Exit } from '../exits.js';
import { example } from '../output.js';
import { several } from '../session.js';
import { asksForHelp, settingsHelp, withSettings } from '../settings-command.js';

/** The flag of serve that is no setting. */
const PRINT_SETTINGS = '--print-settings';

/** Commands that need no server. */
export function localCommands(program: Command): void {
  const serve = withSettings(
    program
      .command('serve')
      .summary('start a server')
      .description(
        'Starts a server. With --print-settings it prints every setting with its value and its source, and starts nothing.',
      ),
  );
  serve.action(async () => {
    const { args } = serve;
    if (asksForHelp(args)) return settingsHelp(serve, 'rollcall serve [settings]');
    const { printSettings, serve: run } = await import('../../serve.js');
    if (args.includes(PRINT_SETTINGS)) return printSettings(args.filter((arg) => arg !== PRINT_SETTINGS));
    // A server goes on when the reader of its output has gone, where any other command ends.
    process.stdout.removeAllListeners('error');
    process.exit(await run(args));
  });

  const token = program.command('token').summary('draw tokens').description('Draws tokens of callers.');
  token
    .command('new <name>')
    .description('Draws a token, and prints it once with the entry for the access file.')
    .action((name: string) => {
      if (!CALLER_NAME.pattern.test(name))
        throw new CommandFailed(`the name of a token ${CALLER_NAME.words}`, Exit.USAGE);
      const secret = newToken();
      process.stdout.write(`${secret}

This is the token; it is shown once. A client sends it as "authorization: Bearer TOKEN". Add this to "tokens" in the access
file, with the grants that the client needs:

tokens:
  - name: ${name}
    hash: ${hashOf(secret)}
    grants:
      - { role: reader, namespaces: ["default"] }
`);
    })
    .addHelpText('after', example('rollcall token new ci'));

  const certs = program
    .command('certs')
    .summary('make certificates for trying out')
    .description('Makes certificates for trying out.');
  certs
    .command('demo <dir>')
    .description('Makes certificates for trying out TLS: an authority, a server and a client.')
    .option('--name <host>', 'a further name or address of the server, such as *.example.org; may be repeated', several)
    .action(async (folder: string, { name }: { readonly name?: readonly string[] }) => {
      if (folder === '') throw new CommandFailed('DIR must not be empty', Exit.USAGE);
      // Only this command loads the library for certificates.
      const { writeDemoCertificates } = await import('../../tls/demo.js');
      const path = await writeDemoCertificates(folder, name);
      process.stdout
        .write(`${path} has certificates for trying out, valid for 30 days. Do not use them for anything else: the key of
their authority, ca.key, lies beside them. Start a server with them, and call it:

  rollcall serve --tls-cert ${path}/server.crt --tls-key ${path}/server.key --tls-client-ca ${path}/ca.crt --tls-client-certs optional
  rollcall services --ca ${path}/ca.crt
  grpcurl -cacert ${path}/ca.crt localhost:7400 rollcall.v1.RegistryService/ListServices
  curl --cacert ${path}/ca.crt --cert ${path}/client.crt --key ${path}/client.key https://localhost:7401/v1/services
`);
    })
    .addHelpText(
      'after',
      example(
        'rollcall certs demo /tmp/rollcall-certs',
        "rollcall certs demo certs --name rollcall.example.org --name '*.servers.example.org' --name 10.0.0.11",
      ),
    );

  const proto = program
    .command('proto')
    .summary('write the .proto files')
    .description('Writes the .proto files for the generators of any language.');
  proto
    .command('export <dir>')
    .description(
      'Writes the .proto files of Rollcall and those of google/rpc that errors need. Those of google/protobuf come with every protoc.',
    )
    .action(async (folder: string) => {
      const { exportProtos } = await import('../actions/export-protos.js');
      for (const path of exportProtos(folder)) process.stdout.write(`${path}\n`);
    })
    .addHelpText(
      'after',
      example(
        'rollcall proto export ./protos && protoc -I protos --python_out=. $(cd protos && find . -name "*.proto")',
      ),
    );

  program
    .command('version')
    .description('Prints the version.')
    .action(() => void process.stdout.write(`${VERSION}\n`));
}
