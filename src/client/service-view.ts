import { Instance, type InstanceFilter } from '../gen/rollcall/v1/instance.js';
import type { ServiceNote, WatchServicesResponse } from '../gen/rollcall/v1/registry_service.js';
import type { ServiceCalls } from './calls.js';
import { View, type ViewOptions } from './view.js';

/** The services of a view. */
export interface ServiceSelection {
  /** Default: "default". */
  readonly namespace?: string;
  /** Up to 256 names. Absent: every service of the namespace, also future ones. */
  readonly services?: readonly string[];
  /** Default: the instances that can take traffic. */
  readonly filter?: Partial<InstanceFilter>;
}

/** A view of the instances of services. */
export class ServiceView extends View<WatchServicesResponse, Instance> {
  readonly #notes: Map<string, ServiceNote>;

  constructor(
    { registry }: Pick<ServiceCalls, 'registry'>,
    { namespace = 'default', services, filter }: ServiceSelection,
    options: ViewOptions = {},
  ) {
    const names = services && [...services].sort();
    const selected = { namespace, ...(names ? { services: names } : { all: true }), ...(filter && { filter }) };
    const notes = new Map<string, ServiceNote>();
    super(
      {
        selection: `services ${JSON.stringify(selected)}`,
        open: (resumeToken, signal) => registry.watchServices({ ...selected, resumeToken }, { signal }),
        begin: () => notes.clear(),
        upserted: (message) => {
          for (const note of message.services) notes.set(note.service, note);
          return message.upserted.map((instance) => [keyOf(instance), instance] as const);
        },
        removed: (message) => message.removed.map(keyOf),
        encode: (instance) => Instance.encode(instance).finish(),
        decode: (bytes) => Instance.decode(bytes),
      },
      options,
    );
    this.#notes = notes;
  }

  /** The instances of a service, or of all that the view has. */
  instances(service?: string): Instance[] {
    const all = [...this.items.values()];
    return service === undefined ? all : all.filter((instance) => instance.service === service);
  }

  /** The note of the server on a service: how many instances are hidden, and whether it is protected. */
  note(service: string): ServiceNote | undefined {
    return this.#notes.get(service);
  }
}

const keyOf = ({ service, id }: { readonly service: string; readonly id: string }): string => `${service}/${id}`;
