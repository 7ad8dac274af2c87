import type { Config } from '../gen/rollcall/v1/config.js';

/** The content of a config as bytes. */
export const contentOf = ({ content }: Config): Buffer => Buffer.from((content?.value ?? '') as string);

/** Content as the draft of a publish carries it: text where the bytes are UTF-8. */
export function draftContent(content: Buffer): { $case: 'text'; value: string } | { $case: 'data'; value: Buffer } {
  const text = content.toString('utf8');
  return Buffer.from(text).equals(content) ? { $case: 'text', value: text } : { $case: 'data', value: content };
}
