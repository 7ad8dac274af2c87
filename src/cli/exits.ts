/** The exit codes of every command. docs/guides/command-line.md lists them. */
export const Exit = {
  OK: 0,
  /** The command failed: the server or the system refused it for a reason that no other code names. */
  FAILED: 1,
  /** The command line, a setting or a context cannot be used. */
  USAGE: 2,
  /** No server answered. */
  UNREACHABLE: 3,
  /** The object does not exist. */
  NOT_FOUND: 4,
  /** The caller may not do this, or its credential does not count. */
  DENIED: 5,
  /** Another write came first: read it, and decide again. */
  CONFLICT: 6,
  /** A check of `config sync` refused the files. */
  CHECK_FAILED: 7,
  /** Differences were found by a command that looks for them. */
  DIFFERENT: 8,
  /** `why`: the instance is registered, and not shown to clients. */
  HIDDEN: 9,
  /** `why`: the instance was removed. */
  REMOVED: 10,
  /** A second signal ended the process at once. */
  SIGNAL: 130,
} as const;

/** An exit code. */
export type ExitCode = (typeof Exit)[keyof typeof Exit];

/** Ends a command with a text for a person. */
export class CommandFailed extends Error {
  override readonly name = 'CommandFailed';

  constructor(
    message: string,
    readonly exitCode: ExitCode = Exit.FAILED,
  ) {
    super(message);
  }
}
