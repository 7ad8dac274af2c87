import { z } from 'zod';
import { ReportedState } from '../../../gen/rollcall/v1/instance.js';
import { type ForeignInstance, type ForeignRegistry, type Found, readAs, readEach } from './foreign.js';
import { type HttpOptions, JsonReader } from './http-json.js';
import { inParallel } from './in-parallel.js';

/** Requests that are open at once: Consul has one for each service. */
const AT_ONCE = 8;
/** The service of Consul's own servers, and kinds of services that are parts of its mesh. */
const ITS_OWN = 'consul';
/** Checks by which an operator or an agent takes a node or a service out. */
const MAINTENANCE = /^(_node_maintenance$|_service_maintenance:)/;

/** The answers of Consul, as far as they matter. */
const SERVICES = z.record(z.string(), z.array(z.string()));
const ENTRIES = z.array(z.unknown());
const ENTRY = z.object({
  Node: z.object({ Node: z.string(), Address: z.string() }),
  Service: z.object({
    ID: z.string(),
    Kind: z.string().optional(),
    Address: z.string(),
    Port: z.number().optional(),
    Tags: z.array(z.string()).nullish(),
    Meta: z.record(z.string(), z.string()).nullish(),
    Weights: z.object({ Passing: z.number(), Warning: z.number() }).optional(),
    CreateIndex: z.number(),
  }),
  Checks: z.array(
    z.object({ CheckID: z.string(), Name: z.string(), Status: z.string(), Output: z.string().optional() }),
  ),
});
type Entry = z.infer<typeof ENTRY>;

/** The options of Consul. */
export interface ConsulOptions extends HttpOptions {
  /** Default: that of the agent which answers. */
  readonly datacenter?: string;
}

/** Reads the services of a datacenter from an agent or a server of Consul. */
export class Consul implements ForeignRegistry {
  readonly kind = 'consul';
  readonly #reader: JsonReader;
  readonly #query: string;

  constructor(url: string, options: ConsulOptions) {
    this.#reader = new JsonReader(url, options);
    this.#query = options.datacenter === undefined ? '' : `?dc=${encodeURIComponent(options.datacenter)}`;
  }

  async read(signal: AbortSignal): Promise<Found> {
    const services = readAs(SERVICES, await this.#reader.read(`v1/catalog/services${this.#query}`, signal));
    const names = Object.keys(services).filter((name) => name !== ITS_OWN);
    const instances: ForeignInstance[] = [];
    const unreadable: string[] = [];
    await inParallel(names, AT_ONCE, async (name) => {
      const path = `v1/health/service/${encodeURIComponent(name)}${this.#query}`;
      const entries = readEach(ENTRY, readAs(ENTRIES, await this.#reader.read(path, signal)), name, unreadable);
      for (const entry of entries) if (!entry.Service.Kind) instances.push(instanceOf(name, entry));
    });
    return { instances, unreadable };
  }

  close(): void {
    this.#reader.close();
  }
}

function instanceOf(service: string, { Node: node, Service: of, Checks: checks }: Entry): ForeignInstance {
  const { version, zone, ...metadata } = of.Meta ?? {};
  const { state, note } = stateOf(checks);
  const isWarning = state === ReportedState.REPORTED_STATE_DEGRADED;
  return {
    service,
    // An agent chooses the id, so that two agents may choose the same one.
    id: `${node.Node}:${of.ID}`,
    created: String(of.CreateIndex),
    address: of.Address || node.Address,
    port: of.Port ?? 0,
    tags: of.Tags ?? [],
    metadata,
    ...(version !== undefined && { version }),
    ...(zone !== undefined && { zone }),
    ...(of.Weights && { weight: isWarning ? of.Weights.Warning : of.Weights.Passing }),
    ...{ state, note },
  };
}

/** The worst of the checks decides, as in Consul. */
function stateOf(checks: Entry['Checks']): { state: ReportedState; note: string } {
  const worst = (one: (check: Entry['Checks'][number]) => boolean, state: ReportedState) => {
    const check = checks.find(one);
    return check && { state, note: `${check.Name}: ${check.Output ?? ''}`.replace(/:? *$/, '') };
  };
  return (
    worst(({ CheckID }) => MAINTENANCE.test(CheckID), ReportedState.REPORTED_STATE_DRAINING) ??
    worst(({ Status }) => Status === 'critical', ReportedState.REPORTED_STATE_UNHEALTHY) ??
    worst(({ Status }) => Status === 'warning', ReportedState.REPORTED_STATE_DEGRADED) ?? {
      state: ReportedState.REPORTED_STATE_HEALTHY,
      note: '',
    }
  );
}
