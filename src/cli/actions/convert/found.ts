/** A config as another system has it, with the names of that system. */
export interface Found {
  readonly group: string;
  readonly key: string;
  readonly content: Buffer;
  /** The name of a format, if the key does not say it. */
  readonly format?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

/** The options of a conversion. */
export interface ConvertOptions {
  /** The environment to convert, of a source that has several. */
  readonly environment?: string;
}

/** Everything that was found, and a line for each thing that is lost or changed. */
export interface Conversion {
  readonly found: readonly Found[];
  readonly report: readonly string[];
}
