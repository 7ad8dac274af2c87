// The requests of the benchmark, encoded by hand. The field numbers are those of proto/rollcall/v1.
import { type Call, framed } from './client.js';
import { integerField, messageField, occurrences, textField } from './wire.js';

const SERVICE = '/rollcall.v1.RegistryService';

/** The TTL of an instance, unless a scenario chooses: the longest that the server accepts, so that no instance falls silent during a run. */
const TTL_SECONDS = 600;

/** The parts of an instance that a scenario can choose. */
export interface InstanceChoice {
  /** The name of the service. Default: a name that 100 neighbors share. */
  readonly service?: string;
  /** The metadata value under "commit". Another value makes a repeated Register a visible change. */
  readonly commit?: string;
  /** Default: the longest that the server accepts. */
  readonly ttlSeconds?: number;
}

/** Instances per service, unless a scenario names the service: a common size. */
const INSTANCES_PER_SERVICE = 100;

const serviceOf = (i: number, { service }: InstanceChoice): string =>
  service ?? `service-${Math.floor(i / INSTANCES_PER_SERVICE)}`;
const idOf = (i: number): string => `i${i}`;
const incarnationOf = (i: number): string => `run-${i}`;

/** An Instance message: an address, tags, metadata and a locality, about 130 bytes. */
export function instance(i: number, choice: InstanceChoice = {}): Buffer {
  const metadata = { team: 'payments', commit: choice.commit ?? '9c1f0d7e', protocol: 'grpc' };
  return Buffer.concat([
    textField(2, serviceOf(i, choice)),
    textField(3, idOf(i)),
    textField(4, '10.0.0.1'), // address
    integerField(5, 8_080), // port
    ...['canary', 'blue'].map((tag) => textField(7, tag)),
    ...Object.entries(metadata).map(([key, value]) => messageField(8, textField(1, key), textField(2, value))),
    textField(9, '1.4.2'), // version
    messageField(10, textField(1, 'eu-1'), textField(2, 'eu-1a')), // locality: region, zone
    messageField(12, integerField(1, choice.ttlSeconds ?? TTL_SECONDS)), // ttl: seconds
  ]);
}

/** A Register of one instance. */
export function register(i: number, choice: InstanceChoice = {}): Call {
  const request = Buffer.concat([messageField(1, instance(i, choice)), textField(2, incarnationOf(i))]);
  return { path: `${SERVICE}/Register`, body: framed(request) };
}

/** Registers of `count` instances, encoded one by one as they are sent. */
export function* registers(from: number, count: number, choice: InstanceChoice = {}): Generator<Call> {
  for (let i = from; i < from + count; i++) yield register(i, choice);
}

/** One Heartbeat message with `count` items. */
export function beats(from: number, count: number, choice: InstanceChoice = {}): Call {
  const items = Array.from({ length: count }, (_, offset) => {
    const i = from + offset;
    return messageField(1, textField(2, serviceOf(i, choice)), textField(3, idOf(i)), textField(4, incarnationOf(i)));
  });
  return { path: `${SERVICE}/Heartbeat`, body: framed(Buffer.concat(items)) };
}

/** A Discover of one service, without a filter. */
export function discover(service: string): Call {
  return { path: `${SERVICE}/Discover`, body: framed(textField(2, service)), json: { service } };
}

/** A ListInstances over all services, with a page of 100. `commit` selects by metadata. */
export function listInstances(commit?: string): Call {
  const filter =
    commit === undefined ? [] : [messageField(4, messageField(2, textField(1, 'commit'), textField(2, commit)))];
  return { path: `${SERVICE}/ListInstances`, body: framed(Buffer.concat(filter)) };
}

/** A Why of one instance. */
export function why(service: string, id: string): Call {
  return {
    path: '/rollcall.v1.AdminService/Why',
    body: framed(Buffer.concat([textField(2, service), textField(3, id)])),
  };
}

/** The number of items that the answer to a Heartbeat rejects. The status of such an answer is OK. */
export function rejectedItems(answer: Buffer): number {
  return occurrences(answer, 2);
}

/** The number of instances in the answer to a Discover. */
export function discoveredInstances(answer: Buffer): number {
  return occurrences(answer, 1);
}

/** A YAML document of about `bytes` bytes: nested maps and lists, as in a values file. */
function yaml(bytes: number): string {
  const block = (i: number): string =>
    `service-${i}:\n  image: "registry/pay:${i}"\n  replicas: ${i % 9}\n  env:\n    - name: LEVEL\n      value: info\n  ports: [8080, 9090]\n`;
  let text = '';
  for (let i = 0; text.length + block(i).length <= bytes; i++) text += block(i);
  return text;
}

/** A publish of `count` YAML configs of about `bytes` bytes each. The same `edit` gives the same content. */
export function publish(name: string, count: number, bytes: number, edit = ''): Call {
  const text = `${yaml(bytes)}# ${edit}\n`;
  const drafts = Array.from({ length: count }, (_, i) =>
    messageField(3, textField(1, `${name}-${i}.yaml`), textField(2, text)),
  );
  return { path: '/rollcall.v1.ConfigService/PublishConfig', body: framed(Buffer.concat(drafts)) };
}
