import { type Config, ConfigFormat } from '../gen/rollcall/v1/config.js';
import { CommandFailed, Exit } from './exits.js';

/** The content of a config as bytes. */
export const contentOf = ({ content }: Config): Buffer => Buffer.from((content?.value ?? '') as string);

/** Content as the draft of a publish carries it: text where the bytes are UTF-8. */
export function draftContent(content: Buffer): { $case: 'text'; value: string } | { $case: 'data'; value: Buffer } {
  const text = content.toString('utf8');
  return Buffer.from(text).equals(content) ? { $case: 'text', value: text } : { $case: 'data', value: content };
}

/** The number of a format by its name such as "yaml"; `undefined` if there is none of this name. */
export const formatNamed = (name: string): ConfigFormat | undefined =>
  ConfigFormat[`CONFIG_FORMAT_${name.toUpperCase()}` as keyof typeof ConfigFormat];

/** Returns true if a text names a version of a config: "3" or "v3". */
export const isVersion = (text: string): boolean => /^v?\d{1,15}$/.test(text);

/** The number of a version. Throws CommandFailed. */
export function versionOf(text: string): bigint {
  if (!isVersion(text))
    throw new CommandFailed(`${JSON.stringify(text)} is no version: use a number such as 3`, Exit.USAGE);
  return BigInt(text.replace('v', ''));
}

/** Says which version a write has made. */
export const written = ({ group, key, version }: Config, revision: bigint): string =>
  `${group}/${key} is at version ${version}, revision ${revision}\n`;

/** A server that does not know validate_only has published. */
export function assertNotPublished(answer: { readonly revision: bigint } | undefined): void {
  if (answer && answer.revision !== 0n)
    throw new CommandFailed(
      `the server is of an older version and knows no dry run: revision ${answer.revision} is published`,
    );
}
