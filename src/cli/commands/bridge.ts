import type { Command } from 'commander';
import type { BridgeFlags } from '../actions/bridge/run.js';
import { example } from '../output.js';
import { remote, wholeNumber } from '../session.js';
import { betweenMs } from '../times.js';

/** Commands that mirror other registries. */
export function bridgeCommands(program: Command): void {
  const bridge = program
    .command('bridge')
    .summary('mirror another registry into a namespace')
    .description(
      'Mirrors the instances of another registry into a namespace, one way, until it is ended. The instances beat through the bridge, with a ttl of 2 min, and take the state that the other registry gives them. While that does not answer, or answers with none of what it had, everything is kept as it was. An instance is removed once two answers did not have it. The bridge touches only what carries its label, and removes nothing at its own end. Two of them may run side by side.',
    );
  define(
    bridge,
    'consul',
    'mirror the services of a datacenter of Consul',
    'URL is that of an agent or a server of Consul, such as http://127.0.0.1:8500.',
    'rollcall bridge consul http://127.0.0.1:8500 -n from-consul --dry-run',
    (command) =>
      command
        .option('--datacenter <name>', 'datacenter to mirror (default: that of the agent)')
        .option('--source-token-file <file>', 'file with a token of Consul that may read services and nodes'),
  );
  define(
    bridge,
    'eureka',
    'mirror the applications of a server of Eureka',
    'URL is that of a server of Eureka up to the path before "apps", such as http://127.0.0.1:8761/eureka.',
    'rollcall bridge eureka http://127.0.0.1:8761/eureka -n from-eureka --metrics-port 9464',
    (command) => command,
  );
}

function define(
  parent: Command,
  kind: 'consul' | 'eureka',
  summary: string,
  about: string,
  line: string,
  options: (command: Command) => Command,
): void {
  const command = options(parent.command(`${kind} <url>`).summary(summary).description(about))
    .option('--every <time>', 'time between two reads, 1s to 5m (default: 5s)', betweenMs('1s', '5m'))
    .option('--label <name>', `label of the mirrored instances, one for each registry (default: ${kind})`)
    .option(
      '--metrics-port <port>',
      'port of loopback for the metrics of the bridge; 0 picks one (default: none)',
      wholeNumber(0, 65_535),
    )
    .option('--source-ca <file>', 'CA certificates (PEM) that verify the other registry')
    .option('--dry-run', 'show what would be mirrored, and under which names; register nothing');
  remote<BridgeFlags>(command, async (session, url) => {
    const { openRegistry, runBridge } = await import('../actions/bridge/run.js');
    const registry = openRegistry(kind, url, session.flags);
    try {
      await runBridge(session, registry);
    } finally {
      registry.close();
    }
  }).addHelpText('after', example(line));
}
