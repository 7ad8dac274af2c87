import { createHmac, timingSafeEqual } from 'node:crypto';
import { RollcallError } from '../../model/errors.js';
import { PROOF_HEADERS } from '../../model/member.js';
import type { MemberRef } from '../health/peers.js';
import type { PeerSecret } from './peer-secret.js';

/** Questions may arrive in another order than they were asked in, by up to this many. */
const WINDOW = 4_096;
/** The askers whose numbers are remembered: ten times the members of a large cluster, with those that left. */
const ASKERS_MAX = 1_000;

/** The most bytes of a question that changes nothing, which one that is no member may ask: two names. */
const READ_BYTES_MAX = 1_024;

/** The headers of a request, by name in lower case. */
type Headers = Readonly<Record<string, string | readonly string[] | undefined>>;

/** A question that a member asks: the bytes of its request, and the path of the method. */
export interface PeerQuestion {
  readonly path: string;
  readonly bytes: Uint8Array;
  /** True if the answer changes nothing: an asker that is no member any more may ask it. */
  readonly readOnly: boolean;
}

/** A proven question: what its answer is proven with. */
export interface ProvenQuestion {
  readonly secret: Buffer;
  readonly proof: string;
}

/** The dependencies of PeerProofs. */
export interface PeerProofsParts {
  readonly secret: PeerSecret;
  /** The membership of this process; without one its epoch is 0n. */
  readonly self: () => MemberRef;
  readonly isMember: (ref: MemberRef) => boolean;
}

/** The numbers that one asker has used. */
interface Asker {
  highest: number;
  /** The numbers within the window that were used, and some older ones. */
  readonly used: Set<number>;
}

/**
 * Proofs between members. A question is bound to its asker and its number, and by its bytes to its content and the membership
 * that it is for; an answer is bound to its question. Each number is taken once. No time of day is involved: the clocks of
 * members need not agree.
 */
export class PeerProofs {
  #nextNumber = 1;
  /** The askers by name, longest unheard first. */
  readonly #askers = new Map<string, Asker>();

  constructor(private readonly parts: PeerProofsParts) {}

  /** Proves a question of this member. Resolves to its headers, and to what its answer is checked with. */
  async ask(question: PeerQuestion): Promise<{ headers: Record<string, string>; proven: ProvenQuestion }> {
    const secret = await this.parts.secret.value();
    const { id, epoch } = this.parts.self();
    const from = `${id}/${epoch}`;
    const number = String(this.#nextNumber++);
    const proof = questionProof(secret, question, from, number);
    const { from: fromName, number: numberName, proof: proofName } = PROOF_HEADERS;
    return { headers: { [fromName]: from, [numberName]: number, [proofName]: proof }, proven: { secret, proof } };
  }

  /** Throws if an answer does not come from a member that was asked this question. */
  check(proven: ProvenQuestion, answer: Uint8Array, proof: string | undefined): void {
    if (proof !== undefined && isSame(answerProof(proven, answer), proof)) return;
    this.parts.secret.doubt();
    throw new Error('the answer of a member is not proven');
  }

  /** A question of this member was refused: the secret may be a new one. */
  refused(): void {
    this.parts.secret.doubt();
  }

  /** Checks a question to this member. Rejects with PEER_NOT_PROVEN. */
  async verify(question: PeerQuestion, headers: Headers): Promise<ProvenQuestion> {
    const { from, ref, number, proof } = read(headers);
    if (question.readOnly && question.bytes.length > READ_BYTES_MAX) throw notProven('the question is too long');
    // Before the proof, which costs more the longer a question is.
    if (!question.readOnly && !this.parts.isMember(ref))
      throw notProven('the asker is not a member that this server knows');
    const secret = await this.parts.secret.value();
    if (!isSame(questionProof(secret, question, from, number), proof)) {
      // The secret may be a new one. The asker asks again; waiting for the store would hold the bytes of many questions.
      this.parts.secret.doubt();
      throw notProven('the proof is wrong');
    }
    this.#take(from, Number(number));
    return { secret, proof };
  }

  /** The proof of an answer of this member. */
  answer(proven: ProvenQuestion, answer: Uint8Array): string {
    return answerProof(proven, answer);
  }

  /** Takes a number of an asker. Throws if it was taken before, or is too old to know. */
  #take(from: string, number: number): void {
    const asker = this.#askerOf(from);
    if (!(number > asker.highest - WINDOW) || asker.used.has(number)) throw notProven('the question was asked before');
    asker.used.add(number);
    if (number <= asker.highest) return;
    asker.highest = number;
    if (asker.used.size <= 2 * WINDOW) return;
    for (const old of asker.used) if (old <= number - WINDOW) asker.used.delete(old);
  }

  /** The asker of a name, which becomes the one that was heard last. */
  #askerOf(from: string): Asker {
    let asker = this.#askers.get(from);
    if (asker) this.#askers.delete(from);
    else {
      if (this.#askers.size >= ASKERS_MAX) this.#forgetOne();
      asker = { highest: 0, used: new Set() };
    }
    this.#askers.set(from, asker);
    return asker;
  }

  /** Forgets an asker that is no member any more: its questions are refused, but for those that change nothing. */
  #forgetOne(): void {
    for (const name of this.#askers.keys()) {
      if (!this.parts.isMember(refOf(name)!)) return void this.#askers.delete(name);
    }
  }
}

function questionProof(secret: Buffer, { path, bytes }: PeerQuestion, from: string, number: string): string {
  // No part but the last can contain a line end.
  return mac(secret, `question\n${path}\n${from}\n${number}\n`, bytes);
}

const answerProof = ({ secret, proof }: ProvenQuestion, answer: Uint8Array): string =>
  mac(secret, `answer\n${proof}\n`, answer);

const mac = (secret: Buffer, head: string, bytes: Uint8Array): string =>
  createHmac('sha256', secret).update(head).update(bytes).digest('base64url');

/** Compares in a time that does not depend on the place of the first difference. */
function isSame(expected: string, given: string): boolean {
  const [a, b] = [Buffer.from(expected), Buffer.from(given)];
  return a.length === b.length && timingSafeEqual(a, b);
}

const FROM = /^([^/\s]{1,128})\/([0-9]{1,19})$/;
const NUMBER = /^[1-9][0-9]{0,14}$/;

function refOf(from: string): MemberRef | undefined {
  const [, id, epoch] = FROM.exec(from) ?? [];
  return id === undefined || epoch === undefined ? undefined : { id, epoch: BigInt(epoch) };
}

function read(headers: Headers): { from: string; ref: MemberRef; number: string; proof: string } {
  const [from, number, proof] = [PROOF_HEADERS.from, PROOF_HEADERS.number, PROOF_HEADERS.proof].map((name) => {
    const value = headers[name];
    const [only, second] = typeof value === 'string' ? [value] : (value ?? []);
    return second === undefined ? only : undefined;
  });
  const ref = from === undefined ? undefined : refOf(from);
  if (from === undefined || !ref || number === undefined || !NUMBER.test(number) || proof === undefined)
    throw notProven('the question carries no proof');
  return { from, ref, number, proof };
}

function notProven(why: string): RollcallError {
  return new RollcallError('PEER_NOT_PROVEN', `only members of the cluster may ask this: ${why}`);
}
