import type { Duration } from '../../gen/google/protobuf/duration.js';
import type { WatcherIdentity } from '../../gen/rollcall/v1/watch.js';
import { invalidRequest, type Violation } from '../../model/errors.js';
import type { Claim } from '../../model/actor.js';
import { LIMITS } from '../../model/limits.js';
import { NAMESPACE, type NameRule, refuseName, RUN_ID } from '../../model/names.js';
import { decodePageToken } from '../../model/tokens.js';
import { fromDuration } from '../../model/time.js';

/** The namespace and the config group of a request that names none. */
export const NAME_DEFAULT = 'default';
const PAGE_SIZE_DEFAULT = 100;

/**
 * Violations are reported up to this size. They travel percent-encoded in headers, and clients accept 8 KiB by default.
 */
const REPORTED_BYTES = 768;
/** The most bytes of one description, which may quote the request. */
const DESCRIPTION_BYTES_MAX = 384;

const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;

/** A text without its control characters, except line breaks and tabs. */
export function withoutControls(text: string): string {
  return text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/g, '');
}

/** Validates the fields of one request and collects all violations, as far as an answer has room for them. */
export class Validator {
  readonly #violations: Violation[] = [];
  #reportedBytes = 0;
  #unreported = 0;

  /** Adds a violation: a field that breaks a rule. */
  refuse(field: string, description: string): void {
    if (this.#reportedBytes >= REPORTED_BYTES) {
      this.#unreported++;
      return;
    }
    // A quotation may be cut within a character. Decoding it as UTF-8 makes it valid text again.
    const text = Buffer.from(description).subarray(0, DESCRIPTION_BYTES_MAX).toString();
    this.#reportedBytes += Buffer.byteLength(field + text);
    this.#violations.push({ field, description: text });
  }

  /** The violations so far, as far as an answer has room for them. */
  get violations(): readonly Violation[] {
    return this.#violations;
  }

  /** Throws INVALID_REQUEST if there is a violation. */
  done(): void {
    const last = this.#violations.pop();
    if (!last) return;
    const more = this.#unreported > 0 ? `; and ${this.#unreported} more` : '';
    throw invalidRequest([...this.#violations, { ...last, description: last.description + more }]);
  }

  /** A required name. */
  name(field: string, value: string, rule: NameRule): string {
    if (value === '') this.refuse(field, `is required, and ${rule.words}`);
    else this.#refuseIf(field, refuseName(rule, value));
    return value;
  }

  /** A name that is "default" when empty. */
  nameOrDefault(field: string, value: string, rule: NameRule): string {
    return value === '' ? NAME_DEFAULT : this.name(field, value, rule);
  }

  namespace(value: string, field = 'namespace'): string {
    return this.nameOrDefault(field, value, NAMESPACE);
  }

  /** An incarnation or request id. */
  runId(field: string, value: string | undefined): string | undefined {
    return value === undefined ? undefined : this.name(field, value, RUN_ID);
  }

  /** Free text of up to `max` characters, without control characters. */
  chars(field: string, value: string, max: number): string {
    if (value.length > max) this.refuse(field, `must be up to ${max} characters; it has ${value.length}`);
    else if (CONTROL.test(value)) this.refuse(field, 'must not contain control characters');
    return value;
  }

  /** Free text of up to `max` bytes. Line breaks and tabs are allowed; other control characters are not. */
  bytes(field: string, value: string, max: number): string {
    const bytes = Buffer.byteLength(value);
    if (bytes > max) this.refuse(field, `must be up to ${max} bytes; it has ${bytes}`);
    else if (withoutControls(value) !== value) this.refuse(field, 'must not contain control characters');
    return value;
  }

  /** Who asks for a write, and why. */
  claim({ author, comment }: Claim): Claim {
    return {
      author: this.chars('author', author, LIMITS.LABEL_CHARS.value),
      comment: this.bytes('comment', comment, LIMITS.COMMENT_BYTES.value),
    };
  }

  /** A whole number between two bounds. */
  range(field: string, value: number, min: number, max: number): number {
    if (value < min || value > max) this.refuse(field, `must be ${min} to ${max}; it is ${value}`);
    return value;
  }

  /** A number that must not be negative, such as a revision. It may be unset if its field is optional. */
  notNegative<T extends bigint | undefined>(field: string, value: T): T {
    if (value !== undefined && value < 0n) this.refuse(field, `must not be negative; it is ${value}`);
    return value;
  }

  /** A count of at most `max`. */
  count(field: string, count: number, max: number, what: string): void {
    if (count > max) this.refuse(field, `must have up to ${max} ${what}; it has ${count}`);
  }

  /** The names or filters of a watch: some, up to `max`, or `all` and then none. Returns those that are to be validated. */
  someOrAll<T>(field: string, given: readonly T[], all: boolean, max: number): readonly T[] {
    if (all && given.length > 0) this.refuse(field, 'must be empty when "all" is true');
    if (!all && given.length === 0) this.refuse(field, 'is required unless "all" is true');
    this.count(field, given.length, max, field);
    return given.slice(0, max);
  }

  /** Labels or metadata. */
  labels(field: string, labels: ReadonlyMap<string, string>): void {
    this.count(field, labels.size, LIMITS.LABEL_PAIRS.value, 'pairs');
    for (const [key, value] of labels) this.bytes(this.#labelKey(field, key), value, LIMITS.LABEL_VALUE_BYTES.value);
  }

  /** A duration between two bounds, in milliseconds. */
  duration(
    field: string,
    value: Duration | undefined,
    { min, max, default: unset }: { min: number; max: number; default: number },
  ): number {
    if (!value) return unset;
    this.range(`${field}.nanos`, value.nanos, 0, 999_999_999);
    const ms = fromDuration(value);
    if (!(ms >= min && ms <= max))
      this.refuse(field, `must be ${min / 1000} s to ${max / 1000} s; it is ${ms / 1000} s`);
    return ms;
  }

  /** A value of an enum. 0 (unset) is allowed. Returns 0 for an unknown value. */
  enumValue<T extends number>(field: string, value: T, known: object): T {
    if (value in known) return value;
    this.refuse(field, `must be a known value; ${value} is not`);
    return 0 as T;
  }

  /** The size of a page, and the position after which it begins. */
  page(
    request: { pageSize: number; pageToken: string },
    selection: string,
  ): { size: number; after: readonly string[] } {
    const size = Math.min(request.pageSize || PAGE_SIZE_DEFAULT, LIMITS.PAGE_SIZE.value);
    if (size < 0) this.refuse('page_size', `must not be negative; it is ${size}`);
    if (request.pageToken === '') return { size, after: [] };
    const token = decodePageToken(request.pageToken, selection);
    if (!token) this.refuse('page_token', 'is not a next_page_token of this list');
    return { size, after: token?.after ?? [] };
  }

  /** The identity of a watcher. */
  watcher(watcher: WatcherIdentity | undefined): void {
    if (!watcher) return;
    this.chars('watcher.name', watcher.name, LIMITS.LABEL_CHARS.value);
    this.chars('watcher.version', watcher.version, LIMITS.LABEL_CHARS.value);
    this.chars('watcher.instance_id', watcher.instanceId, LIMITS.LABEL_CHARS.value);
    this.count('watcher.labels', watcher.labels.size, LIMITS.WATCHER_LABELS.value, 'pairs');
    for (const [key, value] of watcher.labels)
      this.chars(this.#labelKey('watcher.labels', key), value, LIMITS.LABEL_CHARS.value);
  }

  /** Validates the key of a label. Returns the path of the label for violations. */
  #labelKey(field: string, key: string): string {
    const place = `${field}[${JSON.stringify(key.slice(0, 32))}]`;
    if (key === '') this.refuse(place, 'must have a key that is not empty');
    this.chars(`${place} key`, key, LIMITS.LABEL_CHARS.value);
    return place;
  }

  #refuseIf(field: string, description: string | undefined): void {
    if (description !== undefined) this.refuse(field, description);
  }
}
