import { BrokenRule, type Parse } from './parse.js';

/** One setting. Its key in the table is its name: `--name` as a flag, `ROLLCALL_NAME` as an environment variable. */
export interface Setting<T = unknown> {
  /** The placeholder of the value in the help. `undefined` if the flag takes no value and means "true". */
  readonly value?: string;
  /** The text that is read if no source gives the setting. `undefined` if the setting is then unset. */
  readonly default?: string;
  /** Sentences for a person: what it is, unit and bounds, and the effect of leaving it unset if it has no default. */
  readonly help: string;
  /** Reads the text. Throws BrokenRule, whose message must not contain the text. */
  readonly parse: Parse<T>;
  /** The text, and the value read from it, never appear in an error, a log line or a listing. */
  readonly secret?: true;
  /** "hot" if a reload can change the setting of a running server; "restart" if only a new process can. */
  readonly reload: 'hot' | 'restart';
}

/** Settings by name. */
export type Table = Readonly<Record<string, Setting>>;

/** The type of a setting, as its parser returns it. A setting without a default may be `undefined`. */
export type ValueOf<S extends Setting> =
  ReturnType<S['parse']> | (S extends { readonly default: string } ? never : undefined);

/** The values of a table. */
export type Values<T extends Table> = { readonly [Name in keyof T]: ValueOf<T[Name]> };

/** Where a value comes from. */
export interface Origin {
  /** The name of the source: "flag", "variable", "file" or "default". */
  readonly source: string;
  /** The place as a person finds it, such as `--host` or `ROLLCALL_HOST`. */
  readonly place: string;
}

/** The text of a setting, and where a source has it. */
export interface Given {
  readonly text: string;
  readonly place: string;
}

/** One place that gives settings. Sources form a list: the first that gives a setting wins. */
export interface Source {
  /** The name of the source. */
  readonly name: string;
  /** Returns what the source gives for a setting, `undefined` if nothing. An empty text unsets the setting. */
  find(setting: string): Given | undefined;
  /** Errors of the source itself, such as unknown flags. */
  readonly errors: readonly string[];
  /** Doubts about the source itself, such as unknown variables. */
  readonly warnings: readonly string[];
}

/** All rows of a table, read from sources. */
export interface Reading<T extends Table> {
  /** The settings that obey their own rule. A setting that breaks it is absent. */
  readonly values: Partial<Values<T>>;
  /** Where each setting comes from. A setting that no source gives is absent. */
  readonly origins: Readonly<Partial<Record<keyof T, Origin>>>;
  /** The text of each setting; empty if it is unset. */
  readonly texts: Readonly<Record<keyof T, string>>;
  /** The settings whose text differs from the default. */
  readonly changed: ReadonlySet<keyof T>;
  /** Everything that is wrong, each with its place. */
  readonly errors: readonly string[];
  /** Notes for a person about settings that can be used. */
  readonly warnings: readonly string[];
}

/** Reads every row of a table from sources, the strongest source first. */
export function readRows<T extends Table>(table: T, sources: readonly Source[]): Reading<T> {
  const values: Record<string, unknown> = {};
  const origins: Record<string, Origin> = {};
  const texts: Record<string, string> = {};
  const changed = new Set<keyof T>();
  const errors = sources.flatMap((source) => source.errors);
  for (const [name, row] of Object.entries(table)) {
    const given = firstGiven(sources, name);
    const text = (texts[name] = given?.text ?? '');
    if (given) origins[name] = { source: given.source, place: given.place };
    if (text !== (row.default ?? '')) changed.add(name);
    const outcome = readRow(row, text);
    if ('rule' in outcome) errors.push(`${given?.place ?? `--${name}`}: ${outcome.rule}`);
    else values[name] = outcome.value;
  }
  return {
    values: values as Partial<Values<T>>,
    origins: origins as Partial<Record<keyof T, Origin>>,
    texts: texts as Record<keyof T, string>,
    changed,
    errors,
    warnings: sources.flatMap((source) => source.warnings),
  };
}

function firstGiven(sources: readonly Source[], setting: string): (Given & Origin) | undefined {
  for (const source of sources) {
    const given = source.find(setting);
    if (given) return { ...given, source: source.name };
  }
  return undefined;
}

/** Returns the value of a row, or the rule that its text breaks. */
function readRow(row: Setting, text: string): { readonly value: unknown } | { readonly rule: string } {
  if (text === '' && row.default === undefined) return { value: undefined };
  try {
    return { value: row.parse(text) };
  } catch (error) {
    if (!(error instanceof BrokenRule)) throw error;
    return { rule: row.secret || error.hidesText ? error.message : `${error.message}, but is ${JSON.stringify(text)}` };
  }
}
