import { follow, type WatchMessage, type WatchStep } from '../../client/watch.js';
import type { CallName } from '../json.js';
import { warn } from '../output.js';
import type { Session } from '../session.js';

/** A step of a watch as a person reads it. */
export interface StepText {
  /** The whole view as a table, where the watch begins. */
  readonly table?: string;
  /** The changes, a line each. */
  readonly lines: readonly string[];
}

/** Prints a watch until the command is ended: each message for a program, or what `describe` makes of each step for a person. */
export async function printWatch<Message extends WatchMessage>(
  { signal, format, show, say }: Session<unknown>,
  call: CallName,
  open: (resumeToken: string) => AsyncIterable<Message>,
  describe: (step: WatchStep<Message>) => StepText,
): Promise<void> {
  let isInterrupted = false;
  const steps = follow(open, {
    signal,
    onInterrupted: ({ message }) => {
      isInterrupted = true;
      warn(`the watch is interrupted: ${message}`);
    },
  });
  for await (const step of steps) {
    if (isInterrupted) warn('the watch goes on');
    isInterrupted = false;
    if (format !== 'table') {
      for (const message of step.messages) await show(call, message, () => '');
      continue;
    }
    const { table, lines } = describe(step);
    if (table !== undefined) say(table);
    for (const line of lines) say(`${new Date().toISOString().slice(11, 19)}  ${line}\n`);
  }
}
