import { z } from 'zod';
import { ReportedState } from '../../../gen/rollcall/v1/instance.js';
import { type ForeignInstance, type ForeignRegistry, type Found, readAs, readEach } from './foreign.js';
import { type HttpOptions, JsonReader } from './http-json.js';

/** Eureka writes a list of one element as the element. */
const listOf = <T extends z.ZodType>(one: T) =>
  z
    .union([z.array(one), one.transform((only) => [only])])
    .optional()
    .transform((list) => (list ?? []) as z.infer<T>[]);
const PORT = z.object({ $: z.coerce.number(), '@enabled': z.coerce.string() });

/** The answers of Eureka, as far as they matter. */
const APPS = z.object({
  applications: z.object({ application: listOf(z.object({ name: z.string(), instance: listOf(z.unknown()) })) }),
});
const INSTANCE = z.object({
  instanceId: z.string().nullish(),
  hostName: z.string(),
  ipAddr: z.string(),
  vipAddress: z.string().nullish(),
  status: z.string(),
  port: PORT.nullish(),
  securePort: PORT.nullish(),
  metadata: z.record(z.string(), z.unknown()).nullish(),
  leaseInfo: z.object({ registrationTimestamp: z.coerce.number() }).nullish(),
  dataCenterInfo: z.object({ metadata: z.record(z.string(), z.unknown()).nullish() }).nullish(),
});
type Instance = z.infer<typeof INSTANCE>;

const STATES: Readonly<Record<string, ReportedState>> = {
  UP: ReportedState.REPORTED_STATE_HEALTHY,
  STARTING: ReportedState.REPORTED_STATE_STARTING,
  OUT_OF_SERVICE: ReportedState.REPORTED_STATE_DRAINING,
};

/** Reads all applications of a server of Eureka. */
export class Eureka implements ForeignRegistry {
  readonly kind = 'eureka';
  readonly #reader: JsonReader;

  /** `url`: up to the path before "apps", such as http://127.0.0.1:8761/eureka. */
  constructor(url: string, options: HttpOptions) {
    this.#reader = new JsonReader(url, options);
  }

  async read(signal: AbortSignal): Promise<Found> {
    const { applications } = readAs(APPS, await this.#reader.read('apps', signal));
    const unreadable: string[] = [];
    const instances = applications.application.flatMap(({ name, instance }) =>
      readEach(INSTANCE, instance, name, unreadable).map((one) => instanceOf(name, one)),
    );
    return { instances, unreadable };
  }

  close(): void {
    this.#reader.close();
  }
}

function instanceOf(app: string, one: Instance): ForeignInstance {
  const metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(one.metadata ?? {}))
    if (!name.startsWith('@') && typeof value === 'string') metadata[name] = value;
  const {
    version,
    zone = one.dataCenterInfo?.metadata?.['availability-zone'],
    ...others
  } = metadata as Record<string, string | undefined>;
  const open = isOpen(one.port) ? one.port!.$ : 0;
  const secure = isOpen(one.securePort) ? one.securePort!.$ : undefined;
  return {
    // Clients ask for the name in vipAddress; that of the application is the same in upper case.
    service: one.vipAddress?.split(',')[0]?.trim() || app.toLowerCase(),
    id: one.instanceId ?? one.hostName,
    created: String(one.leaseInfo?.registrationTimestamp ?? 0),
    address: one.ipAddr,
    port: open || (secure ?? 0),
    ...(open !== 0 && secure !== undefined && { securePort: secure }),
    tags: [],
    metadata: others as Record<string, string>,
    ...(version !== undefined && { version }),
    ...(typeof zone === 'string' && { zone }),
    state: STATES[one.status] ?? ReportedState.REPORTED_STATE_UNHEALTHY,
    note: one.status === 'UP' ? '' : one.status,
  };
}

const isOpen = (port: z.infer<typeof PORT> | null | undefined): boolean => port?.['@enabled'] === 'true' && port.$ > 0;
