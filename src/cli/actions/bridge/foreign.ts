import type { z } from 'zod';
import type { ReportedState } from '../../../gen/rollcall/v1/instance.js';

/** An instance as a foreign registry has it, with the names of that registry. */
export interface ForeignInstance {
  readonly service: string;
  readonly id: string;
  /** Names this registration of it: one that was registered again has another value. */
  readonly created: string;
  readonly address: string;
  readonly port: number;
  /** The port for TLS, if it has one besides. */
  readonly securePort?: number;
  readonly tags: readonly string[];
  readonly metadata: Readonly<Record<string, string>>;
  readonly version?: string;
  readonly zone?: string;
  readonly weight?: number;
  readonly state: ReportedState;
  /** Why it is in this state, in the words of the registry. Empty if they say nothing. */
  readonly note: string;
}

/** The instances that a registry answered with. */
export interface Found {
  readonly instances: readonly ForeignInstance[];
  /** A line for each instance that cannot be read. It may be one of those that the registry had before. */
  readonly unreadable: readonly string[];
}

/** A foreign registry. */
export interface ForeignRegistry {
  /** Its name, such as "consul". */
  readonly kind: string;
  /** Reads all instances. Rejects if the registry does not answer, or not as it should. */
  read(signal: AbortSignal): Promise<Found>;
  close(): void;
}

/** A foreign document as its schema has it. Throws an error of one line. */
export function readAs<T extends z.ZodType>(schema: T, document: unknown): z.infer<T> {
  const { success, data, error } = schema.safeParse(document);
  if (success) return data;
  const [first] = error.issues;
  throw new Error(`it answered in another form: ${first!.path.join('.') || 'the answer'}: ${first!.message}`);
}

/** The instances of a service that can be read. A line for each other one is added to `unreadable`. */
export function readEach<T extends z.ZodType>(
  schema: T,
  documents: readonly unknown[],
  service: string,
  unreadable: string[],
): z.infer<T>[] {
  return documents.flatMap((document) => {
    try {
      return [readAs(schema, document)];
    } catch (error) {
      unreadable.push(`an instance of ${JSON.stringify(service)}: ${(error as Error).message}`);
      return [];
    }
  });
}
